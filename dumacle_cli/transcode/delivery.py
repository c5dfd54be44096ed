"""Delivery: upload the files of an output below a prefix that only this attempt writes to."""

import hashlib
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dumacle_cli.clients.object_store import Part
from dumacle_cli.errors import DumacleError, StoreUnavailable
from dumacle_cli.retry import Patience
from dumacle_cli.services.renditions import CONTENT_TYPES, PLAYLIST
from dumacle_cli.transcode.child import Stopped

if TYPE_CHECKING:
    from dumacle_cli.clients.object_store import ObjectStore

AT_ONCE = 8
PATIENCE = 600.0
"""How many seconds a store is waited for with the finished output in hand."""
PART = 16 * 1024**2


def deliver(store: "ObjectStore", folder: Path, names: Sequence[str], prefix: str, stop: threading.Event) -> None:
    """Upload the named files of a folder to `prefix` and their names; raises Stopped soon after `stop` is set.

    Playlists come after all that they name, in the order of `names`. A store that is away is waited for, because
    encoding again takes longer; then StoreUnavailable is raised.
    """
    patience = Patience("the store", PATIENCE, _is_away, lambda _: None, stop, answered=True)

    def one(name: str) -> None:
        patience.call(lambda: _upload(store, folder / name, prefix + name, stop))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(one, (name for name in names if not name.endswith(PLAYLIST))))
    for name in names:
        if name.endswith(PLAYLIST):
            one(name)


def _is_away(error: DumacleError) -> bool:
    return isinstance(error, StoreUnavailable)


def _upload(store: "ObjectStore", path: Path, key: str, stop: threading.Event) -> None:
    if stop.is_set():
        raise Stopped
    content_type = CONTENT_TYPES[path.suffix]
    if path.stat().st_size > PART:
        _upload_parts(store, path, key, content_type, stop)
    else:
        body = path.read_bytes()
        store.put(key, body, hashlib.sha256(body).hexdigest(), content_type)


def _upload_parts(store: "ObjectStore", path: Path, key: str, content_type: str, stop: threading.Event) -> None:
    parts: list[Part] = []
    upload = store.create_multipart(key, content_type)
    try:
        with path.open("rb") as file:
            while body := file.read(PART):
                if stop.is_set():
                    raise Stopped
                number = len(parts) + 1
                etag = store.put_part(key, upload, number, body, hashlib.sha256(body).hexdigest())
                parts.append(Part(number, etag, len(body)))
        store.complete_multipart(key, upload, parts)
    except BaseException:
        with suppress(DumacleError):
            store.abort_multipart(key, upload)
        raise


def erase(store: "ObjectStore", prefix: str, but: str = "") -> None:
    """Delete all objects below a prefix, except those below another one."""
    store.delete(entry.key for entry in store.list(prefix) if not but or not entry.key.startswith(but))

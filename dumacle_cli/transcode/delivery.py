"""Delivery: upload the files of an output below a prefix that only this attempt writes to."""

import hashlib
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dumacle_cli.clients.objects import Part
from dumacle_cli.errors import DumacleError, ObjectMissing, StoreUnavailable, UploadLost
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
    delivery = _Delivery(store, stop)

    def one(name: str) -> None:
        delivery.upload(folder / name, prefix + name)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(one, (name for name in names if not name.endswith(PLAYLIST))))
    for name in names:
        if name.endswith(PLAYLIST):
            one(name)


class _Delivery:
    def __init__(self, store: "ObjectStore", stop: threading.Event) -> None:
        self.store, self.stop = store, stop
        self.patience = Patience("the store", PATIENCE, _is_away, lambda _: None, stop, answered=True)

    def upload(self, path: Path, key: str) -> None:
        self.check()
        content_type = CONTENT_TYPES[path.suffix]
        if path.stat().st_size > PART:
            self.upload_parts(path, key, content_type)
            return
        body = path.read_bytes()
        digest = hashlib.sha256(body).hexdigest()
        self.patience.call(lambda: self.store.puts.put(key, body, digest, content_type))

    def upload_parts(self, path: Path, key: str, content_type: str) -> None:
        puts, ask = self.store.puts, self.patience.call
        parts: list[Part] = []
        upload = ask(lambda: puts.create_multipart(key, content_type))
        try:
            with path.open("rb") as file:
                while body := file.read(PART):
                    self.check()
                    number, digest = len(parts) + 1, hashlib.sha256(body).hexdigest()
                    etag = ask(partial(puts.put_part, key, upload, number, body, digest))
                    parts.append(Part(number, etag, len(body)))
            self.complete(key, upload, parts)
        except BaseException:
            with suppress(DumacleError):
                self.store.abort_multipart(key, upload)
            raise

    def complete(self, key: str, upload: str, parts: list[Part]) -> None:
        try:
            self.patience.call(lambda: self.store.puts.complete_multipart(key, upload, parts))
        except UploadLost:
            # Or the answer to an earlier request was: nobody else writes to this key.
            if self.size(key) != sum(part.size for part in parts):
                raise

    def size(self, key: str) -> int | None:
        try:
            return self.patience.call(lambda: self.store.puts.head(key)).size
        except ObjectMissing:
            return None

    def check(self) -> None:
        if self.stop.is_set():
            raise Stopped


def _is_away(error: DumacleError) -> bool:
    return isinstance(error, StoreUnavailable)


def erase(store: "ObjectStore", prefix: str, but: str = "") -> None:
    """Delete all objects below a prefix, except those below another one."""
    store.delete(entry.key for entry in store.list(prefix) if not but or not entry.key.startswith(but))

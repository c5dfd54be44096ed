"""Verification: whether the stores still hold what the rows say. It lives longer than a transaction."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from dumacle_cli.clients.providers import known
from dumacle_cli.errors import ContentDiffers, DumacleError, ObjectMissing
from dumacle_cli.services.downloads import checked
from dumacle_cli.store import files as store
from dumacle_cli.units import Bytes

if TYPE_CHECKING:
    from dumacle_cli.clients.object_store import ObjectStore
    from dumacle_cli.store.database import Database
    from dumacle_cli.store.places import Place

    Stores = Callable[[Place], ObjectStore]

AT_ONCE = 16
BATCH = 500
Result = Literal["verified", "missing", "differs", "failed"]


@dataclass(frozen=True, slots=True)
class Verified:
    """What looking at one file's object came to; `failed` is that its store could not be asked."""

    id: int
    path: str
    size: Bytes
    result: Result
    error: str | None = None


def run(
    database: "Database", stores: "Stores", chosen: store.Selection, limit: int, *, read: bool, record: bool
) -> Iterator[Verified]:
    """Look at the selected files that were verified longest ago, and yield what each came to.

    Asks the store for size and ETag, or with `read` reads all bytes and compares their SHA-256. With `record` the
    files remember it; one whose content was replaced or deleted meanwhile is left out.
    """
    with database.session(read_only=True) as session:
        ids = store.stalest(session, chosen, limit)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for start in range(0, len(ids), BATCH):
            with database.session(read_only=True) as session:
                contents = store.contents(session, ids[start : start + BATCH])
            found = list(pool.map(lambda content: _look(stores, content, read), contents))
            current = _record(database, contents, found) if record else set(ids)
            yield from (each for each in found if each.id in current)


def _record(database: "Database", contents: list[store.Content], found: list[Verified]) -> set[int]:
    """Record what is certain; returns the files for which the finding stands."""
    pairs = zip(contents, found, strict=True)
    certain = [(content, each.error) for content, each in pairs if each.result != "failed"]
    with database.session() as session:
        return store.judge(session, certain) | {each.id for each in found if each.result == "failed"}


def _look(stores: "Stores", content: store.Content, read: bool) -> Verified:
    result: Result = "verified"
    error = None
    try:
        (_read if read else _ask)(stores, content)
    except ObjectMissing as fault:
        result, error = "missing", str(fault)
    except ContentDiffers as fault:
        result, error = "differs", str(fault)
    except DumacleError as fault:
        result, error = "failed", str(fault)
    return Verified(content.file_id, content.path, content.size, result, error)


def _read(stores: "Stores", content: store.Content) -> None:
    for _ in checked(stores, content):
        pass


def _ask(stores: "Stores", content: store.Content) -> None:
    head = stores(content.place).head(content.own_key())
    expected = _etag(content)
    if head.size != content.size or (expected and head.etag != expected):
        raise ContentDiffers(path=content.path)


def _etag(content: store.Content) -> str | None:
    """Return the ETag that the object must have, or None: the MD5 where the store's is that, else the recorded one.

    Such a store answers the end of a multipart upload with another ETag than it has for the object later.
    """
    if known(content.place.provider).proof == "md5-etag":
        return content.md5.hex() if content.md5 else None
    return content.etag

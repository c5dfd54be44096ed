"""Verification: check that the stores still hold what the database says. It spans several transactions."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

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
    """The result for one file; `failed` if its store could not be reached."""

    id: int
    path: str
    size: Bytes
    result: Result
    error: str | None = None


def run(
    database: "Database", stores: "Stores", chosen: store.Selection, limit: int, *, read: bool, record: bool
) -> Iterator[Verified]:
    """Verify the selected files that were verified longest ago, and yield their results.

    Compares size and ETag, or with `read` the SHA-256 of all bytes. With `record` the results are stored, and files
    that were replaced or deleted meanwhile are left out.
    """
    with database.session(read_only=True) as session:
        ids = store.stalest(session, chosen, limit)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for start in range(0, len(ids), BATCH):
            with database.session(read_only=True) as session:
                contents = store.contents(session, ids[start : start + BATCH])
            found = list(pool.map(lambda content: _verify(stores, content, read), contents))
            current = _record(database, contents, found) if record else set(ids)
            yield from (each for each in found if each.id in current)


def _record(database: "Database", contents: list[store.Content], found: list[Verified]) -> set[int]:
    """Record results, except those of files that failed; returns the files whose results still apply."""
    pairs = zip(contents, found, strict=True)
    recorded = [(content, each.error) for content, each in pairs if each.result != "failed"]
    with database.session() as session:
        return store.record_verified(session, recorded) | {each.id for each in found if each.result == "failed"}


def _verify(stores: "Stores", content: store.Content, read: bool) -> Verified:
    result: Result = "verified"
    error = None
    try:
        (_read if read else _compare_head)(stores, content)
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


def _compare_head(stores: "Stores", content: store.Content) -> None:
    head = stores(content.place).head(content.own_key())
    expected = _etags(content)
    if head.size != content.size or (expected and head.etag not in expected):
        raise ContentDiffers(path=content.path)


def _etags(content: store.Content) -> set[str]:
    """Return the ETags of which the object must have one, or none if they are unknown.

    If the provider's ETags are MD5s, the MD5 is another: completing a multipart upload there returns another ETag.
    """
    found = {content.etag} if content.etag else set()
    return found | {content.md5.hex()} if content.md5 else found

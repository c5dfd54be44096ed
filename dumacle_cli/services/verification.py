"""Verification: check that the stores still hold what the database says. It spans several transactions."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Literal

from dumacle_cli.errors import ContentDiffers, DumacleError, InvalidValue, ObjectMissing
from dumacle_cli.escapes import quoted
from dumacle_cli.retry import Patience
from dumacle_cli.services.downloads import checked, patient
from dumacle_cli.services.side_by_side import in_order
from dumacle_cli.store import copies
from dumacle_cli.store import files as store
from dumacle_cli.units import Bytes

if TYPE_CHECKING:
    from dumacle_cli.clients.object_store import ObjectStore
    from dumacle_cli.store.database import Database
    from dumacle_cli.store.places import Place

    Stores = Callable[[Place], ObjectStore]

AT_ONCE = 16
BATCH = 500
PARTS = 1_000_000
REPAIR = "repeat its upload: dumacle files upload; or restore an older version: dumacle files versions"
AWAY = "repeat the command when the store can be reached: dumacle doctor"
Result = Literal["verified", "missing", "differs", "failed"]


@dataclass(frozen=True, slots=True)
class Verified:
    """The result for one file; `failed` if its store could not be reached.

    `verified_at` is when its content was last found right; `fix` says how to repair it.
    """

    id: int
    path: str
    size: Bytes
    result: Result
    verified_at: datetime | None
    error: str | None = None
    fix: str | None = None


def run(
    database: "Database",
    stores: "Stores",
    chosen: store.Selection,
    limit: int | None = None,
    *,
    sample: int | None = None,
    read: bool,
    record: bool,
    patience: Patience | None = None,
) -> Iterator[Verified]:
    """Verify the selected files, in constant memory, and yield their results.

    Each is looked up at the primary provider of its pod, unless it is only at the secondary one yet.

    All of them, or up to `limit` that were verified longest ago, or a random `sample`. Compares size and ETag, or with
    `read` the SHA-256 of all bytes. With `record` the results are stored, and files that were replaced or deleted
    meanwhile are left out.
    """
    waiting = patience or patient()
    for ids in _batches(database, chosen, limit, sample):
        with database.session(read_only=True) as session:
            contents, before = store.contents(session, ids), store.verified_times(session, ids)
            versions = [content.version_id for content in contents]
            copied, standbys = copies.etags(session, versions), copies.standbys(session, versions)
        contents = [_where_it_is(content, standbys.get(content.version_id)) for content in contents]
        verify = partial(_verify, stores, read, waiting, copied)
        found = list(in_order(verify, contents, threads=AT_ONCE, ahead=BATCH))
        repairs = {content.file_id: _repair(standbys.get(content.version_id)) for content in contents}
        dated = [_dated(each, before, repairs[each.id]) for each in found]
        current = _record(database, contents, dated) if record else set(ids)
        yield from (each for each in dated if each.id in current)


def parse_part(text: str) -> tuple[int, int]:
    """Parse `i/n`, the i-th of n parts; raises InvalidValue."""
    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts) <= PARTS):
        raise InvalidValue(name="--slice", value=text, reason="it is not like 2/7, the second of seven parts")
    return int(part), int(parts)


def _batches(
    database: "Database", chosen: store.Selection, limit: int | None, sample: int | None
) -> Iterator[list[int]]:
    if limit or sample:
        with database.session(read_only=True) as session:
            ids = store.stalest(session, chosen, limit) if limit else store.sampled(session, chosen, sample or 0)
        yield from (ids[start : start + BATCH] for start in range(0, len(ids), BATCH))
        return
    last = 0
    while True:
        with database.session(read_only=True) as session:
            ids = store.following(session, chosen, last, BATCH)
        if not ids:
            return
        yield ids
        last = ids[-1]


def _where_it_is(content: store.Content, standby: copies.Standby | None) -> store.Content:
    """Let a content that is not at the primary provider yet be verified at the secondary one."""
    return replace(content, place=standby.place) if standby and standby.awaited else content


def _repair(standby: copies.Standby | None) -> str:
    if standby is None or standby.awaited:
        return REPAIR
    return f"copy it from {standby.place.provider}: dumacle pods reconcile {quoted(standby.pod)} --apply"


def _dated(found: Verified, before: dict[int, datetime | None], repair: str) -> Verified:
    if found.result == "verified":
        return replace(found, verified_at=datetime.now(UTC))
    return replace(found, verified_at=before.get(found.id), fix=(AWAY if found.result == "failed" else repair))


def _record(database: "Database", contents: list[store.Content], found: list[Verified]) -> set[int]:
    """Record results, except those of files that failed; returns the files whose results still apply."""
    pairs = zip(contents, found, strict=True)
    recorded = [(content, each.error) for content, each in pairs if each.result != "failed"]
    with database.session() as session:
        return store.record_verified(session, recorded) | {each.id for each in found if each.result == "failed"}


def _verify(
    stores: "Stores", read: bool, patience: Patience, copied: dict[int, set[str]], content: store.Content
) -> Verified:
    result: Result = "verified"
    error = None
    try:
        if read:
            deque(checked(stores, content, patience), maxlen=0)
        else:
            _compare_head(stores, content, copied.get(content.version_id, set()))
    except ObjectMissing as fault:
        result, error = "missing", str(fault)
    except ContentDiffers as fault:
        result, error = "differs", str(fault)
    except DumacleError as fault:
        result, error = "failed", str(fault)
    return Verified(content.file_id, content.path, content.size, result, None, error)


def _compare_head(stores: "Stores", content: store.Content, copied: set[str]) -> None:
    head = stores(content.place).head(content.own_key())
    expected = _etags(content) | copied
    if head.size != content.size or (expected and head.etag not in expected):
        raise ContentDiffers(path=content.path)


def _etags(content: store.Content) -> set[str]:
    """Return the ETags of which the object must have one, or none if they are unknown.

    If the provider's ETags are MD5s, the MD5 is another: completing a multipart upload there returns another ETag.
    """
    found = {content.etag} if content.etag else set()
    return found | {content.md5.hex()} if content.md5 else found

"""Planning a batch: what is unchanged, what has room, and the intent that is committed before a byte moves."""

import hashlib
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from dumacle_cli.ingest.content import HEAD, content_type, extension
from dumacle_cli.ingest.items import Attempt, Class, Item, Outcome, Problem
from dumacle_cli.ingest.scan import Found, opened, reason
from dumacle_cli.services.transcodes import TranscodeRequest
from dumacle_cli.store import uploads
from dumacle_cli.units import show_size

LEASE_SECONDS = 30.0
"""How long a lease outlives the last heartbeat of its run."""

_BLOCK = 1024**2


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run uploads to, and on whose account."""

    pod_id: int
    pod: str
    owner_id: int
    owner: str
    run: int
    key_prefix: str
    max_file_size: int


@dataclass(slots=True)
class Planned:
    """What came of a batch: attempts to transfer, and items that have ended already."""

    attempts: list[Attempt] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)


@dataclass(slots=True)
class Compared:
    """A batch against what is held: items to upload, whether as a new version, those that need none, times to note."""

    wanted: list[tuple[Item, bool]] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    touched: list[tuple[int, int]] = field(default_factory=list)


class Halted(Exception):
    """The run ends, and what was being hashed is not needed any more."""


def held(session: Session, place: Place, batch: Sequence[Found]) -> dict[str, uploads.Known]:
    """Return what the database holds at the paths of a batch."""
    return uploads.known(session, place.pod_id, place.owner_id, place.run, [found.path for found in batch])


def plan(session: Session, place: Place, compared: Compared) -> Planned:
    """Write the intents of a batch with the capacity they need; the caller commits."""
    if compared.touched:
        ids, mtimes = zip(*compared.touched, strict=True)
        uploads.record_unchanged(session, ids, mtimes)
    planned = Planned(outcomes=list(compared.outcomes))
    rest = compared.wanted
    while rest:
        rest = _claim(session, place, rest, planned)
    return planned


def foresee(
    place: Place, compared: Compared, room: dict[str, int | None], transcode: TranscodeRequest | None = None
) -> list[Outcome]:
    """Tell how a batch would end without writing anything; `room` (bytes) shrinks by what it would take."""
    outcomes = compared.outcomes
    for item, new_version in compared.wanted:
        name, free = min(((name, free) for name, free in room.items() if free is not None), key=lambda pair: pair[1])
        if item.size > free:
            outcomes.append(_refused(place, item, name, free))
            continue
        room.update({name: None if free is None else free - item.size for name, free in room.items()})
        taken = transcode is not None and transcode.takes(_content_type(item))
        outcomes.append(Outcome(item.path, Class.UPLOADED, item.size, new_version=new_version, transcode=taken))
    return outcomes


def _content_type(item: Item) -> str:
    try:
        with opened(item.source) as handle:
            return content_type(item.path, handle.read(HEAD))
    except OSError:
        return ""


def compare(
    place: Place, batch: Sequence[Found], known: dict[str, uploads.Known], halted: Callable[[], bool]
) -> Compared:
    """Tell what of a batch is to be uploaded; files that were only touched are hashed, which no transaction waits for.

    Raises Halted where `halted` says so in between.
    """
    result = Compared()
    for found in batch:
        if isinstance(found, Problem):
            result.outcomes.append(Outcome(found.path, found.ends, error=found.reason))
        elif found.size > place.max_file_size:
            limit = f"it is {show_size(found.size)}, and the limit is {show_size(place.max_file_size)}"
            result.outcomes.append(Outcome(found.path, Class.REFUSED, found.size, error=limit, limit=True))
        else:
            _compare(result, found, known.get(found.path), halted)
    return result


def _compare(result: Compared, item: Item, held: uploads.Known | None, halted: Callable[[], bool]) -> None:
    if held is None:
        result.wanted.append((item, False))
    elif held.busy_run is not None:
        error = f"run {held.busy_run} is uploading it now"
        result.outcomes.append(Outcome(item.path, Class.REFUSED, item.size, held.file_id, error=error))
    elif held.version_id is None:
        result.wanted.append((item, False))
    else:
        _compare_content(result, item, held, halted)


def _compare_content(result: Compared, item: Item, held: uploads.Known, halted: Callable[[], bool]) -> None:
    same_time = held.mtime_ns == item.mtime_ns
    try:
        same = held.size == item.size and (same_time or _digest(item.source, halted) == held.sha256)
    except OSError as error:
        result.outcomes.append(Outcome(item.path, Class.FAILED, item.size, held.file_id, error=reason(error)))
        return
    if not same:
        result.wanted.append((item, True))
        return
    result.outcomes.append(Outcome(item.path, Class.UNCHANGED, item.size, held.file_id))
    if not same_time or held.upload_status not in ("uploaded", "verified"):
        result.touched.append((held.file_id, item.mtime_ns))


def _digest(source: bytes, halted: Callable[[], bool]) -> bytes:
    digest = hashlib.sha256()
    with opened(source) as handle:
        while block := handle.read(_BLOCK):
            if halted():
                raise Halted
            digest.update(block)
    return digest.digest()


def _claim(session: Session, place: Place, rest: list[tuple[Item, bool]], planned: Planned) -> list[tuple[Item, bool]]:
    """Lease room for as many of the first items as there is, and return those still to be claimed for."""
    wanted = sum(item.size for item, _ in rest)
    grant = uploads.take_lease(session, place.pod_id, place.owner_id, place.run, wanted, rest[0][0].size, LEASE_SECONDS)
    if grant.lease_id is None:
        refused_by, free = grant.refused_by or "pod", grant.free
        planned.outcomes += [_refused(place, item, refused_by, free) for item, _ in rest if item.size > free]
        return [(item, new) for item, new in rest if item.size <= free]
    fitting, size = _fitting(rest, grant.granted)
    planned.attempts += _intend(session, place, grant.lease_id, rest[:fitting])
    if size < grant.granted:
        uploads.trim_lease(session, grant.lease_id, size)
    return rest[fitting:]


def _fitting(rest: Iterable[tuple[Item, bool]], granted: int) -> tuple[int, int]:
    count = size = 0
    for item, _ in rest:
        if size + item.size > granted:
            break
        count, size = count + 1, size + item.size
    return count, size


def _refused(place: Place, item: Item, refused_by: str, free: int) -> Outcome:
    if refused_by == "pod":
        who = f"pod {place.pod} {'has too little room' if free > 0 else 'is full'}"
    else:
        who = f"the {refused_by} quota of {place.owner} is {'too small' if free > 0 else 'used up'}"
    error = f"{who}: {show_size(max(0, free))} free, {show_size(item.size)} needed"
    return Outcome(item.path, Class.REFUSED, item.size, error=error, limit=True)


def _intend(session: Session, place: Place, lease: int, wanted: Sequence[tuple[Item, bool]]) -> list[Attempt]:
    columns: dict[str, list[object]] = {
        "path": [item.path for item, _ in wanted],
        "size": [item.size for item, _ in wanted],
        "mtime_ns": [item.mtime_ns for item, _ in wanted],
        "key": [_key(place.key_prefix, item.path) for item, _ in wanted],
        "content_type": ["application/octet-stream"] * len(wanted),
    }
    rows = uploads.intend(session, place.pod_id, place.owner_id, place.run, lease, columns)
    return [
        Attempt(item, row.file_id, row.version_id, lease, row.key, new)
        for (item, new), row in zip(wanted, rows, strict=True)
    ]


def _key(prefix: str, path: str) -> str:
    """Make a key that was never used: spread over 256 prefixes, plain ASCII, the extension kept for its type."""
    token = uuid.uuid4().hex
    suffix = extension(path)
    return f"{prefix}{token[:2]}/{token}{'.' if suffix else ''}{suffix}"

"""Decide what happens to a batch of files: which are unchanged, which fit, and which are intended to be uploaded."""

import hashlib
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from dumacle_cli.escapes import quoted
from dumacle_cli.ingest.content import HEAD, content_type, extension
from dumacle_cli.ingest.items import Attempt, Item, Outcome, Problem, Result
from dumacle_cli.ingest.runs import LEASE_SECONDS, Run
from dumacle_cli.ingest.scan import Found, opened, reason
from dumacle_cli.store import uploads
from dumacle_cli.units import show_size

_BLOCK = 1024**2


@dataclass(slots=True)
class Planned:
    """The attempts of a batch that are to be transferred, and the outcomes of its other items."""

    attempts: list[Attempt] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)


@dataclass(slots=True)
class Compared:
    """A batch compared with the database.

    `wanted` are the items to upload and whether each is a new version, `touched` file ids with their new mtimes (ns).
    """

    wanted: list[tuple[Item, bool]] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    touched: list[tuple[int, int]] = field(default_factory=list)


class Halted(Exception):
    """The run is ending, so hashing was stopped."""


def known(session: Session, run: Run, batch: Sequence[Found]) -> dict[str, uploads.Known]:
    """Return what the database knows about the paths of a batch."""
    paths = [found.path for found in batch]
    return uploads.known(session, run.target.pod_id, run.target.owner_id, run.id, paths)


def plan(session: Session, run: Run, compared: Compared) -> Planned:
    """Lease capacity for a batch and write its intents; the caller commits."""
    if compared.touched:
        ids, mtimes = zip(*compared.touched, strict=True)
        uploads.record_unchanged(session, ids, mtimes)
    planned = Planned(outcomes=list(compared.outcomes))
    rest = compared.wanted
    while rest:
        rest = _claim(session, run, rest, planned)
    return planned


def preview(run: Run, compared: Compared, space: dict[str, int | None]) -> list[Outcome]:
    """Return how a batch would end without writing anything; what it would use is subtracted from `space` (bytes)."""
    transcode = run.request.transcode
    outcomes = compared.outcomes
    for item, new_version in compared.wanted:
        name, free = min(((name, free) for name, free in space.items() if free is not None), key=lambda pair: pair[1])
        if item.size > free:
            outcomes.append(_refused(run, item, name, free))
            continue
        space.update({name: None if free is None else free - item.size for name, free in space.items()})
        taken = transcode is not None and transcode.takes(_content_type(item))
        outcomes.append(Outcome(item.path, Result.UPLOADED, item.size, new_version=new_version, transcode=taken))
    return outcomes


def _content_type(item: Item) -> str:
    try:
        with opened(item.source) as handle:
            return content_type(item.path, handle.read(HEAD))
    except OSError:
        return ""


def compare(run: Run, batch: Sequence[Found], known: dict[str, uploads.Known], halted: Callable[[], bool]) -> Compared:
    """Return what to upload of a batch; files that differ only in mtime are hashed, outside of any transaction.

    With `checksum` every file of the same size is hashed, and with `force` none.
    Raises Halted as soon as `halted` returns true.
    """
    result = Compared()
    for found in batch:
        if isinstance(found, Problem):
            result.outcomes.append(Outcome(found.path, found.result, error=found.reason))
        elif found.size > run.request.max_file_size:
            error = f"it is {show_size(found.size)}, and the limit is {show_size(run.request.max_file_size)}"
            result.outcomes.append(_limited(run, found, error))
        else:
            _compare(run, result, found, known.get(found.path), halted)
    return result


def _compare(run: Run, result: Compared, item: Item, found: uploads.Known | None, halted: Callable[[], bool]) -> None:
    if found is None:
        result.wanted.append((item, False))
    elif found.busy_run is not None:
        result.outcomes.append(_busy(item, found))
    elif found.version_id is None or run.request.force:
        result.wanted.append((item, found.version_id is not None))
    else:
        _compare_content(result, item, found, run.request.checksum, halted)


def _busy(item: Item, found: uploads.Known) -> Outcome:
    error = f"run {found.busy_run} is uploading it now"
    if found.busy_run == uploads.DIRECT:
        error = f"a client is sending it to the store now; to end that: dumacle files abort {found.file_id}"
    return Outcome(item.path, Result.REFUSED, item.size, found.file_id, error=error)


def _compare_content(
    result: Compared, item: Item, found: uploads.Known, checksum: bool, halted: Callable[[], bool]
) -> None:
    same_time = found.mtime_ns == item.mtime_ns
    try:
        trusted = same_time and not checksum
        same = found.size == item.size and (trusted or _digest(item.source, halted) == found.sha256)
    except OSError as error:
        result.outcomes.append(Outcome(item.path, Result.FAILED, item.size, found.file_id, error=reason(error)))
        return
    if not same:
        result.wanted.append((item, True))
        return
    result.outcomes.append(Outcome(item.path, Result.UNCHANGED, item.size, found.file_id))
    if not same_time or found.upload_status not in ("uploaded", "verified"):
        result.touched.append((found.file_id, item.mtime_ns))


def _digest(source: bytes, halted: Callable[[], bool]) -> bytes:
    digest = hashlib.sha256()
    with opened(source) as handle:
        while block := handle.read(_BLOCK):
            if halted():
                raise Halted
            digest.update(block)
    return digest.digest()


def _claim(session: Session, run: Run, rest: list[tuple[Item, bool]], planned: Planned) -> list[tuple[Item, bool]]:
    """Lease capacity for as many of the first items as fit, and return the rest."""
    wanted, target = sum(item.size for item, _ in rest), run.target
    lease = uploads.take_lease(session, target.pod_id, target.owner_id, run.id, wanted, rest[0][0].size, LEASE_SECONDS)
    if lease.id is None:
        refused_by, free = lease.refused_by or "pod", lease.free
        planned.outcomes += [_refused(run, item, refused_by, free) for item, _ in rest if item.size > free]
        return [(item, new) for item, new in rest if item.size <= free]
    fitting, size = _fitting(rest, lease.granted)
    planned.attempts += _intend(session, run, lease.id, rest[:fitting])
    if size < lease.granted:
        uploads.trim_lease(session, lease.id, size)
    return rest[fitting:]


def _fitting(rest: Iterable[tuple[Item, bool]], granted: int) -> tuple[int, int]:
    count = size = 0
    for item, _ in rest:
        if size + item.size > granted:
            break
        count, size = count + 1, size + item.size
    return count, size


def _refused(run: Run, item: Item, refused_by: str, free: int) -> Outcome:
    if refused_by == "pod":
        limit = f"pod {run.target.pod} {'has too little space' if free > 0 else 'is full'}"
    else:
        limit = f"the {refused_by} quota of {run.target.owner} is {'too small' if free > 0 else 'used up'}"
    return _limited(run, item, f"{limit}: {show_size(max(0, free))} free, {show_size(item.size)} needed")


def _limited(run: Run, item: Item, error: str) -> Outcome:
    owner, pod = quoted(run.target.owner), quoted(run.target.pod)
    fix = f"dumacle users show {owner} --size {item.size} --pod {pod}"
    return Outcome(item.path, Result.REFUSED, item.size, error=error, fix=fix)


def _intend(session: Session, run: Run, lease: int, wanted: Sequence[tuple[Item, bool]]) -> list[Attempt]:
    columns: dict[str, list[object]] = {
        "path": [item.path for item, _ in wanted],
        "size": [item.size for item, _ in wanted],
        "mtime_ns": [item.mtime_ns for item, _ in wanted],
        "key": [_new_key(run.target.key_prefix, item.path) for item, _ in wanted],
        "content_type": ["application/octet-stream"] * len(wanted),
    }
    rows = uploads.intend(session, run.target.pod_id, run.target.owner_id, run.id, lease, columns)
    return [
        Attempt(item, row.file_id, row.version_id, lease, row.key, new)
        for (item, new), row in zip(wanted, rows, strict=True)
    ]


def _new_key(prefix: str, path: str) -> str:
    """Return a unique key: spread over 256 prefixes, plain ASCII, with the extension of the path."""
    token = uuid.uuid4().hex
    suffix = extension(path)
    return f"{prefix}{token[:2]}/{token}{'.' if suffix else ''}{suffix}"

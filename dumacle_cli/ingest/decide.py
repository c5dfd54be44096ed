"""Decide what happens to a batch of files: which are unchanged, which fit, and which are intended to be uploaded."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from dumacle_cli.errors import FileTooLarge, TypeNotAllowed
from dumacle_cli.escapes import quoted
from dumacle_cli.ingest import dedupe, hashing, record
from dumacle_cli.ingest.content import HEAD, UNKNOWN, content_type, extension
from dumacle_cli.ingest.hashing import Hashed
from dumacle_cli.ingest.items import Attempt, Item, Outcome, Problem, Result
from dumacle_cli.ingest.runs import LEASE_SECONDS, Run, UploadRequest
from dumacle_cli.ingest.scan import Found, opened, reason
from dumacle_cli.services import limits
from dumacle_cli.store import uploads
from dumacle_cli.units import show_size


@dataclass(slots=True)
class Planned:
    """The attempts of a batch that are to be transferred, the outcomes of other items, and the items that are held.

    What is held, or the same content, is being uploaded by this or another process of the run; look at it again later.
    """

    attempts: list[Attempt] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    held: list[Item] = field(default_factory=list)


@dataclass(slots=True)
class Compared:
    """A batch compared with the database.

    `wanted` are the items to upload and whether each is a new version, `touched` file ids with their new mtimes (ns),
    `held` the items that another process of the run is uploading; what others of the run have ended is left out.
    `hashed` are those wanted items whose content may be stored already.
    """

    wanted: list[tuple[Item, bool]] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    held: list[Item] = field(default_factory=list)
    known: dict[str, uploads.Known] = field(default_factory=dict)
    touched: list[tuple[int, int]] = field(default_factory=list)
    hashed: Mapping[Item, Hashed] = field(default_factory=dict)


def known(session: Session, run: Run, batch: Sequence[Found]) -> dict[str, uploads.Known]:
    """Return what the database knows about the paths of a batch."""
    paths = [found.path for found in batch]
    return uploads.known(session, run.target.pod_id, run.target.owner_id, run.id, run.first, paths)


def plan(session: Session, run: Run, compared: Compared, leases: Sequence[int]) -> Planned:
    """Lease capacity for a batch and write its intents; the caller commits.

    `leases` are those that this process uploads under.
    """
    if compared.touched:
        ids, mtimes = zip(*compared.touched, strict=True)
        uploads.record_unchanged(session, ids, mtimes)
    planned = Planned(outcomes=list(compared.outcomes), held=list(compared.held))
    rest = compared.wanted
    if compared.hashed:
        rest, twins = dedupe.hold_back(session, run, rest, compared.hashed, leases)
        planned.held += twins
    while rest:
        rest = _claim(session, run, rest, planned, compared, leases)
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
        try:
            kind = _content_type(item)
            limits.require_type(run.target.limits, item.path, kind)
        except TypeNotAllowed as error:
            outcomes.append(Outcome(item.path, Result.REFUSED, item.size, error=str(error), fix=error.remedy))
            continue
        except OSError as error:
            outcomes.append(Outcome(item.path, Result.FAILED, item.size, error=reason(error)))
            continue
        space.update({name: None if free is None else free - item.size for name, free in space.items()})
        taken = transcode is not None and transcode.takes(kind)
        outcomes.append(Outcome(item.path, Result.UPLOADED, item.size, new_version=new_version, transcode=taken))
    return outcomes


def _content_type(item: Item) -> str:
    with opened(item.source) as handle:
        return item.content_type or content_type(item.path, handle.read(HEAD))


def compare(run: Run, batch: Sequence[Found], known: dict[str, uploads.Known], halted: Callable[[], bool]) -> Compared:
    """Return what to upload of a batch; files that differ only in mtime are hashed, outside of any transaction.

    With `checksum` every file of the same size is hashed, and with `force` none. A lost object is uploaded again.
    Raises Halted as soon as `halted` returns true.
    """
    result = Compared(known=known)
    for found in batch:
        if isinstance(found, Problem):
            result.outcomes.append(Outcome(found.path, found.result, error=found.reason))
        elif found.size > run.request.max_file_size:
            error = f"it is {show_size(found.size)}, and the limit is {show_size(run.request.max_file_size)}"
            result.outcomes.append(_limited(run, found, error))
        elif refused := _too_large(run, found):
            result.outcomes.append(refused)
        else:
            _compare(run, result, found, known.get(found.path), halted)
    return result


def _too_large(run: Run, item: Item) -> Outcome | None:
    try:
        limits.require_size(run.target.limits, item.path, item.size)
    except FileTooLarge as error:
        return Outcome(item.path, Result.REFUSED, item.size, error=str(error), fix=error.remedy)
    return None


def _compare(run: Run, result: Compared, item: Item, found: uploads.Known | None, halted: Callable[[], bool]) -> None:
    if found is None:
        result.wanted.append((item, False))
    elif found.ended:
        return
    elif found.held:
        result.held.append(item)
    elif found.busy_run is not None:
        result.outcomes.append(_busy(item, found))
    elif found.version_id is None or found.lost or run.request.force:
        result.wanted.append((item, found.version_id is not None))
    else:
        _compare_content(run.request, result, item, found, halted)


def _busy(item: Item, found: uploads.Known) -> Outcome:
    error = f"run {found.busy_run} is uploading it now; if that was killed, its claim ends within {LEASE_SECONDS:.0f} s"
    if found.busy_run == uploads.DIRECT:
        error = f"a client is sending it to the store now; to end that: dumacle files abort {found.file_id}"
    return Outcome(item.path, Result.REFUSED, item.size, found.file_id, error=error)


def _compare_content(
    request: UploadRequest, result: Compared, item: Item, found: uploads.Known, halted: Callable[[], bool]
) -> None:
    same_time = found.mtime_ns == item.mtime_ns
    # A source is deleted only if its bytes are compared with what is stored, not its size and time.
    checksum = request.checksum or request.delete_source
    try:
        trusted = same_time and not checksum
        same = found.size == item.size and (trusted or hashing.digest(item.source, halted) == found.sha256)
    except OSError as error:
        result.outcomes.append(Outcome(item.path, Result.FAILED, item.size, found.file_id, error=reason(error)))
        return
    if not same:
        _take_changed(request, result, item, found)
        return
    proven = item if checksum and found.upload_status == "verified" else None
    result.outcomes.append(Outcome(item.path, Result.UNCHANGED, item.size, found.file_id, proven=proven))
    if not same_time or found.upload_status not in ("uploaded", "verified"):
        result.touched.append((found.file_id, item.mtime_ns))


def _take_changed(request: UploadRequest, result: Compared, item: Item, found: uploads.Known) -> None:
    if request.on_change == "version":
        result.wanted.append((item, True))
        return
    kept = request.on_change == "keep"
    error = f"its content differs from what is stored, and --on-change is {request.on_change}"
    result.outcomes.append(
        Outcome(item.path, Result.SKIPPED if kept else Result.REFUSED, item.size, found.file_id, error=error)
    )


def _claim(
    session: Session,
    run: Run,
    rest: list[tuple[Item, bool]],
    planned: Planned,
    compared: Compared,
    leases: Sequence[int],
) -> list[tuple[Item, bool]]:
    """Lease capacity for as many of the first items as fit, and return the rest."""
    wanted, target = sum(item.size for item, _ in rest), run.target
    lease = uploads.take_lease(session, target.pod_id, target.owner_id, run.id, wanted, rest[0][0].size, LEASE_SECONDS)
    if lease.id is None:
        refused_by, free = lease.refused_by or "pod", lease.free
        planned.outcomes += [_refused(run, item, refused_by, free) for item, _ in rest if item.size > free]
        return [(item, new) for item, new in rest if item.size <= free]
    fitting = _fitting(rest, lease.granted)
    # A path that was made since it was compared is left out by `intend`, and planned again.
    there = [item.path for item, _ in rest[:fitting] if item.path in compared.known]
    present = uploads.lock_present(session, target.pod_id, target.owner_id, run.id, leases, there) if there else {}
    attempts = _intend(session, run, lease.id, rest[:fitting], compared, present)
    taken = {attempt.item.path for attempt in attempts}
    shared = dedupe.share(session, run, attempts, compared.hashed)
    planned.outcomes += [record.outcome(attempt, run.request.transcode) for attempt in shared]
    planned.attempts += [attempt for attempt in attempts if not attempt.deduplicated]
    planned.held += [item for item, _ in rest[:fitting] if item.path not in taken]
    size = sum(attempt.item.size for attempt in attempts)
    if size < lease.granted:
        uploads.trim_lease(session, lease.id, size)
    if len(shared) == len(attempts):
        uploads.close_leases(session, [lease.id])
    return rest[fitting:]


def _fitting(rest: Iterable[tuple[Item, bool]], granted: int) -> int:
    count = size = 0
    for item, _ in rest:
        size += item.size
        if size > granted:
            break
        count += 1
    return count


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


def _intend(
    session: Session,
    run: Run,
    lease: int,
    wanted: Sequence[tuple[Item, bool]],
    compared: Compared,
    present: dict[str, uploads.Present],
) -> list[Attempt]:
    """Write the intents of what nobody holds and nobody changed since it was compared; the rest has no attempt."""
    target, known, hashed = run.target, compared.known, compared.hashed
    free = [(item, new) for item, new in wanted if _is_free(present.get(item.path), known.get(item.path))]
    # Whoever held these was silent for too long: its leases are closed, so that nothing more is recorded under them.
    silent = {each.lease_id for item, _ in free if (each := present.get(item.path)) and each.lease_open}
    uploads.close_leases(session, [each for each in silent if each is not None])
    continued = {item.path: each for item, _ in free if (each := present.get(item.path)) and _goes_on(item, each)}
    columns: dict[str, list[object]] = {
        "path": [item.path for item, _ in free],
        "size": [item.size for item, _ in free],
        "mtime_ns": [item.mtime_ns for item, _ in free],
        "key": _new_keys(target.key_prefix, [item.path for item, _ in free]),
        "content_type": [hashed[item].content_type if item in hashed else UNKNOWN for item, _ in free],
        "sha256": [hashed[item].sha256 if item in hashed else None for item, _ in free],
        "file_id": [present[item.path].file_id if item.path in present else None for item, _ in free],
        "continued": [continued[item.path].version_id if item.path in continued else None for item, _ in free],
    }
    made = uploads.intend(session, target.pod_id, target.owner_id, run.id, lease, columns)
    if continued:
        versions = [each.version_id for each in continued.values() if each.version_id is not None]
        uploads.continue_attempts(session, run.id, lease, versions)
    attempts = [_attempt(item, new, lease, made.get(item.path), continued.get(item.path)) for item, new in free]
    return [attempt for attempt in attempts if attempt]


def _is_free(present: uploads.Present | None, known: uploads.Known | None) -> bool:
    """Return whether an item can be claimed; that a file is locked by others only shows when it is to be made."""
    if present is None:
        return True
    return not present.held and present.current == (known.version_id if known else None)


def _goes_on(item: Item, present: uploads.Present) -> bool:
    same = (present.size, present.mtime_ns) == (item.size, item.mtime_ns)
    return same and bool(present.upload_id and present.part_size)


def _attempt(
    item: Item, new: bool, lease: int, made: uploads.Attempt | None, present: uploads.Present | None
) -> Attempt | None:
    if made:
        return Attempt(item, made.file_id, made.version_id, lease, made.key, new)
    if present is None or present.version_id is None:
        return None
    return Attempt(
        item,
        present.file_id,
        present.version_id,
        lease,
        present.key,
        new,
        upload_id=present.upload_id or "",
        part_size=present.part_size or 0,
        part_etags=tuple((present.part_etags or "").split()),
        stored_sha256=present.sha256 or b"",
    )


def _new_keys(prefix: str, paths: Sequence[str]) -> list[object]:
    """Return unique keys: spread over 256 prefixes, plain ASCII, with the extensions of the paths."""
    random = os.urandom(16 * len(paths)).hex()
    tokens = [random[at : at + 32] for at in range(0, len(random), 32)]
    return [_new_key(prefix, token, extension(path)) for token, path in zip(tokens, paths, strict=True)]


def _new_key(prefix: str, token: str, suffix: str) -> str:
    return f"{prefix}{token[:2]}/{token}{'.' if suffix else ''}{suffix}"

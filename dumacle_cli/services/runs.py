"""Runs of uploads: list, show and cancel them, and what they did not upload."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import Row
from sqlalchemy.orm import Session

from dumacle_cli.errors import Conflict, NotFound
from dumacle_cli.ids import parse_id
from dumacle_cli.services import pods, users
from dumacle_cli.store import models, paging, run_reports, uploads
from dumacle_cli.store import runs as store
from dumacle_cli.store.run_reports import RunFilter
from dumacle_cli.units import Bytes

RunStatus = Literal["running", "done", "partial", "failed", "interrupted", "cancelled"]
MissingStatus = Literal["uploading", "completing", "changed", "refused", "cancelled", "failed"]
_EACH = ("uploaded", "changed", "cancelled", "failed")
"""What each process did itself; all of them find the same files unchanged, skipped or refused."""


@dataclass(frozen=True, slots=True)
class Run:
    """One upload command; `processes` are at work on it now, and `size` is that of all files in bytes."""

    id: int
    owner: str
    pod: str
    prefix: str
    status: str
    processes: int
    uploaded: int
    unchanged: int
    missing: int
    size: Bytes
    started_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Process:
    """A process that takes part, or took part, in a run."""

    host: str
    pid: int
    status: str
    uploaded: int
    started_at: datetime
    heartbeat_at: datetime
    error: str | None


@dataclass(frozen=True, slots=True)
class Detail(Run):
    """A run with its totals, how many files are under way, what it uploads, and who takes part."""

    under_way: int
    skipped: int
    changed: int
    refused: int
    cancelled: int
    failed: int
    error: str | None
    sources: list[str]
    parts: list[Process]


@dataclass(frozen=True, slots=True)
class Missing:
    """A file that a run did not upload, and why."""

    id: int
    path: str
    status: str
    size: Bytes
    error: str | None


@dataclass(frozen=True, slots=True)
class Repeatable:
    """With which parameters, and on which host, a run was begun."""

    id: int
    host: str
    parameters: dict[str, Any]


def choose(session: Session, *, status: str | None = None, owner: str = "", pod: str = "") -> RunFilter:
    """Return the filter of a listing; raises NotFound for a user or pod."""
    owner_id = users.get_any(session, owner).id if owner else None
    return RunFilter(status, owner_id, pods.get_for_files(session, pod).id if pod else None)


def list_(session: Session, chosen: RunFilter, *, descending: bool, after: str | None, limit: int) -> paging.Page[Run]:
    """Return a page of runs in the order in which they began."""
    found = run_reports.page(session, chosen, descending=descending, after=after, limit=limit)
    parts = run_reports.parts(session, [row.Run.id for row in found.items])
    return paging.Page([_view(row, _of(parts, row.Run.id)) for row in found.items], found.after)


def show(session: Session, typed: str) -> Detail:
    """Return a run with everything about it; raises NotFound."""
    row = _find(session, typed)
    parts = _of(run_reports.parts(session, [row.Run.id]), row.Run.id)
    totals: dict[str, Any] = _totals(parts)
    return Detail(
        **asdict(_view(row, parts)),
        **{name: totals[name] for name in ("skipped", "changed", "refused", "cancelled", "failed")},
        under_way=run_reports.count_under_way(session, [part.id for part in parts]),
        error=next((part.error for part in parts if part.error), None),
        sources=[each["path"] for each in row.Run.parameters.get("sources", ())],
        parts=[_process(part) for part in parts],
    )


def missing(session: Session, typed: str, status: str | None, *, after: str | None, limit: int) -> paging.Page[Missing]:
    """Return a page of the files that a run has begun to upload and not uploaded; raises NotFound."""
    ids = [part.id for part in run_reports.parts(session, [_find(session, typed).Run.id])]
    found = run_reports.missing(session, ids, status, after=after, limit=limit)
    rows = [Missing(each.id, each.path, each.upload_status, each.size, each.error) for each in found.items]
    return paging.Page(rows, found.after)


def repeatable(session: Session, typed: str) -> Repeatable:
    """Return what a run was begun with; raises NotFound, or Conflict if that was not recorded or cannot be repeated."""
    run = _find(session, typed).Run
    if not run.parameters.get("sources"):
        piped = run.parameters.get("stdin_name")
        reason = f"run {run.id} read standard input" if piped else f"what run {run.id} uploads was not recorded"
        raise Conflict(reason=reason, advice="repeat its command")
    return Repeatable(run.id, run.host, run.parameters)


def cancel(session: Session, typed: Iterable[str]) -> tuple[list[Run], bool]:
    """Cancel runs, and return them; processes that are at work end at their next heartbeat. Raises NotFound.

    What is uploaded is kept. The attempts of a run without a process are given up at once.
    """
    ids = [_find(session, each).Run.id for each in typed]
    changed = [_cancel(session, run) for run in ids]
    return [_view(_find(session, str(run)), _of(run_reports.parts(session, [run]), run)) for run in ids], any(changed)


def _cancel(session: Session, run: int) -> bool:
    locked = store.lock(session, run)
    if locked is None or locked.status != "running" or locked.cancelled:
        return False
    store.cancel(session, run)
    processes = store.processes(session, run)
    silent = [each.id for each in processes if each.silent >= store.LEASE_SECONDS]
    if len(silent) == len(processes):
        store.expel(session, silent)
        store.close(session, run, "cancelled")
        uploads.end_attempts(session, run, keep_parts=False)
    return True


def _find(session: Session, typed: str) -> Row[Any]:
    number = parse_id(typed)
    row = run_reports.find(session, number) if number is not None else None
    if row is None:
        raise NotFound("run", typed)
    return row


def _of(parts: Iterable[models.Run], run: int) -> list[models.Run]:
    return [part for part in parts if run in (part.id, part.joined_id)]


def _totals(parts: Sequence[models.Run]) -> dict[str, int]:
    names = (*_EACH, "unchanged", "skipped", "refused")
    counts = {name: [part.totals.get(name, 0) for part in parts] for name in names}
    return {name: sum(each) if name in _EACH else max(each, default=0) for name, each in counts.items()}


def _is_at_work(part: models.Run) -> bool:
    silent = (datetime.now(UTC) - part.heartbeat_at).total_seconds()
    return part.ended_at is None and part.left_at is None and silent < store.LEASE_SECONDS


def _view(row: Row[Any], parts: Sequence[models.Run]) -> Run:
    run, totals = row.Run, _totals(parts)
    return Run(
        id=run.id,
        owner=row.owner,
        pod=row.pod or "",
        prefix=run.prefix,
        status=run.status,
        processes=sum(map(_is_at_work, parts)),
        uploaded=totals["uploaded"],
        unchanged=totals["unchanged"],
        missing=sum(totals[name] for name in ("changed", "refused", "cancelled", "failed")),
        size=max((part.planned_bytes for part in parts), default=0),
        started_at=run.started_at,
        ended_at=run.ended_at,
    )


def _process(part: models.Run) -> Process:
    ended = part.status if part.ended_at else "left" if part.left_at else "silent"
    status = "running" if _is_at_work(part) else ended
    return Process(
        part.host, part.pid, status, part.totals.get("uploaded", 0), part.started_at, part.heartbeat_at, part.error
    )

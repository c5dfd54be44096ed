"""Queries about runs: who takes part in one, and how it ends.

Each process has a row: the first that of the run itself, and every other one that joined it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, func, or_, select, text
from sqlalchemy.orm import Session

from dumacle_cli.store import paging
from dumacle_cli.store.files import one_of
from dumacle_cli.store.models import File, Pod, Run, User

LEASE_SECONDS = 30.0
"""How long a process of a run, and its leases, stay valid after its last heartbeat."""


def open_run(session: Session, **values: Any) -> Any:
    """Open a run, or lock the same run if it is open already."""
    return session.execute(
        text(
            "INSERT INTO app.runs (name, pod_id, owner_id, prefix, selection_hash, host, pid, parameters) "
            "VALUES (:name, :pod, :owner, :prefix, :selection, :host, :pid, CAST(:parameters AS jsonb)) "
            "ON CONFLICT (pod_id, owner_id, prefix, selection_hash) WHERE status = 'running' "
            "DO UPDATE SET name = runs.name RETURNING id, xmax = 0 AS made"
        ),
        values,
    ).one()


def processes(session: Session, run: int) -> Sequence[Any]:
    """Return the processes that have not left a run, each with the age of its last heartbeat in seconds."""
    return session.execute(
        text(
            "SELECT id, host, pid, extract(epoch FROM now() - heartbeat_at)::float AS silent FROM app.runs "
            "WHERE (id = :run OR joined_id = :run) AND ended_at IS NULL AND left_at IS NULL ORDER BY id"
        ),
        {"run": run},
    ).all()


def join(session: Session, run: int, host: str, pid: int) -> int:
    """Add a process to a run and return the id of its row."""
    return int(
        session.execute(
            text(
                "INSERT INTO app.runs (name, pod_id, owner_id, prefix, selection_hash, host, pid, status, joined_id) "
                "SELECT name, pod_id, owner_id, prefix, selection_hash, :host, :pid, 'joined', id "
                "FROM app.runs WHERE id = :run RETURNING id"
            ),
            {"run": run, "host": host, "pid": pid},
        ).scalar_one()
    )


def take_over(session: Session, run: int, **values: Any) -> None:
    """Take over a run whose processes are all gone."""
    session.execute(
        text(
            "UPDATE app.runs SET host = :host, pid = :pid, parameters = CAST(:parameters AS jsonb), "
            "heartbeat_at = now(), left_at = NULL WHERE id = :run"
        ),
        {"run": run, **values},
    )


def expel(session: Session, ids: Sequence[int]) -> None:
    """Close the leases of processes that are gone, and their rows where they had joined a run."""
    session.execute(
        text(
            "SELECT app.close_lease(id) FROM app.leases "
            "WHERE run_id = ANY (CAST(:ids AS bigint[])) AND closed_at IS NULL ORDER BY id"
        ),
        {"ids": list(ids)},
    )
    session.execute(
        text(
            "UPDATE app.runs SET status = 'interrupted', left_at = now(), ended_at = now() "
            "WHERE id = ANY (CAST(:ids AS bigint[])) AND status = 'joined'"
        ),
        {"ids": list(ids)},
    )


def lock(session: Session, run: int) -> Any:
    """Lock a run and return its status and whether it was cancelled, or None."""
    return session.execute(
        text("SELECT status, cancelled_at IS NOT NULL AS cancelled FROM app.runs WHERE id = :run FOR NO KEY UPDATE"),
        {"run": run},
    ).one_or_none()


def holder(session: Session, run: int) -> Any:
    """Return the host and pid of the process that holds the row."""
    return session.execute(text("SELECT host, pid FROM app.runs WHERE id = :run"), {"run": run}).one()


def heartbeat(session: Session, run: int, first: int, host: str, pid: int, seconds: float) -> bool | None:
    """Extend the leases of a process by `seconds`, and return whether its run as a whole, `first`, was cancelled.

    Returns None if another process holds the row.
    """
    cancelled = session.execute(
        text(
            "UPDATE app.runs SET heartbeat_at = now() "
            "WHERE id = :run AND host = :host AND pid = :pid AND ended_at IS NULL AND left_at IS NULL "
            "RETURNING (SELECT first.cancelled_at IS NOT NULL FROM app.runs AS first WHERE first.id = :first)"
        ),
        {"run": run, "first": first, "host": host, "pid": pid},
    ).scalar_one_or_none()
    if cancelled is not None:
        session.execute(text("SELECT app.keep_leases(:run, :seconds)"), {"run": run, "seconds": seconds})
    return cancelled


def leave(session: Session, run: int, **values: Any) -> bool:
    """Let a process leave its run with status, files, size, totals (JSON) and error; false if it does not hold the row.

    Its leases are closed.
    """
    ours = session.execute(
        text(
            "UPDATE app.runs SET planned_files = :files, planned_bytes = :size, totals = CAST(:totals AS jsonb), "
            "error = left(:error, 2000), heartbeat_at = now(), left_at = now(), "
            "ended_at = CASE WHEN status = 'joined' THEN now() END, "
            "status = CASE WHEN status = 'joined' THEN :status ELSE status END "
            "WHERE id = :run AND host = :host AND pid = :pid AND ended_at IS NULL RETURNING id"
        ),
        {"run": run, **values},
    ).all()
    if ours:
        session.execute(
            text("SELECT app.close_lease(id) FROM app.leases WHERE run_id = :run AND closed_at IS NULL ORDER BY id"),
            {"run": run},
        )
    return bool(ours)


def close(session: Session, run: int, status: str) -> None:
    """Close a run that all processes have left."""
    session.execute(
        text("UPDATE app.runs SET status = :status, ended_at = now(), left_at = now() WHERE id = :run"),
        {"run": run, "status": status},
    )


def close_silent(session: Session) -> int:
    """Close the runs whose processes are all silent, and return how many; silent processes leave other runs."""
    closed = session.execute(
        text(
            """
            WITH silent AS (
                SELECT r.id FROM app.runs AS r
                WHERE r.status IN ('running', 'joined') AND r.heartbeat_at < now() - make_interval(secs => :seconds)
                    AND NOT EXISTS (
                        SELECT FROM app.runs AS other WHERE r.status = 'running' AND other.joined_id = r.id
                            AND other.ended_at IS NULL
                            AND other.heartbeat_at >= now() - make_interval(secs => :seconds)
                    )
                FOR NO KEY UPDATE OF r SKIP LOCKED
            ), closed AS (
                UPDATE app.runs AS r
                SET status = CASE WHEN r.cancelled_at IS NULL THEN 'interrupted' ELSE 'cancelled' END, ended_at = now()
                FROM silent WHERE r.id = silent.id RETURNING r.joined_id
            )
            SELECT count(*) FROM closed WHERE joined_id IS NULL
            """
        ),
        {"seconds": LEASE_SECONDS},
    )
    return int(closed.scalar_one())


def report(session: Session, run: int, **values: Any) -> None:
    """Write the files, size and totals (JSON) of a process so far."""
    session.execute(
        text(
            "UPDATE app.runs SET planned_files = :files, planned_bytes = :size, totals = CAST(:totals AS jsonb) "
            "WHERE id = :run"
        ),
        {"run": run, **values},
    )


def cancel(session: Session, run: int) -> None:
    """Mark a run as cancelled; its processes notice at their next heartbeat."""
    session.execute(
        text("UPDATE app.runs SET cancelled_at = coalesce(cancelled_at, now()) WHERE id = :run"), {"run": run}
    )


# Reading


@dataclass(frozen=True, slots=True)
class RunFilter:
    """The filters of a listing; a run must match all of them."""

    status: str | None = None
    owner_id: int | None = None
    pod_id: int | None = None


def _listed() -> Select[Any]:
    owner = select(User.email).where(User.id == Run.owner_id).scalar_subquery().label("owner")
    pod = select(Pod.name).where(Pod.id == Run.pod_id).scalar_subquery().label("pod")
    return select(Run, owner, pod).where(Run.joined_id.is_(None)).execution_options(populate_existing=True)


def page(
    session: Session, chosen: RunFilter, *, descending: bool, after: str | None, limit: int
) -> paging.Page[Row[Any]]:
    """Return a page of runs by id, which is the order in which they began."""
    filters = {Run.status: chosen.status, Run.owner_id: chosen.owner_id, Run.pod_id: chosen.pod_id}
    query = _listed().where(*(column == value for column, value in filters.items() if value is not None))
    found = session.execute(paging.keyset(query, [Run.id], after, limit, descending=descending)).all()
    return paging.page(found, limit, lambda row: [row.Run.id])


def find(session: Session, run: int) -> Row[Any] | None:
    """Return a run, or None."""
    return session.execute(_listed().where(Run.id == run)).one_or_none()


def parts(session: Session, ids: Sequence[int]) -> Sequence[Run]:
    """Return the rows of all processes of these runs."""
    query = select(Run).where(or_(one_of(Run.id, ids), one_of(Run.joined_id, ids))).order_by(Run.id)
    return session.scalars(query.execution_options(populate_existing=True)).all()


def _unfinished(ids: Sequence[int]) -> list[ColumnElement[bool]]:
    return [one_of(File.run_id, ids), File.upload_status.not_in(("uploaded", "verified")), File.deleted_at.is_(None)]


def count_under_way(session: Session, ids: Sequence[int]) -> int:
    """Count the files that these processes are uploading, or were when they were killed."""
    under_way = File.upload_status.in_(("planned", "uploading", "completing"))
    return session.scalars(select(func.count()).where(*_unfinished(ids), under_way)).one()


def missing(
    session: Session, ids: Sequence[int], status: str | None, *, after: str | None, limit: int
) -> paging.Page[File]:
    """Return a page of the files of these processes that are not uploaded."""
    query = select(File).where(*_unfinished(ids))
    if status:
        query = query.where(File.upload_status == status)
    found = session.scalars(paging.keyset(query, [File.id], after, limit)).all()
    return paging.page(found, limit, lambda file: [file.id])

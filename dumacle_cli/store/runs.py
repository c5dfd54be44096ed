"""Queries about runs: who takes part in one, and how it ends.

Each process has a row: the first that of the run itself, and every other one that joined it.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

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

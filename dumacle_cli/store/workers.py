"""Queries about workers, and about pods that wait for their store."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, func, select, text
from sqlalchemy.orm import Session

from dumacle_cli.store import functions

_SEEN = text("""
    SELECT w.name, w.started_at, w.seen_at, w.seen_at > now() - make_interval(secs => :seconds) AS alive, w.slots,
        w.queues, w.problem, coalesce(work.units, '[]') AS units
    FROM app.workers AS w LEFT JOIN LATERAL (
        SELECT jsonb_agg(jsonb_build_object(
            'transcode', t.id, 'preset', t.preset, 'path', f.path, 'progress', t.progress, 'fps', u.fps,
            'started_at', u.started_at
        ) ORDER BY u.started_at) AS units
        FROM app.units AS u JOIN app.transcodes AS t ON t.id = u.transcode_id JOIN app.files AS f ON f.id = t.file_id
        WHERE u.status = 'running' AND u.worker = w.name
    ) AS work ON true
    ORDER BY w.name
""")
_PAUSED = text("""
    SELECT p.name AS pod, pause.since, pause.error, (
        SELECT count(*) FROM app.transcodes AS t JOIN app.files AS f ON f.id = t.file_id
        WHERE t.status = 'queued' AND f.pod_id = p.id
    ) AS waiting
    FROM app.pauses AS pause JOIN app.pods AS p ON p.id = pause.pod_id ORDER BY p.name
""")


def note(session: Session, name: str, slots: int, queues: str, problem: str | None, machine: str | None = None) -> None:
    """Note that a worker is alive, and on which machine since it started, if that is known."""
    session.execute(select(func.app.note_worker(name, slots, queues, problem, machine)))


def forget(session: Session, name: str) -> None:
    """Forget a worker that ended."""
    session.execute(select(func.app.forget_worker(name)))


def seen(session: Session, seconds: float) -> Sequence[Row[Any]]:
    """Return the workers of the last day, `alive` if seen in the last `seconds`, each with what it works on."""
    return session.execute(_SEEN, {"seconds": seconds}).all()


def paused(session: Session) -> Sequence[Row[Any]]:
    """Return the pods whose transcodes wait for the store; none where the schema does not know of it."""
    if not functions.has_relation(session, "app.pauses"):
        return []
    return session.execute(_PAUSED).all()

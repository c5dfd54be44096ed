"""Wake-up calls for workers, written in the transaction of the rows that they are about; what they say is not believed.

A call that is lost, doubled or stale does no harm: what waits is woken again, and who comes to work claims it first.
"""

from collections.abc import Collection

from sqlalchemy import text
from sqlalchemy.orm import Session

TRANSCODE, STRIPE = "transcode", "stripe"
QUEUES = {TRANSCODE: "transcode", STRIPE: "webhooks"}
"""The queue of each task."""
BATCH = 1000
SILENT_SECONDS = 60
"""A worker is dead after this long without a sign; procrastinate gives one every 10 s."""

_WAKE = text("SELECT app.wake(:queue, :task, :ids, 0)")
_WAKE_UNITS = """
    SELECT coalesce(sum(app.wake(:queue, :task, ids, priority)), 0) FROM (
        SELECT transcode.priority, array_agg(unit.id::text) AS ids
        FROM ({units}) AS unit JOIN app.transcodes AS transcode ON transcode.id = unit.transcode_id
        GROUP BY transcode.priority ORDER BY transcode.priority OFFSET 0
    ) AS waiting
"""
_THESE = text(_WAKE_UNITS.format(units="SELECT id, transcode_id FROM app.units WHERE id = ANY (:ids)"))
_WAITING = text(
    _WAKE_UNITS.format(
        units="""
            SELECT u.id, u.transcode_id FROM app.transcodes AS t JOIN app.units AS u ON u.transcode_id = t.id
            WHERE t.status IN ('queued', 'running', 'publishing') AND u.status = 'queued'
                AND (u.lease_until IS NULL OR u.lease_until <= now())
            ORDER BY t.priority DESC, u.id LIMIT :limit
        """
    )
)
_FORGET = text("""
    DELETE FROM queue.procrastinate_jobs AS job
    WHERE status <> 'todo' AND NOT EXISTS (
        SELECT FROM queue.procrastinate_workers AS worker
        WHERE worker.id = job.worker_id AND worker.last_heartbeat > now() - make_interval(secs => :seconds)
    )
""")


def wake_transcode(session: Session, unit_ids: Collection[int]) -> None:
    """Call a worker to these units when the transaction commits."""
    session.execute(_THESE, {"queue": QUEUES[TRANSCODE], "task": TRANSCODE, "ids": list(unit_ids)})


def wake_stripe(session: Session, object_ids: Collection[str]) -> int:
    """Call a worker to these objects at Stripe when the transaction commits; returns how many had no call yet."""
    given = {"queue": QUEUES[STRIPE], "task": STRIPE, "ids": list(object_ids)}
    return int(session.scalars(_WAKE, given).one())


def wake_waiting_units(session: Session) -> int:
    """Call a worker to units that wait and to which none is called, the most urgent ones; returns how many."""
    given = {"queue": QUEUES[TRANSCODE], "task": TRANSCODE, "limit": BATCH}
    return int(session.scalars(_WAITING, given).one())


def forget_dead(session: Session) -> None:
    """Delete the calls that dead workers had taken; what they were about waits or lapses by itself."""
    session.execute(_FORGET, {"seconds": SILENT_SECONDS})

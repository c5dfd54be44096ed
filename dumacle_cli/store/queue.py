"""Jobs that wake workers, written in the transaction of the rows that they are about; workers do not trust them.

A lost, duplicate or stale job does no harm: what waits gets another, and a worker claims the unit before it works.
Workers poll for jobs every few seconds. A NOTIFY after the transaction makes them faster, but is not needed: every
login can fill the server's only queue of notifications, and then a COMMIT with a NOTIFY fails.
"""

from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, TimeoutError
from sqlalchemy.orm import Session

from dumacle_cli.errors import DumacleError

if TYPE_CHECKING:
    from dumacle_cli.store.database import Database

TRANSCODE, STRIPE, COPY, HOOK = "transcode", "stripe", "copy", "hook"
QUEUES = {TRANSCODE: "transcode", STRIPE: "webhooks", COPY: "copies", HOOK: "hooks"}
"""The queue of each task."""
PIECES = "pieces"
"""In place of a unit: what transcodes left at the store that have ended."""
BATCH = 1000
SILENT_SECONDS = 60
"""A worker without a heartbeat for this long is dead; procrastinate sends one every 10 s."""

_NOTIFIED = "told"
# A full notification queue stays full, even when everything was read, until its usage is queried.
_NOTIFY = text("""
    SELECT pg_notify('procrastinate_queue_v1#' || name, ''), pg_notification_queue_usage()
    FROM unnest(CAST(:queues AS text[])) AS name
""")
_WAKE = text("SELECT app.wake(:queue, :task, :ids, 0)")
_WAKE_UNITS = """
    SELECT app.wake(:queue, :task, coalesce(array_agg(unit.id::text), '{{}}'), 0) FROM ({units}) AS unit
"""
_THESE = text(_WAKE_UNITS.format(units="SELECT id FROM app.units WHERE id = ANY (CAST(:ids AS bigint[]))"))
_WAITING = text(
    _WAKE_UNITS.format(
        units="""
            SELECT u.id FROM app.transcodes AS t JOIN app.units AS u ON u.transcode_id = t.id
            JOIN app.files AS f ON f.id = t.file_id
            WHERE t.status IN ('queued', 'running', 'publishing') AND u.status = 'queued'
                AND (u.lease_until IS NULL OR u.lease_until <= now())
                AND NOT EXISTS (SELECT FROM app.pauses AS p WHERE p.pod_id = f.pod_id AND p.until > now())
                AND NOT EXISTS (
                    SELECT FROM app.presets AS p
                    WHERE p.hash = t.preset_hash AND p.definition #>> '{{video,codec}}' <> ALL (CAST(:codecs AS text[]))
                )
            ORDER BY t.priority DESC, t.turn, u.id LIMIT :limit
        """
    )
)
# What ended transcodes left may stay for long, while the store is away: nobody waits for that.
_JOBS = text("""
    SELECT EXISTS (
        SELECT FROM queue.procrastinate_jobs
        WHERE status = 'todo' AND queue_name = ANY (CAST(:queues AS text[])) AND args ->> 'id' <> :but
    )
""")
_FORGET = text("""
    DELETE FROM queue.procrastinate_jobs AS job
    WHERE status <> 'todo' AND NOT EXISTS (
        SELECT FROM queue.procrastinate_workers AS worker
        WHERE worker.id = job.worker_id AND worker.last_heartbeat > now() - make_interval(secs => :seconds)
    )
""")


def wake_transcode(session: Session, unit_ids: Collection[int]) -> None:
    """Add a job for each of these units, which wakes a worker at COMMIT."""
    given = {"queue": QUEUES[TRANSCODE], "task": TRANSCODE, "ids": list(unit_ids)}
    _woken(session, TRANSCODE, session.scalars(_THESE, given).one())


def wake_stripe(session: Session, object_ids: Collection[str]) -> int:
    """Add jobs for these objects at Stripe, which wake a worker at COMMIT; returns how many had no job yet."""
    given = {"queue": QUEUES[STRIPE], "task": STRIPE, "ids": list(object_ids)}
    return _woken(session, STRIPE, session.scalars(_WAKE, given).one())


def notify_stripe(database: "Database") -> None:
    """Notify workers of jobs for objects at Stripe that were committed; it does not matter if this fails."""
    with suppress(DumacleError):
        database.call("SELECT pg_notify('procrastinate_queue_v1#' || %(queue)s, '')", {"queue": QUEUES[STRIPE]})


def wake_copies(session: Session, pod_ids: Collection[int]) -> int:
    """Add jobs for the copies of these pods, which wake a worker at COMMIT; returns how many had no job yet."""
    given = {"queue": QUEUES[COPY], "task": COPY, "ids": [str(pod_id) for pod_id in pod_ids]}
    return _woken(session, COPY, session.scalars(_WAKE, given).one())


def wake_hook(session: Session) -> int:
    """Add a job for the calls of the hook, which wakes a worker at COMMIT; returns whether there was none yet."""
    given = {"queue": QUEUES[HOOK], "task": HOOK, "ids": ["all"]}
    return _woken(session, HOOK, session.scalars(_WAKE, given).one())


def wake_sweep(session: Session) -> None:
    """Add a job to remove what ended transcodes left at the store, which wakes a worker at COMMIT."""
    given = {"queue": QUEUES[TRANSCODE], "task": TRANSCODE, "ids": [PIECES]}
    _woken(session, TRANSCODE, session.scalars(_WAKE, given).one())


def wake_waiting_units(session: Session, codecs: Sequence[str]) -> int:
    """Add jobs for waiting units without one that need no other codecs, the next ones first; returns how many.

    Which unit a job names does not matter: a worker claims the one that is next.
    """
    given = {"queue": QUEUES[TRANSCODE], "task": TRANSCODE, "limit": BATCH, "codecs": list(codecs)}
    return _woken(session, TRANSCODE, session.scalars(_WAITING, given).one())


def notify(session: Session) -> None:
    """Notify workers of the jobs that the last transaction committed, in its own transaction, which may fail."""
    if queues := session.info.pop(_NOTIFIED, None):
        with suppress(DBAPIError, TimeoutError), session.begin():
            session.execute(_NOTIFY, {"queues": sorted(queues)})


def _woken(session: Session, task: str, count: int) -> int:
    if count:
        session.info.setdefault(_NOTIFIED, set()).add(QUEUES[task])
    return int(count)


def has_jobs(session: Session, tasks: Collection[str]) -> bool:
    """Return whether jobs of these tasks wait, which workers must do soon."""
    given = {"queues": [QUEUES[task] for task in tasks], "but": PIECES}
    return bool(session.scalars(_JOBS, given).one())


def forget_dead(session: Session) -> None:
    """Delete the jobs of dead workers; their units wait or their leases lapse."""
    session.execute(_FORGET, {"seconds": SILENT_SECONDS})

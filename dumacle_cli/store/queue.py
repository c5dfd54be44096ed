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

TRANSCODE, LIGHT, STRIPE, COPY, HOOK = "transcode", "light", "stripe", "copy", "hook"
QUEUES = {TRANSCODE: "transcode", LIGHT: "light", STRIPE: "webhooks", COPY: "copies", HOOK: "hooks"}
"""The queue of each task; light are units that encode no video: posters, sprites, sound."""
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
# The queues of units are named as their tasks are.
_WAKE_UNITS = """
    SELECT coalesce(sum(app.wake(kind.queue, kind.queue, kind.ids, 0)), 0)
    FROM (
        SELECT CASE WHEN p.definition IS NULL OR p.definition #>> '{{video,codec}}' IS NOT NULL THEN :transcode
                ELSE :light END, array_agg(unit.id::text)
        FROM ({units}) AS unit JOIN app.units AS u USING (id) JOIN app.transcodes AS t ON t.id = u.transcode_id
        LEFT JOIN app.presets AS p ON p.hash = t.preset_hash
        GROUP BY 1
    ) AS kind (queue, ids)
"""
_OF_UNITS = {"light": LIGHT, "transcode": TRANSCODE}
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
    _woken(session, session.scalars(_THESE, _OF_UNITS | {"ids": list(unit_ids)}).one(), TRANSCODE, LIGHT)


def wake_stripe(session: Session, object_ids: Collection[str]) -> int:
    """Add jobs for these objects at Stripe, which wake a worker at COMMIT; returns how many had no job yet."""
    given = {"queue": QUEUES[STRIPE], "task": STRIPE, "ids": list(object_ids)}
    return _woken(session, session.scalars(_WAKE, given).one(), STRIPE)


def notify_stripe(database: "Database") -> None:
    """Notify workers of jobs for objects at Stripe that were committed; it does not matter if this fails."""
    with suppress(DumacleError):
        database.call("SELECT pg_notify('procrastinate_queue_v1#' || %(queue)s, '')", {"queue": QUEUES[STRIPE]})


def wake_copies(session: Session, pod_ids: Collection[int]) -> int:
    """Add jobs for the copies of these pods, which wake a worker at COMMIT; returns how many had no job yet."""
    given = {"queue": QUEUES[COPY], "task": COPY, "ids": [str(pod_id) for pod_id in pod_ids]}
    return _woken(session, session.scalars(_WAKE, given).one(), COPY)


def wake_hook(session: Session) -> int:
    """Add a job for the calls of the hook, which wakes a worker at COMMIT; returns whether there was none yet."""
    given = {"queue": QUEUES[HOOK], "task": HOOK, "ids": ["all"]}
    return _woken(session, session.scalars(_WAKE, given).one(), HOOK)


def wake_sweep(session: Session) -> None:
    """Add a job to remove what ended transcodes left at the store, which wakes a worker at COMMIT."""
    given = {"queue": QUEUES[TRANSCODE], "task": TRANSCODE, "ids": [PIECES]}
    _woken(session, session.scalars(_WAKE, given).one(), TRANSCODE)


def wake_waiting_units(session: Session, codecs: Sequence[str]) -> int:
    """Add jobs for waiting units without one that need no other codecs, the next ones first; returns how many.

    Which unit a job names does not matter: a worker claims the one that is next.
    """
    given = {"limit": BATCH, "codecs": list(codecs)}
    return _woken(session, session.scalars(_WAITING, _OF_UNITS | given).one(), TRANSCODE, LIGHT)


def notify(session: Session) -> None:
    """Notify workers of the jobs that the last transaction committed, in its own transaction, which may fail."""
    if queues := session.info.pop(_NOTIFIED, None):
        with suppress(DBAPIError, TimeoutError), session.begin():
            session.execute(_NOTIFY, {"queues": sorted(queues)})


def _woken(session: Session, count: int, *tasks: str) -> int:
    if count:
        session.info.setdefault(_NOTIFIED, set()).update(QUEUES[task] for task in tasks)
    return int(count)


def has_jobs(session: Session, tasks: Collection[str]) -> bool:
    """Return whether jobs of these tasks wait, which workers must do soon."""
    given = {"queues": [QUEUES[task] for task in tasks], "but": PIECES}
    return bool(session.scalars(_JOBS, given).one())


def forget_dead(session: Session) -> None:
    """Delete the jobs of dead workers; their units wait or their leases lapse."""
    session.execute(_FORGET, {"seconds": SILENT_SECONDS})

"""`dumacle worker`: does what waits, until it is told to stop."""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from dumacle_cli.commands.contract import GROUP, Kind, admit, command
from dumacle_cli.context import Context
from dumacle_cli.errors import InvalidValue, TimedOut
from dumacle_cli.plain import dumped
from dumacle_cli.store import queue

if TYPE_CHECKING:
    from dumacle_cli.store.database import Database
    from dumacle_cli.transcode.job import WorkerDeps
    from dumacle_cli.worker import Log

Task = Callable[[str], object]
app = typer.Typer(**GROUP)  # type: ignore[arg-type]
app.path = ""  # type: ignore[attr-defined]


@command(app, "worker", example="dumacle worker --once", kind=Kind.SERVICE, cron=True, role="superadmin")
def worker(
    context: Context,
    queues: Annotated[
        str, typer.Option("--queues", metavar="NAMES", help="transcode, webhooks or both with a comma; all by default.")
    ] = "",
    slots: Annotated[
        int | None, typer.Option("--slots", metavar="N", min=1, max=256, help="Units at once; else as configured.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="End when nothing is left to do.")] = False,
    drain_timeout: Annotated[
        float,
        typer.Option("--drain-timeout", metavar="SECONDS", min=0, help="How long a unit may go on after SIGTERM."),
    ] = 20,
) -> int:
    """Transcode what was submitted, and apply what Stripe reported, until SIGTERM.

    Any number of workers share the work, on any machines that reach the database and the pods. It needs a direct
    connection to PostgreSQL, because it listens there. A unit that is not done when the drain timeout is over is given
    back for another worker.
    """
    admit(context, "worker")  # a database that is not there, or of another release, is told now too
    slots = slots or context.settings.worker_slots
    give_back = threading.Event()
    with _database(context, slots) as database, _tasks(context, database, queues, give_back) as tasks:
        from dumacle_cli.worker import Worker

        serving = Worker(
            database,
            tasks,
            partial(_sweep, database, tasks),
            _tell(context),
            slots=slots,
            drain_seconds=drain_timeout,
            give_back=give_back,
        )
        serving.run(once=once)
    return _ended(context, serving.stopped_by)


def _ended(context: Context, stopped_by: signal.Signals | None) -> int:
    if stopped_by is signal.SIGALRM:
        raise TimedOut(seconds=f"{context.options['timeout']:g}")
    if stopped_by is signal.SIGINT:
        raise KeyboardInterrupt
    return 0


@contextmanager
def _database(context: Context, slots: int) -> "Iterator[Database]":
    """Open the database with two connections a slot: one for the work, one to keep its lease."""
    from dumacle_cli.store.database import Database

    database = Database(context.database_url, context.database.timeouts, pool_size=2 * slots + 2)
    try:
        yield database
    finally:
        database.close()


def _sweep(database: "Database", tasks: Mapping[str, Task]) -> int:
    """Take work back from dead workers, and call for all that waits; returns how much had no call yet."""
    from dumacle_cli.store import stripe, work_units

    woken = 0
    with database.session() as session:
        queue.forget_dead(session)
        if queue.TRANSCODE in tasks:
            work_units.reap(session)
            woken += queue.wake_waiting_units(session)
        if queue.STRIPE in tasks:
            woken += queue.wake_stripe(session, stripe.due(session, queue.BATCH))
    return woken


# Tasks


@contextmanager
def _tasks(context: Context, database: "Database", names: str, give_back: threading.Event) -> Iterator[dict[str, Task]]:
    """Make the tasks of these queues; raises InvalidValue, and MissingExtra or NotConfigured for what they need."""
    wanted = _wanted(context, names)
    tasks: dict[str, Task] = {}
    if queue.STRIPE in wanted:
        tasks[queue.STRIPE] = _stripe(context, database)
    if queue.TRANSCODE not in wanted:
        yield tasks
        return
    with _worker_deps(context, database, give_back) as deps:
        yield tasks | {queue.TRANSCODE: partial(_transcode, deps, _tell(context))}


def _wanted(context: Context, names: str) -> set[str]:
    """Return the tasks of these queues, by default all that are configured."""
    known = {name: task for task, name in queue.QUEUES.items()}
    if not names:
        return {queue.TRANSCODE} | ({queue.STRIPE} if context.settings.stripe_secret_key else set())
    chosen = [name.strip() for name in names.split(",")]
    if unknown := [name for name in chosen if name not in known]:
        raise InvalidValue(name="--queues", value=repr(unknown[0]), reason=f"there are {' and '.join(known)}")
    return {known[name] for name in chosen}


def _stripe(context: Context, database: "Database") -> Task:
    from dumacle_cli.services.billing import BillingContext, apply

    billing, tell = BillingContext(database, context.billing, context.settings.installation), _tell(context)

    def refresh(object_id: str) -> None:
        if status := apply.apply_object(billing, object_id):
            tell(f"stripe {status}", object=object_id)

    return refresh


@contextmanager
def _worker_deps(context: Context, database: "Database", give_back: threading.Event) -> "Iterator[WorkerDeps]":
    from dumacle_cli.local import ffmpeg
    from dumacle_cli.transcode.job import WorkerDeps
    from dumacle_cli.transcode.limits import Limits
    from dumacle_cli.transcode.scratch import scratch

    chosen = context.settings
    found = ffmpeg.find(str(chosen.ffmpeg or ""))
    with scratch(chosen.scratch_dir) as folder:
        yield WorkerDeps(
            database=database,
            stores=context.store,
            ffmpeg=found.path,
            scratch=folder,
            limits=Limits(max_seconds=chosen.media_max_seconds, max_pixels=chosen.media_max_pixels),
            lease_seconds=chosen.lease_seconds,
            worker=f"{socket.gethostname()}:{os.getpid()}",
            give_back=give_back,
        )


def _transcode(deps: "WorkerDeps", tell: "Log", unit_id: str) -> None:
    from dumacle_cli.transcode import job

    unit = job.claim(deps, int(unit_id))
    if unit is None:
        return
    what = {"unit": unit.id, "transcode": unit.transcode_id, "preset": unit.preset, "file": unit.content.file_id}
    tell("unit started", **what, attempt=unit.attempt)
    began = datetime.now(UTC)
    done = job.run(deps, unit)
    seconds = round((datetime.now(UTC) - began).total_seconds(), 3)
    tell(f"unit {done.outcome}", **what, seconds=seconds, error=done.error)


def _tell(context: Context) -> "Log":
    """Return how a line of the log is written: as text, or as one JSON object with the time in UTC."""
    as_json = str(context.options.get("log_format", "text")) == "json"

    def tell(event: str, **facts: object) -> None:
        known = {name: value for name, value in facts.items() if value is not None}
        if context.quiet:
            return
        if as_json:
            line = dumped({"time": datetime.now(UTC).isoformat(), "event": event, **known})
        else:
            line = ": ".join(filter(None, (event, ", ".join(f"{name} {value}" for name, value in known.items()))))
        context.log(line)

    return tell

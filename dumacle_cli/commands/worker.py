"""`dumacle worker`: run queued jobs until stopped."""

from __future__ import annotations

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

from dumacle_cli.commands.command import CommandGroup
from dumacle_cli.commands.run import admit
from dumacle_cli.context import Context
from dumacle_cli.errors import InvalidValue, TimedOut
from dumacle_cli.plain import dumped
from dumacle_cli.store import queue

if TYPE_CHECKING:
    from dumacle_cli.store.database import Database
    from dumacle_cli.transcode.job import WorkerDeps
    from dumacle_cli.worker import Log

Task = Callable[[str], object]
app = CommandGroup("worker")


@app.serves("", example="dumacle worker --once", cron=True, role="superadmin")
def worker(
    context: Context,
    queues: Annotated[
        str,
        typer.Option("--queues", metavar="NAMES", help="Comma-separated: transcode, copies, webhooks; default: all."),
    ] = "",
    slots: Annotated[
        int | None,
        typer.Option("--slots", metavar="N", min=1, max=256, help="Parallel units; default: the worker_slots setting."),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Exit when the queues are empty.")] = False,
    drain_timeout: Annotated[
        float,
        typer.Option(
            "--drain-timeout", metavar="SECONDS", min=0, help="How long running units may continue after SIGTERM."
        ),
    ] = 20,
) -> int:
    """Run queued jobs until SIGTERM: transcodes, copies to secondary providers, and Stripe updates.

    Any number of workers on any machines share the work. A worker needs a direct connection to PostgreSQL, because it
    uses LISTEN. A unit that has not finished by the drain timeout is released for another worker.
    """
    admit(context, "worker")  # this also reports a missing or outdated database
    slots = slots or context.settings.worker_slots
    give_back = threading.Event()
    with _database(context, slots) as database, _tasks(context, database, queues, give_back) as tasks:
        from dumacle_cli.worker import Worker

        serving = Worker(
            database,
            tasks,
            partial(_sweep, database, tasks),
            _logger(context),
            slots=slots,
            drain_seconds=drain_timeout,
            give_back=give_back,
        )
        serving.run(once=once)
    return _ended(context, serving.stopped_by)


def _ended(context: Context, stopped_by: signal.Signals | None) -> int:
    if stopped_by is signal.SIGALRM:
        raise TimedOut(seconds=f"{context.options.timeout:g}")
    if stopped_by is signal.SIGINT:
        raise KeyboardInterrupt
    return 0


@contextmanager
def _database(context: Context, slots: int) -> Iterator[Database]:
    """Open the database with two connections per slot: one for the work, one to renew its lease."""
    from dumacle_cli.store.database import Database

    database = Database(context.database_url, context.database.timeouts, pool_size=2 * slots + 2)
    try:
        yield database
    finally:
        database.close()


def _sweep(database: Database, tasks: Mapping[str, Task]) -> int:
    """Release the work of dead workers and queue jobs for all waiting work; returns how many jobs were missing."""
    from dumacle_cli.store import copies, stripe, work_units

    woken = 0
    with database.session() as session:
        queue.forget_dead(session)
        if queue.TRANSCODE in tasks:
            work_units.reap(session)
            woken += queue.wake_waiting_units(session)
        if queue.COPY in tasks:
            woken += queue.wake_copies(session, copies.due_pods(session))
        if queue.STRIPE in tasks:
            woken += queue.wake_stripe(session, stripe.due(session, queue.BATCH))
    return woken


# Tasks


@contextmanager
def _tasks(context: Context, database: Database, names: str, give_back: threading.Event) -> Iterator[dict[str, Task]]:
    """Make the tasks of these queues; raises InvalidValue, MissingExtra or NotConfigured."""
    wanted = _wanted(context, names)
    tasks: dict[str, Task] = {}
    if queue.STRIPE in wanted:
        tasks[queue.STRIPE] = _stripe(context, database)
    if queue.COPY in wanted:
        tasks[queue.COPY] = partial(_copy, context, database, give_back)
    if queue.TRANSCODE not in wanted:
        yield tasks
        return
    with _worker_deps(context, database, give_back) as deps:
        yield tasks | {queue.TRANSCODE: partial(_transcode, deps, _logger(context))}


def _wanted(context: Context, names: str) -> set[str]:
    """Return the tasks of these queues, by default all that are configured."""
    known = {name: task for task, name in queue.QUEUES.items()}
    if not names:
        return {queue.TRANSCODE, queue.COPY} | ({queue.STRIPE} if context.settings.stripe_secret_key else set())
    chosen = [name.strip() for name in names.split(",")]
    if unknown := [name for name in chosen if name not in known]:
        raise InvalidValue(name="--queues", value=repr(unknown[0]), reason=f"there are {', '.join(known)}")
    return {known[name] for name in chosen}


def _copy(context: Context, database: Database, give_back: threading.Event, pod_id: str) -> None:
    from dumacle_cli.services import copies

    done = copies.run(database, context.stores.open, int(pod_id), stop=give_back)
    away = str(done.away) if done.away else None
    if done.copied or done.failed or away:
        _logger(context)(
            "copies done", pod=done.pod, copied=done.copied, bytes=done.bytes, failed=done.failed, error=away
        )


def _stripe(context: Context, database: Database) -> Task:
    from dumacle_cli.services.billing import BillingContext, apply

    billing, log = BillingContext(database, context.billing, context.settings.installation), _logger(context)

    def refresh(object_id: str) -> None:
        if status := apply.apply_object(billing, object_id):
            log(f"stripe {status}", object=object_id)

    return refresh


@contextmanager
def _worker_deps(context: Context, database: Database, give_back: threading.Event) -> Iterator[WorkerDeps]:
    from dumacle_cli.local import ffmpeg
    from dumacle_cli.transcode.job import WorkerDeps
    from dumacle_cli.transcode.limits import Limits
    from dumacle_cli.transcode.scratch import scratch

    chosen = context.settings
    found = ffmpeg.find(str(chosen.ffmpeg or ""))
    with scratch(chosen.scratch_dir) as folder:
        yield WorkerDeps(
            database=database,
            stores=context.stores.open,
            ffmpeg=found.path,
            scratch=folder,
            limits=Limits(max_seconds=chosen.media_max_seconds, max_pixels=chosen.media_max_pixels),
            lease_seconds=chosen.lease_seconds,
            worker=f"{socket.gethostname()}:{os.getpid()}",
            give_back=give_back,
        )


def _transcode(deps: WorkerDeps, log: Log, _unit_id: str) -> None:
    """Run the unit that is next, whichever the job named."""
    from dumacle_cli.transcode import job

    unit = job.claim(deps)
    if unit is None:
        return
    what = {"unit": unit.id, "transcode": unit.transcode_id, "preset": unit.preset, "file": unit.content.file_id}
    log("unit started", **what, attempt=unit.attempt)
    began = datetime.now(UTC)
    done = job.run(deps, unit)
    seconds = round((datetime.now(UTC) - began).total_seconds(), 3)
    log(f"unit {done.outcome}", **what, seconds=seconds, error=done.error)
    deps.give_back.wait(done.rest)


def _logger(context: Context) -> Log:
    """Return a function that writes a log line: text, or a JSON object with the time in UTC."""
    as_json = context.options.logs_json

    def log(event: str, **facts: object) -> None:
        known = {name: value for name, value in facts.items() if value is not None}
        if context.options.quiet:
            return
        if as_json:
            line = dumped({"time": datetime.now(UTC).isoformat(), "event": event, **known})
        else:
            line = ": ".join(filter(None, (event, ", ".join(f"{name} {value}" for name, value in known.items()))))
        context.console.log(line)

    return log

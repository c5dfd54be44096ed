"""`dumacle worker`: run queued jobs until stopped."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from dumacle_cli.commands.command import CommandGroup
from dumacle_cli.commands.run import admit
from dumacle_cli.commands.sweep import Sweep, own_name
from dumacle_cli.context import Context
from dumacle_cli.errors import DumacleError, Exit, InvalidValue, MissingExtra, NotConfigured, TimedOut, ToolFailed
from dumacle_cli.plain import dumped
from dumacle_cli.store import queue, work_units

if TYPE_CHECKING:
    from pathlib import Path

    from dumacle_cli.store.database import Database
    from dumacle_cli.store.work_units import Claimed
    from dumacle_cli.transcode.lease import WorkerDeps
    from dumacle_cli.worker import Log

Task = Callable[[str], object]
MOST_FAILURES = 1000
app = CommandGroup("worker")


@app.serves("", example="dumacle worker --once", cron=True, role="superadmin")
def worker(
    context: Context,
    queues: Annotated[
        str,
        typer.Option(
            "--queues",
            metavar="NAMES",
            help="Comma-separated: transcode, light (posters, sprites and sound alone), copies, hooks, webhooks.",
        ),
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
    """Run queued jobs until SIGTERM: transcodes, copies to secondary providers, calls of the hook, Stripe updates.

    Any number of workers on any machines share the work. A worker needs a direct connection to PostgreSQL, because it
    uses LISTEN. A unit that has not finished by the drain timeout is released for another worker. With --once, exit 3
    if something failed, and 10 if something is only tried again later.
    """
    admit(context, "worker")  # this also reports a missing or outdated database
    slots = slots or context.settings.worker_slots
    give_back = threading.Event()
    told = Failures()
    with _database(context, slots) as database, _tasks(context, database, queues, give_back, told) as made:
        tasks, codecs, problem = made
        from dumacle_cli.worker import Worker

        sweep = Sweep(database, list(tasks), slots, problem, codecs)
        serving = Worker(
            database,
            tasks,
            sweep,
            _logger(context),
            slots=slots,
            drain_seconds=drain_timeout,
            give_back=give_back,
        )
        try:
            serving.run(once=once)
        finally:
            sweep.forget()
    return _ended(context, serving.stopped_by) or (told.report(context) if once else 0)


class Failures:
    """What failed in this run of the worker: the first thousand, to be told at the end."""

    def __init__(self) -> None:
        self._told: dict[object, tuple[str, str, bool]] = {}

    def add(self, sentence: str, fix: str, *, final: bool = True, of: object = None) -> None:
        """Add a failure `of` something; without `final` it is tried again by itself."""
        if len(self._told) < MOST_FAILURES:
            self._told[of or sentence] = (sentence, fix, final)

    def over(self, of: object) -> None:
        """Forget what failed and was done after all."""
        self._told.pop(of, None)

    def report(self, context: Context) -> int:
        """Write them to standard error, also when quiet, because cron mails that; returns the exit status."""
        for sentence, fix, _ in self._told.values():
            context.console.warn(sentence, fix=fix)
        if not self._told:
            return 0
        return Exit.PARTIAL if any(final for *_, final in self._told.values()) else Exit.TEMPORARY


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


# Tasks


@contextmanager
def _tasks(
    context: Context, database: Database, names: str, give_back: threading.Event, told: Failures
) -> Iterator[tuple[dict[str, Task], Sequence[str], str | None]]:
    """Make the tasks of these queues, and say which codecs FFmpeg encodes, or why there are no transcodes.

    Raises InvalidValue or NotConfigured, and MissingExtra or ToolFailed if transcodes were asked for by name.
    """
    wanted = _wanted(context, names)
    tasks: dict[str, Task] = {}
    if queue.STRIPE in wanted:
        tasks[queue.STRIPE] = _stripe(context, database)
    if queue.COPY in wanted:
        tasks[queue.COPY] = partial(_copy, context, database, give_back, told)
    if queue.HOOK in wanted:
        tasks[queue.HOOK] = _hook(context, database, give_back, told)
    if queue.LIGHT not in wanted:
        yield tasks, (), None
        return
    try:
        ffmpeg, codecs = _encoder(context)
    except (MissingExtra, ToolFailed) as error:
        if names:
            raise
        context.console.warn(f"this worker transcodes nothing: {error}", fix=error.remedy)
        yield tasks, (), str(error)
        return
    log = _logger(context)
    if queue.TRANSCODE not in wanted:
        codecs = work_units.NO_VIDEO
    with _worker_deps(context, database, ffmpeg, codecs, give_back) as deps:
        tasks[queue.LIGHT] = partial(_transcode, replace(deps, codecs=work_units.NO_VIDEO), log, told)
        if queue.TRANSCODE in wanted:
            tasks[queue.TRANSCODE] = partial(_transcode, deps, log, told)
        yield tasks, codecs, None


def _wanted(context: Context, names: str) -> set[str]:
    """Return the tasks of these queues, by default all that are configured."""
    known = {name: task for task, name in queue.QUEUES.items()}
    if not names:
        settings = {queue.STRIPE: context.settings.stripe_secret_key, queue.HOOK: context.settings.transcode_hook}
        return {queue.TRANSCODE, queue.LIGHT, queue.COPY, *(task for task, given in settings.items() if given)}
    chosen = [name.strip() for name in names.split(",")]
    if unknown := [name for name in chosen if name not in known]:
        raise InvalidValue(name="--queues", value=repr(unknown[0]), reason=f"there are {', '.join(known)}")
    tasks = {known[name] for name in chosen}
    return tasks | {queue.LIGHT} if queue.TRANSCODE in tasks else tasks


def _copy(context: Context, database: Database, give_back: threading.Event, told: Failures, pod_id: str) -> None:
    from dumacle_cli.services import copies

    done = copies.run(database, context.stores.open, int(pod_id), stop=give_back)
    away = str(done.away) if done.away else None
    if away:
        told.add(f"the copies of pod {done.pod} wait: {away}", f"dumacle pods show {done.pod}", final=False)
    elif done.failed:
        told.add(f"{done.failed} copies of pod {done.pod} failed", f"dumacle pods show {done.pod}")
    if done.copied or done.failed or away:
        _logger(context)(
            "copies done", pod=done.pod, copied=done.copied, bytes=done.bytes, failed=done.failed, error=away
        )


def _hook(context: Context, database: Database, give_back: threading.Event, told: Failures) -> Task:
    """Return what tells the hook; raises NotConfigured."""
    from dumacle_cli.clients import hooks as client
    from dumacle_cli.services import hooks

    target, secret = context.settings.transcode_hook, context.settings.transcode_hook_secret
    if not target:
        raise NotConfigured(what="the hook", setting=client.SETTING)
    hook, log = client.of(target, secret.get_secret_value() if secret else None), _logger(context)

    def call(_: str) -> None:
        done = hooks.run(database, hook, give_back)
        if done.failed:
            sentence = f"the hook was not told of {done.failed} that ended: {done.error}"
            told.add(sentence, "check transcode_hook: dumacle config list", final=False)
        if done.told or done.failed:
            log("hook called", told=done.told, failed=done.failed or None, error=done.error)

    return call


def _stripe(context: Context, database: Database) -> Task:
    from dumacle_cli.services.billing import BillingContext, apply

    billing, log = BillingContext(database, context.billing, context.settings.installation), _logger(context)

    def refresh(object_id: str) -> None:
        if status := apply.apply_object(billing, object_id):
            log(f"stripe {status}", object=object_id)

    return refresh


def _encoder(context: Context) -> tuple[Path, Sequence[str]]:
    """Return an FFmpeg that encodes, and the codecs it has; raises MissingExtra, ToolFailed."""
    from dumacle_cli.local import ffmpeg

    found = ffmpeg.find(str(context.settings.ffmpeg or ""))
    return found.path, ffmpeg.check_encoders(found.path)


@contextmanager
def _worker_deps(
    context: Context, database: Database, ffmpeg: Path, codecs: Sequence[str], give_back: threading.Event
) -> Iterator[WorkerDeps]:
    from dumacle_cli.transcode.lease import WorkerDeps
    from dumacle_cli.transcode.limits import Limits
    from dumacle_cli.transcode.scratch import scratch
    from dumacle_cli.transcode.sources import Sources

    chosen = context.settings
    with scratch(chosen.scratch_dir) as folder:
        yield WorkerDeps(
            database=database,
            stores=context.stores.open,
            ffmpeg=ffmpeg,
            codecs=codecs,
            scratch=folder,
            sources=Sources(folder),
            limits=Limits(max_seconds=chosen.media_max_seconds, max_pixels=chosen.media_max_pixels),
            lease_seconds=chosen.lease_seconds,
            worker=own_name(),
            give_back=give_back,
        )


def _transcode(deps: WorkerDeps, log: Log, told: Failures, job_id: str) -> None:
    """Run the unit that is next, whichever the job named, or sweep the pieces of transcodes that ended."""
    from dumacle_cli.transcode import job, pieces

    if job_id == queue.PIECES:
        pieces.sweep(deps)
        return
    if unit := job.claim(deps):
        if unit.is_light and deps.codecs != work_units.NO_VIDEO:
            # It has a job of its own; this one was of a film, which still waits.
            with suppress(DumacleError), deps.database.session() as session:
                queue.wake_waiting_units(session, deps.codecs)
        _run(deps, log, told, unit)


def _run(deps: WorkerDeps, log: Log, told: Failures, unit: Claimed) -> None:
    from dumacle_cli.transcode import job

    what = {"unit": unit.id, "transcode": unit.transcode_id, "preset": unit.preset, "file": unit.content.file_id}
    if unit.is_piece or unit.kind == "finalize":
        what |= {"kind": unit.kind, "number": unit.number}
    log("unit started", **what, attempt=unit.attempt)
    began = datetime.now(UTC)
    done = job.run(deps, unit)
    seconds = round((datetime.now(UTC) - began).total_seconds(), 3)
    log(f"unit {done.outcome}", **what, seconds=seconds, error=done.error)
    if done.outcome in ("failed", "set back"):
        ended = f"{'failed' if done.outcome == 'failed' else 'was set back'}{', and is tried again' * done.again}"
        sentence = f"transcode {unit.transcode_id} of {unit.content.path} ({unit.preset}) {ended}: {done.error}"
        fix = f"dumacle transcode show {unit.transcode_id}"
        told.add(sentence, fix, final=not done.again, of=unit.transcode_id)
    elif done.outcome == "done":
        told.over(unit.transcode_id)
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

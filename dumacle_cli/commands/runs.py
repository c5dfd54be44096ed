"""`dumacle files reap` and `dumacle files runs`: what uploads left behind, and the runs themselves."""

from __future__ import annotations

import socket
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from dumacle_cli import paths
from dumacle_cli.commands import uploads
from dumacle_cli.commands.command import CommandGroup
from dumacle_cli.commands.paging import listing
from dumacle_cli.commands.parameters import Descending, InPod, Owner
from dumacle_cli.commands.recorded import STANDARD_INPUT, typed
from dumacle_cli.context import Context
from dumacle_cli.errors import Conflict, Exit, RunElsewhere
from dumacle_cli.ingest.items import Summary
from dumacle_cli.output.result import Result, Rows
from dumacle_cli.services import reap, runs
from dumacle_cli.units import parse_age

app = CommandGroup("files")
group = CommandGroup("files runs", "List, show, resume and cancel uploads.")

COLUMNS = ("id", "owner", "pod", "prefix", "status", "processes", "uploaded", "missing", "size", "started_at")

RunId = Annotated[str, typer.Argument(metavar="RUN", help="The run's id.")]


@app.acts_outside("reap", example="dumacle files reap", cron=True)
def reap_(
    context: Context,
    older_than: Annotated[
        str,
        typer.Option(
            "--older-than", metavar="AGE", help="Keep parts of large files for this long; default: resume_days."
        ),
    ] = "",
) -> Result[reap.Reaped]:
    """End what interrupted uploads and transcodes left behind; for cron, safe to repeat.

    Runs without a process are closed, their leases returned, their objects removed. Parts of large files are kept for
    resume_days, so that the same command continues them. Objects of transcodes that were never published are removed.
    """
    now = datetime.now(UTC)
    before = parse_age(older_than or f"{context.settings.resume_days}d", "--older-than", now)
    seconds = (now - before).total_seconds()
    if context.options.dry_run:
        with context.database.rehearsal() as session:
            planned = reap.plan(session, seconds)
            return Result(planned, planned != reap.NOTHING)
    done, failed = reap.run(context.database, context.stores.open, seconds)
    for error in failed:
        context.console.warn(str(error), fix=error.remedy)
    return Result(done, replace(done, stores=0) != reap.NOTHING, exit=Exit.PARTIAL if failed else Exit.DONE)


@group.lists(
    "list",
    columns=COLUMNS,
    empty="no runs found",
    example="dumacle files runs list --owner ada@example.com",
    role="enduser",
)
def list_(
    context: Context,
    owner: Owner = "",
    pod: InPod = "",
    status: Annotated[runs.RunStatus | None, typer.Option("--status", help="Filter by status.")] = None,
    descending: Descending = False,
) -> Rows[runs.Run]:
    """List uploads in the order in which they began."""
    with context.session() as session:
        chosen = runs.choose(session, status=status, owner=owner, pod=pod)
    return listing(context, runs.list_, chosen, descending=descending).without(owner=owner, pod=pod)


@group.reads("show", example="dumacle files runs show 1", role="enduser")
def show(context: Context, run: RunId) -> Result[runs.Detail]:
    """Show an upload with its totals, progress and processes."""
    with context.session() as session:
        return Result(runs.show(session, run))


@group.lists(
    "report",
    columns=("path", "status", "size", "error"),
    empty="nothing is missing",
    example="dumacle files runs report 1 --status failed",
    role="enduser",
)
def report(
    context: Context,
    run: RunId,
    status: Annotated[runs.MissingStatus | None, typer.Option("--status", help="Filter by upload status.")] = None,
) -> Rows[runs.Missing]:
    """List the files that an upload began and did not finish; --results also lists what was refused or skipped."""
    return listing(context, runs.missing, run, status)


@group.acts_outside("resume", example="dumacle files runs resume 1")
def resume(context: Context, run: RunId) -> Result[Summary]:
    """Repeat an upload with the sources and options that it had; what is uploaded is not sent again."""
    with context.session() as session:
        found = runs.repeatable(session, run)
    context.parameters = typed(found.parameters)
    _require_sources(found, context.parameters)
    return uploads.upload(context, **context.parameters)


def _require_sources(found: runs.Repeatable, typed: dict[str, Any]) -> None:
    """Raise Conflict or RunElsewhere unless the sources, and their list, can be read again here."""
    for source in map(Path, filter(None, [*typed["sources"], typed.get("files_from"), typed.get("manifest")])):
        if str(source) == STANDARD_INPUT:
            raise Conflict(reason=f"run {found.id} read standard input", advice="repeat its command")
        if found.host != socket.gethostname() and not source.exists():
            raise RunElsewhere(run=found.id, host=found.host, source=paths.encode(str(source)))


@group.changes("cancel", columns=COLUMNS, example="dumacle files runs cancel 1")
def cancel(
    context: Context, ids: Annotated[list[str], typer.Argument(metavar="RUN", help="Ids of runs.")]
) -> Rows[runs.Run]:
    """Cancel uploads: their processes end within seconds and their parts are given up; uploaded files stay."""
    return context.change(lambda session: runs.cancel(session, ids))

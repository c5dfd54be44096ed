"""`dumacle files reap` and `dumacle files runs`: what uploads left behind, and the runs themselves."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated

import typer

from dumacle_cli.commands.command import CommandGroup
from dumacle_cli.context import Context
from dumacle_cli.errors import Exit
from dumacle_cli.output.result import Result
from dumacle_cli.services import reap
from dumacle_cli.units import parse_age

app = CommandGroup("files")


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
    """End what interrupted uploads left behind and nobody repeated; for cron, safe to repeat.

    Runs without a process are closed, their leases returned, their objects removed. Parts of large files are kept for
    resume_days, so that the same command continues them.
    """
    now = datetime.now(UTC)
    before = parse_age(older_than or f"{context.settings.resume_days}d", "--older-than", now)
    seconds = (now - before).total_seconds()
    if context.options.dry_run:
        with context.database.rehearsal() as session:
            return Result(reap.plan(session, seconds), False)
    done, failed = reap.run(context.database, context.stores.open, seconds)
    for error in failed:
        context.console.warn(str(error), fix=error.remedy)
    changed = replace(done, stores=0) != reap.Reaped(0, 0, 0, 0, 0, 0)
    return Result(done, changed, exit=Exit.PARTIAL if failed else Exit.DONE)

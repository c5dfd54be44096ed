"""`dumacle pods replicate` and `promote`: copies at a secondary provider."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from dumacle_cli.commands.command import CommandGroup
from dumacle_cli.commands.parameters import Pod
from dumacle_cli.context import Context
from dumacle_cli.errors import Exit
from dumacle_cli.output.result import Result, Rows
from dumacle_cli.services import copies, pods, reconcile
from dumacle_cli.units import show_size

app = CommandGroup("pods")
LINE_SECONDS = 5.0


@app.acts_outside("replicate", example="dumacle pods replicate mirrored")
def replicate(
    context: Context,
    pod: Pod,
    concurrency: Annotated[
        int, typer.Option("--concurrency", metavar="N", min=1, max=64, help="Copies at the same time.")
    ] = 8,
) -> Result[copies.Replicated]:
    """Copy everything that is missing at a pod's secondary provider now; if interrupted, repeat it to continue."""
    if context.options.dry_run:
        with context.session() as session:
            _, planned = copies.plan(session, pod)
        return Result(planned, planned.waiting > 0)
    done = copies.replicate(context.database, context.stores.open, pod, at_once=concurrency, progress=_lines(context))
    return Result(done, done.copied > 0, exit=Exit.PARTIAL if done.waiting else Exit.DONE)


@app.acts_outside(
    "reconcile",
    columns=("provider", "problem", "key", "path", "size", "repair", "repaired"),
    empty="rows and buckets agree",
    example="dumacle pods reconcile mirrored",
)
def reconcile_(
    context: Context,
    pod: Pod,
    apply: Annotated[bool, typer.Option("--apply", help="Repair: copy what is missing, delete orphans.")] = False,
) -> Rows[reconcile.Finding]:
    """Compare a pod's rows with the objects at its providers, both ways; exit 12 if something is left to repair."""
    apply = apply and not context.options.dry_run
    found = reconcile.run(context.database, context.stores.open, pod, apply=apply)
    left = sum(not each.repaired for each in found)
    return Result(found, apply and left < len(found), exit=Exit.INTEGRITY if left else Exit.DONE)


def _lines(context: Context) -> copies.Progress:
    """Return a function that says every few seconds how far the copying is."""
    said = time.monotonic()

    def tell(copied: int, size: int) -> None:
        nonlocal said
        if time.monotonic() - said >= LINE_SECONDS:
            said = time.monotonic()
            context.console.say(f"{copied} copied, {show_size(size)}")

    return tell


@app.changes("promote", example="dumacle pods promote mirrored")
def promote(context: Context, pod: Pod) -> Result[pods.Pod]:
    """Make a pod's secondary provider the primary and the primary the secondary; every object must be at both."""
    return context.change(lambda session: pods.promote(session, pod))

"""`dumacle files verify`: compare files with their objects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated

import typer

from dumacle_cli.commands.command import CommandGroup
from dumacle_cli.commands.file_options import patience
from dumacle_cli.commands.paging import streamed
from dumacle_cli.commands.parameters import File, InPod, Owner, Prefix
from dumacle_cli.context import Context
from dumacle_cli.errors import Exit, UsageError
from dumacle_cli.output.result import Result, Rows
from dumacle_cli.services import files, verification, versions

app = CommandGroup("files")


@app.acts_outside(
    "verify",
    columns=("id", "path", "size", "result", "error"),
    empty="no files found",
    example="dumacle files verify --pod films --limit 100",
    cron=True,
)
def verify(
    context: Context,
    file: File = "",
    owner: Owner = "",
    pod: InPod = "",
    prefix: Prefix = "",
    read: Annotated[bool, typer.Option("--read", help="Read all bytes and compare SHA-256.")] = False,
    limit: Annotated[
        int | None,
        typer.Option("--limit", metavar="N", min=1, help="Verify at most this many files; default: 1000."),
    ] = None,
    part: Annotated[
        str, typer.Option("--slice", metavar="I/N", help="Verify all files of the I-th of N parts, such as 2/7.")
    ] = "",
    sample: Annotated[
        int | None, typer.Option("--sample", metavar="N", min=1, help="Verify this many files, chosen at random.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Verify all files.")] = False,
) -> Rows[verification.Verified]:
    """Compare files with their objects in the store, least recently verified first.

    With --slice or --full in the order of their ids. The next upload of a path sends what is missing or differs.
    """
    if sum(map(bool, (limit, part, sample, full))) > 1:
        raise UsageError("give one of --limit, --slice, --sample and --full", "dumacle files verify")
    with context.session() as session:
        if file:
            chosen = files.choose(session, file, owner=owner, pod=pod, prefix=prefix)
            versions.content(session, *chosen.ids or ())
        else:
            chosen = files.select(session, owner=owner, pod=pod, prefix=prefix)
    chosen = replace(chosen, part=verification.parse_part(part) if part else None)
    most = None if part or sample or full else limit or 1000
    record = not context.options.dry_run
    found = verification.run(
        context.database,
        context.stores.open,
        chosen,
        most,
        sample=sample,
        read=read,
        record=record,
        patience=patience(context),
    )
    result: Rows[verification.Verified] = Result((), False)
    return streamed(context, _tallied(found, result), result)


def _tallied(
    found: Iterator[verification.Verified], result: Rows[verification.Verified]
) -> Iterator[verification.Verified]:
    """Yield the results, and count them in `result`."""
    number = bad = failed = 0
    repairs = dict[str, None]()
    for each in found:
        number += 1
        bad += each.result in ("missing", "differs")
        failed += each.result == "failed"
        if each.fix and each.result != "failed":
            repairs[each.fix] = None
        result.exit = Exit.INTEGRITY if bad else Exit.PARTIAL if failed else Exit.DONE
        result.changed = number > failed
        yield each
    result.note = "\n".join([f"{number} files, {bad} missing or different, {failed} not checked", *repairs])

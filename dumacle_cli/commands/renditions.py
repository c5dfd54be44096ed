"""`dumacle transcode verify` and `report`: renditions that were published, read back and compared with sources."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from dumacle_cli.commands.command import CommandGroup
from dumacle_cli.commands.file_options import patience
from dumacle_cli.commands.paging import streamed
from dumacle_cli.commands.parameters import InPod, OfPreset, Owner
from dumacle_cli.context import Context
from dumacle_cli.errors import Exit, UsageError
from dumacle_cli.output.result import Result, Rows
from dumacle_cli.services import transcodes
from dumacle_cli.store import transcodes as store
from dumacle_cli.transcode import fetch, published, report
from dumacle_cli.transcode.limits import Limits

app = CommandGroup("transcode")


@app.acts_outside(
    "verify",
    columns=("id", "transcode", "path", "name", "provider", "result", "error", "repair"),
    empty="no renditions found",
    example="dumacle transcode verify --pod films",
    cron=True,
    role="enduser",
)
def verify(
    context: Context,
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID", help="Ids of transcodes; default: those of the filters, or all.")
    ] = None,
    preset: OfPreset = None,
    owner: Owner = "",
    pod: InPod = "",
    apply: Annotated[
        bool, typer.Option("--apply", help="Copy what is lost from the pod's other provider, or transcode it again.")
    ] = False,
) -> Rows[published.Verified]:
    """Read renditions back from the store: all objects, their hashes, and whether a player gets to the end.

    Of pods with a secondary provider, the copies there too.

    Exit 12 if one is lost, 3 if a store could not be reached.
    """
    with context.session() as session:
        chosen = transcodes.choose(session, preset=preset, owner=owner, pod=pod)
        wanted = transcodes.parse_ids(ids or [])
        transcodes.get(session, wanted)
    if wanted and chosen != store.TranscodeFilter():
        raise UsageError("name transcodes by ID, or give filters", "dumacle transcode verify")
    apply = apply and not context.options.dry_run
    found = published.run(context.database, context.stores.open, wanted, chosen, apply=apply)
    result: Rows[published.Verified] = Result((), False)
    return streamed(context, _tallied(found, result), result)


def _tallied(found: Iterator[published.Verified], result: Rows[published.Verified]) -> Iterator[published.Verified]:
    number = lost = failed = 0
    for each in found:
        number, failed = number + 1, failed + (each.result == "failed")
        lost += each.lost
        result.changed = result.changed or each.repair is not None
        result.exit = Exit.INTEGRITY if lost else Exit.PARTIAL if failed else Exit.DONE
        yield each
    result.note = f"{number} renditions, {lost} lost, {failed} not checked"


@app.reads(
    "report",
    columns=("path", "rung", "metric", "mean", "low", "bitrate", "size", "share"),
    empty="no films found",
    example="dumacle transcode report 1 --rung 720p",
    role="enduser",
)
def report_(
    context: Context,
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID", help="Ids of transcodes; or give --file or filters.")
    ] = None,
    file: Annotated[
        str, typer.Option("--file", metavar="FILE", help="Those of a file: id, or path with --owner.")
    ] = "",
    rung: Annotated[
        str | None, typer.Option("--rung", metavar="RUNG", help="Only this picture size, such as 720p.")
    ] = None,
    preset: OfPreset = None,
    owner: Owner = "",
    pod: InPod = "",
) -> Rows[report.Measured]:
    """Compare published films with their sources: bytes, bit rate, and quality by VMAF, for each picture size.

    The mean is over at most 300 pictures, and 99 % of them reach the low score. 0 is bad and 100 the source itself; an
    FFmpeg without VMAF measures XPSNR in dB. Exit 3 if something could not be measured.
    """
    with context.session() as session:
        chosen = transcodes.choose(session, preset=preset, owner=owner, pod=pod, file=file)
        wanted = transcodes.parse_ids(ids or [])
        transcodes.get(session, wanted)
    if bool(wanted) == (chosen != store.TranscodeFilter()):
        raise UsageError("name transcodes by ID, or give --file or filters", "dumacle transcode report")
    measured = report.run(context.database, fetching(context), wanted, chosen, rung)
    result: Rows[report.Measured] = Result(())
    return streamed(context, _noted(measured, result), result)


def _noted(measured: Iterator[report.Measured], result: Rows[report.Measured]) -> Iterator[report.Measured]:
    for each in measured:
        if each.error is not None:
            result.exit = Exit.PARTIAL
        yield each


def fetching(context: Context) -> fetch.FetchDeps:
    """Return what a command needs that examines media here."""
    from dumacle_cli.local import ffmpeg

    chosen = context.settings
    limits = Limits(max_seconds=chosen.media_max_seconds, max_pixels=chosen.media_max_pixels)
    found = ffmpeg.find(str(chosen.ffmpeg or "")).path
    return fetch.FetchDeps(context.stores.read, patience(context), found, chosen.scratch_dir, limits)

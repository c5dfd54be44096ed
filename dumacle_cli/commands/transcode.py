"""`dumacle transcode`: submit, watch, cancel and retry transcodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dumacle_cli.commands import presets, renditions, watching
from dumacle_cli.commands.command import CommandGroup
from dumacle_cli.commands.paging import listing, streamed
from dumacle_cli.commands.parameters import Descending, InPod, OfPreset, Owner, Prefix
from dumacle_cli.context import Context
from dumacle_cli.errors import UsageError
from dumacle_cli.output.result import Result, Rows
from dumacle_cli.services import downloads, transcodes, transcodes_in_bulk, workers
from dumacle_cli.services import files as file_service
from dumacle_cli.services import presets as preset_service
from dumacle_cli.store import transcodes as store
from dumacle_cli.transcode import plan as planning

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

app = CommandGroup("transcode")
app.add(presets.app)
app.include(renditions.app)
app.include(watching.app)

COLUMNS = ("id", "owner", "pod", "path", "preset", "status", "progress", "created_at")

Id = Annotated[str, typer.Argument(metavar="ID", help="The transcode's id.")]
Ids = Annotated[list[str], typer.Argument(metavar="ID", help="Ids of transcodes.")]
OfUnit = Annotated[
    int | None, typer.Option("--unit", metavar="ID", min=1, help="The transcode of a unit, as worker logs name it.")
]
SomeIds = Annotated[list[str] | None, typer.Argument(metavar="ID", help="Ids of transcodes; or give filters.")]


@app.changes(
    "submit",
    columns=COLUMNS,
    example="dumacle transcode submit holiday/film.mp4 --owner ada@example.com --preset mp4",
    bulk=True,
)
def submit(
    context: Context,
    files: Annotated[
        list[str] | None, typer.Argument(metavar="FILE", help="Ids of files, or their paths with --owner.")
    ] = None,
    preset: Annotated[str | None, typer.Option("--preset", metavar="PRESET", help="The preset to use.")] = None,
    missing: Annotated[
        str | None,
        typer.Option(
            "--missing",
            metavar="PRESET",
            help="Instead of FILE: all files of the filters never transcoded with this preset.",
        ),
    ] = None,
    damage: Annotated[
        transcodes.Damage,
        typer.Option("--damage", help="What to do about damage in the source; up to 1 % can be repaired."),
    ] = "repair",
    owner: Owner = "",
    pod: InPod = "",
    prefix: Prefix = "",
    priority: Annotated[
        int, typer.Option("--priority", metavar="N", min=-100, max=100, help="Higher ones are transcoded first.")
    ] = 0,
) -> Rows[transcodes.Transcode]:
    """Submit files to be transcoded by a worker; running and finished transcodes are not repeated.

    Among transcodes of equal priority, owners take turns.
    """
    if files and preset and not missing and not prefix:
        return context.change(
            lambda session: transcodes.submit(session, files, preset, damage, owner=owner, pod=pod, priority=priority)
        )
    if files or preset or not missing:
        raise UsageError("name FILE and --preset, or --missing with filters", "dumacle transcode submit")

    def work(session: Session) -> tuple[list[transcodes.Transcode], bool]:
        request, most = transcodes.request(session, missing), context.options.maximum
        chosen = file_service.choose(session, "", owner=owner, pod=pod, prefix=prefix)
        return transcodes_in_bulk.submit_missing(session, chosen, request, damage, priority=priority, maximum=most)

    return context.change(work)


@app.reads(
    "plan",
    columns=("path", "preset", "seconds", "size", "cpu_seconds", "chunks", "error"),
    empty="no files found",
    example="dumacle transcode plan holiday/film.mp4 --owner ada@example.com --preset hls",
    role="enduser",
)
def plan(
    context: Context,
    preset: Annotated[str, typer.Option("--preset", metavar="PRESET", help="The preset to plan with.")],
    files: Annotated[
        list[str] | None, typer.Argument(metavar="FILE", help="Ids of files, or their paths with --owner.")
    ] = None,
    owner: Owner = "",
    pod: InPod = "",
    prefix: Prefix = "",
) -> Rows[planning.Plan]:
    """Show what a preset would make of files, and its cost: sizes, bytes, CPU time, and what the quota is charged.

    Each file is fetched and examined, and nothing is encoded. With -o json it also tells the sizes, those that are not
    made and why, and the tracks.
    """
    deps = renditions.fetching(context)
    with context.session() as session:
        wanted = transcodes.to_plan(session, files or [], owner=owner, pod=pod, prefix=prefix)
        definition = preset_service.get(session, preset)
    contents = downloads.contents(context.database, wanted)
    result: Rows[planning.Plan] = Result(())
    return streamed(context, (planning.plan(deps, content, definition) for content in contents), result)


@app.lists(
    "list",
    columns=COLUMNS,
    empty="no transcodes found",
    example="dumacle transcode list --owner ada@example.com --status done",
    role="enduser",
)
def list_(
    context: Context,
    status: Annotated[transcodes.TranscodeStatus | None, typer.Option("--status", help="Filter by status.")] = None,
    preset: OfPreset = None,
    owner: Owner = "",
    pod: InPod = "",
    file: Annotated[str, typer.Option("--file", metavar="FILE", help="Filter by file: id, or path with --owner.")] = "",
    descending: Descending = False,
) -> Rows[transcodes.Transcode]:
    """List transcodes in the order they were submitted."""
    with context.session() as session:
        chosen = transcodes.choose(session, status=status, preset=preset, owner=owner, pod=pod, file=file)
    return listing(context, transcodes.list_, chosen, descending=descending).without(
        owner=owner, pod=pod, preset=preset or ""
    )


@app.reads("show", example="dumacle transcode show 1", role="enduser")
def show(context: Context, transcode: Id) -> Result[transcodes.Detail]:
    """Show a transcode with its units and renditions."""
    with context.session() as session:
        return Result(transcodes.show(session, *transcodes.parse_ids([transcode])))


@app.changes("cancel", columns=COLUMNS, example="dumacle transcode cancel 2", role="enduser", bulk=True)
def cancel(
    context: Context,
    ids: SomeIds = None,
    status: Annotated[transcodes.TranscodeStatus | None, typer.Option("--status", help="Filter by status.")] = None,
    preset: OfPreset = None,
    owner: Owner = "",
    pod: InPod = "",
    unit: OfUnit = None,
) -> Rows[transcodes.Transcode]:
    """Cancel queued and running transcodes; their quota is released."""

    def work(session: Session) -> tuple[list[transcodes.Transcode], bool]:
        chosen = transcodes.choose(session, status=status, preset=preset, owner=owner, pod=pod)
        most = context.options.maximum
        found = transcodes_in_bulk.select(session, ids or [], chosen, statuses=store.LIVE, unit=unit, maximum=most)
        return transcodes.cancel(session, found)

    return context.change(work)


@app.changes("retry", columns=COLUMNS, example="dumacle transcode retry 3", bulk=True)
def retry(
    context: Context,
    ids: SomeIds = None,
    status: Annotated[transcodes.TranscodeStatus | None, typer.Option("--status", help="Filter by status.")] = None,
    preset: OfPreset = None,
    owner: Owner = "",
    pod: InPod = "",
    unit: OfUnit = None,
) -> Rows[transcodes.Transcode]:
    """Retry failed, cancelled or quarantined transcodes as new ones; filters without --status select all failed ones.

    Filters leave out transcodes of contents that were replaced since.
    """

    def work(session: Session) -> tuple[list[transcodes.Transcode], bool]:
        chosen = transcodes.choose(session, status=status, preset=preset, owner=owner, pod=pod)
        found = transcodes_in_bulk.select(
            session,
            ids or [],
            chosen,
            statuses=["failed"],
            unit=unit,
            latest_only=True,
            maximum=context.options.maximum,
        )
        return transcodes.retry(session, found)

    return context.change(work)


@app.changes("reap", example="dumacle transcode reap", cron=True)
def reap(context: Context) -> Result[transcodes.Reaped]:
    """Release the work of dead workers and wake workers for queued units; for cron, safe to repeat."""
    return context.change(transcodes.reap)


@app.reads(
    "workers",
    columns=("name", "status", "slots", "started_at", "seen_at", "running", "problem"),
    empty="no worker has run in the last day",
    example="dumacle transcode workers",
)
def list_workers(context: Context) -> Rows[workers.Worker]:
    """List the workers of the last day, and what they work on."""
    with context.session() as session:
        return Result(workers.list_(session))

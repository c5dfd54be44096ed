"""`dumacle transcode`: have files transcoded, follow it, end it, try it again."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from dumacle_cli.commands.contract import command, group
from dumacle_cli.commands.listing import After, All, Limit, listing
from dumacle_cli.context import Context
from dumacle_cli.errors import Exit
from dumacle_cli.output.forms import Form, Shown
from dumacle_cli.services import transcodes
from dumacle_cli.transcode import presets as table

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dumacle_cli.store.paging import Page

app = group("transcode", "Turn uploaded video and sound into what players take.")
presets = group("transcode presets", "What can be made of a file.")
app.add_typer(presets)

WATCH_SECONDS = 1
COLUMNS = ("id", "owner", "pod", "path", "preset", "status", "progress", "created_at")

Id = Annotated[str, typer.Argument(metavar="ID", help="The transcode's id.")]
Ids = Annotated[list[str], typer.Argument(metavar="ID", help="Ids of transcodes.")]
Owner = Annotated[str, typer.Option("--owner", metavar="USER", help="Whose files: e-mail or id.")]
Pod = Annotated[str, typer.Option("--pod", metavar="POD", help="In which pod: name or id.")]


@command(
    app,
    "submit",
    returns=transcodes.Transcode,
    many=True,
    columns=COLUMNS,
    example="dumacle transcode submit holiday/film.mp4 --owner ada@example.com --preset mp4",
    mutates=True,
)
def submit(
    context: Context,
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="Ids of files, or their paths with --owner.")],
    preset: Annotated[table.Name, typer.Option("--preset", help="What to make.")],
    owner: Owner = "",
    pod: Pod = "",
) -> Shown:
    """Have files transcoded by a worker; what is under way or done already is not done again."""
    return context.change(lambda session: transcodes.submit(session, files, preset, owner=owner, pod=pod))


@command(
    app,
    "list",
    returns=transcodes.Transcode,
    many=True,
    columns=COLUMNS,
    empty="no transcodes",
    example="dumacle transcode list --owner ada@example.com --status done",
    role="enduser",
)
def list_(
    context: Context,
    status: Annotated[
        transcodes.TranscodeStatus | None, typer.Option("--status", help="Only those of this status.")
    ] = None,
    preset: Annotated[table.Name | None, typer.Option("--preset", help="Only through this preset.")] = None,
    owner: Owner = "",
    pod: Pod = "",
    file: Annotated[str, typer.Option("--file", metavar="FILE", help="Of one file: id, or path with --owner.")] = "",
    descending: Annotated[bool, typer.Option("--desc", help="The last first.")] = False,
    limit: Limit = 50,
    after: After = "",
    everything: All = False,
) -> Shown:
    """List transcodes in the order in which they were submitted."""
    with context.session() as session:
        chosen = transcodes.choose(session, status=status, preset=preset, owner=owner, pod=pod, file=file)

    def fetch(session: "Session", token: str | None) -> "Page[transcodes.Transcode]":
        return transcodes.list_(session, chosen, descending=descending, after=token, limit=limit)

    return listing(context, fetch, after, everything, owner=owner, pod=pod, preset=preset or "")


@command(app, "show", returns=transcodes.Detail, example="dumacle transcode show 1", role="enduser")
def show(context: Context, transcode: Id) -> Shown:
    """Show a transcode with its units of work and what came out of it."""
    with context.session() as session:
        return Shown(transcodes.show(session, *transcodes.parse_ids([transcode])))


@command(
    app,
    "watch",
    returns=transcodes.Transcode,
    many=True,
    columns=(*COLUMNS[:-1], "error"),
    example="dumacle transcode watch 1",
    role="enduser",
)
def watch(context: Context, ids: Ids) -> Shown:
    """Follow transcodes until all are over; exit 1 says that some did not succeed, and -o jsonl prints each change."""
    shown = Shown(None)
    changes = _changes(context, transcodes.parse_ids(ids), shown)
    if context.form is Form.JSONL and not context.quiet:
        shown.data = changes
        return shown
    last: dict[int, transcodes.Transcode] = {}
    with _told(context) as tell:
        for each in changes:
            if each.is_live or each.id in last:
                tell(each)
            last[each.id] = each
    shown.data = list(last.values())
    return shown


def _changes(context: Context, ids: list[int], shown: Shown) -> Iterator[transcodes.Transcode]:
    """Yield transcodes as they are and whenever they have changed, and tell in `shown` what they came to."""
    seen: dict[int, transcodes.Transcode] = {}
    while ids:
        with context.session() as session:
            found = transcodes.get(session, ids)
        yield from (each for each in found if seen.get(each.id) != each)
        seen = {each.id: each for each in found}
        ids = [each.id for each in found if each.is_live]
        if any(each.status != "done" for each in found if not each.is_live):
            shown.exit = Exit.FAILED
        if ids:
            if context.out:
                context.out.flush()
            time.sleep(WATCH_SECONDS)


@contextmanager
def _told(context: Context) -> Iterator[Callable[[transcodes.Transcode], None]]:
    """Tell of changes on standard error: as bars on a terminal, else a line for each."""
    if context.quiet or context.err is None or not context.err.isatty():
        yield lambda each: context.say(f"{each.id} {each.path} {each.preset}: {each.status} {each.progress} %")
        return
    from dumacle_cli.output.progress import Percents

    with Percents(context.err, context.color) as bars:
        yield lambda each: bars.show(each.id, f"{each.path} {each.preset} {each.status}", each.progress)


@command(
    app,
    "cancel",
    returns=transcodes.Transcode,
    many=True,
    columns=COLUMNS,
    example="dumacle transcode cancel 2",
    mutates=True,
    role="enduser",
)
def cancel(context: Context, ids: Ids) -> Shown:
    """End transcodes that wait or run; what they took of quotas is given back."""
    return context.change(lambda session: transcodes.cancel(session, transcodes.parse_ids(ids)))


@command(
    app,
    "retry",
    returns=transcodes.Transcode,
    many=True,
    columns=COLUMNS,
    example="dumacle transcode retry 3",
    mutates=True,
)
def retry(context: Context, ids: Ids) -> Shown:
    """Submit what failed, was cancelled or quarantined once more, as a new transcode."""
    return context.change(lambda session: transcodes.retry(session, transcodes.parse_ids(ids)))


@command(
    app,
    "reap",
    returns=transcodes.Reaped,
    example="dumacle transcode reap",
    mutates=True,
    cron=True,
)
def reap(context: Context) -> Shown:
    """Take back what silent workers hold, and wake workers for all that waits; for cron, safe to repeat."""
    return context.change(transcodes.reap)


@command(
    presets,
    "list",
    returns=table.Preset,
    many=True,
    example="dumacle transcode presets list",
    offline=True,
    role="enduser",
)
def list_presets(context: Context) -> Shown:  # noqa: ARG001
    """List what can be made of a file."""
    return Shown(list(table.PRESETS.values()))


@command(
    presets, "show", returns=table.Preset, example="dumacle transcode presets show hls", offline=True, role="enduser"
)
def show_preset(
    context: Context,  # noqa: ARG001
    preset: Annotated[str, typer.Argument(metavar="PRESET", help="The preset's name.")],
) -> Shown:
    """Show a preset."""
    return Shown(table.get(preset))

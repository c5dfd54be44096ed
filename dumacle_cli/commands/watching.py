"""`dumacle transcode watch`: a board at a terminal, lines in a pipe."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dumacle_cli.commands.command import CommandGroup
from dumacle_cli.context import Context
from dumacle_cli.errors import Exit
from dumacle_cli.output.result import OutputFormat, Result, Rows
from dumacle_cli.services import transcodes
from dumacle_cli.store import transcodes as store

if TYPE_CHECKING:
    from sqlalchemy import Row

    from dumacle_cli.output.board import Job

    Work = dict[int, Row[Any]]
    Show = Callable[[Sequence[transcodes.Transcode], Work], None]

app = CommandGroup("transcode")
WATCH_SECONDS = 1
ORDER = ("running", "publishing", "queued")
ENDED = ("done", "failed", "quarantined", "cancelled")


@app.reads(
    "watch",
    columns=("id", "owner", "pod", "path", "preset", "status", "progress", "error"),
    example="dumacle transcode watch 1",
    role="enduser",
)
def watch(
    context: Context,
    ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="ID", help="Ids of transcodes; by default all that are queued or running."),
    ] = None,
) -> Rows[transcodes.Transcode]:
    """Watch transcodes until all have ended; exit 1 if some did not succeed. -o jsonl prints each change.

    At a terminal it shows workers, frames a second, and the time left.
    """
    result: Rows[transcodes.Transcode] = Result(())
    wanted = list(dict.fromkeys(transcodes.parse_ids(ids))) if ids else _live(context)
    if context.options.output is OutputFormat.JSONL and not context.options.quiet:
        result.data = _changes(context, wanted, result)
        return result
    found: Sequence[transcodes.Transcode] = ()
    with _display(context) as show:
        for found, work in _looks(context, wanted, result):
            show(found, work)
    result.data = found
    return result


def _live(context: Context) -> list[int]:
    with context.session() as session:
        return list(store.ids_of(session, store.TranscodeFilter(statuses=store.LIVE), latest_only=False))


def _looks(
    context: Context, ids: list[int], result: Rows[transcodes.Transcode]
) -> Iterator[tuple[list[transcodes.Transcode], Work]]:
    """Yield how all stand every second until they have ended, and set the exit status of `result`."""
    while True:
        with context.session() as session:
            found = transcodes.get(session, ids)
            work = store.running(session, ids)
        yield found, work
        if not any(each.is_live for each in found):
            break
        if context.console.out:
            context.console.out.flush()
        time.sleep(WATCH_SECONDS)
    if any(each.status != "done" for each in found):
        result.exit = Exit.FAILED


def _changes(context: Context, ids: list[int], result: Rows[transcodes.Transcode]) -> Iterator[transcodes.Transcode]:
    seen: dict[int, transcodes.Transcode] = {}
    for found, _ in _looks(context, ids, result):
        yield from (each for each in found if seen.get(each.id) != each)
        seen = {each.id: each for each in found}


@contextmanager
def _display(context: Context) -> Iterator[Show]:
    """Show progress on standard error: as a board on a terminal, else a line for each change."""
    terminal = context.console.terminal
    if terminal is None:
        yield _lines(context)
        return
    from dumacle_cli.output.board import Board

    with Board(terminal, context.console.color) as board:
        yield lambda found, work: board.show(_jobs(found, work), _summary(found, work))


def _lines(context: Context) -> Show:
    said: dict[int, str] = {}

    def show(found: Sequence[transcodes.Transcode], _: Work) -> None:
        for each in found:
            line = f"{each.id} {each.path} {each.preset}: {each.status} {each.progress} %"
            if said.get(each.id) != line and (each.is_live or each.id in said):
                context.console.say(line)
            said[each.id] = line

    return show


def _jobs(found: Sequence[transcodes.Transcode], work: Work) -> list[Job]:
    """Return the lines of the board: running ones, then waiting ones, then ended ones, the last first."""
    from dumacle_cli.output.board import Job

    rank = {status: number for number, status in enumerate(ORDER)}
    latest = sorted(found, key=lambda each: each.ended_at or each.created_at, reverse=True)
    ordered = [*(each for each in found if each.is_live), *(each for each in latest if not each.is_live)]
    lines = []
    for each in sorted(ordered, key=lambda each: rank.get(each.status, len(ORDER))):
        at = work.get(each.id)
        left, worker = (_left(each, at), ", ".join(at.workers)) if at else (None, None)
        fps = at.fps if at else None
        lines.append(Job(each.id, each.path, each.preset, each.status, each.progress, fps, left, worker))
    return lines


def _left(each: transcodes.Transcode, at: Row[Any]) -> float | None:
    """Return how many seconds are left, if it goes on as it went."""
    if not each.progress:
        return None
    passed: float = (datetime.now(UTC) - at.started_at).total_seconds()
    return max(0.0, passed * (100 - each.progress) / each.progress)


def _summary(found: Sequence[transcodes.Transcode], work: Work) -> str:
    counts = Counter(each.status for each in found)
    parts = [f"{counts[status]} {status}" for status in (*ORDER, *ENDED) if counts[status]]
    workers = len({name for at in work.values() for name in at.workers})
    return ", ".join(parts) + (f"; {workers} worker{'s' if workers > 1 else ''}" if workers else "")

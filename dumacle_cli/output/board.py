"""A board of transcodes on standard error, drawn again whenever something changes; on a terminal only."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dumacle_cli.escapes import visible
from dumacle_cli.output.screen import console
from dumacle_cli.output.streams import Outlet
from dumacle_cli.units import show_duration

BESIDES = 4
"""Lines of a terminal that are no jobs: the headings, how many are left out, the summary, the cursor."""
BAR, GAP, SHORTEST = 8, 2, 9
"""Characters of the bar, between columns, and of the shortest path or worker."""
NAMES = ("ID", "PRESET", "STATUS", "DONE", "FPS", "LEFT")
NUMBERS = ("ID", "DONE", "FPS", "LEFT")
STYLES = {"done": "green", "failed": "red", "quarantined": "red", "cancelled": "yellow", "running": "bold"}


@dataclass(frozen=True, slots=True)
class Job:
    """One line: progress in percent, `left` in seconds."""

    id: int
    path: str
    preset: str
    status: str
    progress: int
    fps: float | None = None
    left: float | None = None
    worker: str | None = None


class Board:
    """Drawn while inside; what does not fit is counted."""

    def __init__(self, err: Outlet, color: bool | None) -> None:
        self._console = console(err, color)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, jobs: Sequence[Job], summary: str) -> None:
        """Draw these jobs, the first ones if there are more than lines."""
        shown = jobs[: max(1, self._console.height - BESIDES)]
        lines: list[Table | Text] = [_table(shown, self._console.width)]
        if len(jobs) > len(shown):
            lines.append(Text(f"and {len(jobs) - len(shown)} more", style="dim"))
        self._live.update(Group(*lines, Text(summary, no_wrap=True, overflow="ellipsis")), refresh=True)


def _table(jobs: Sequence[Job], width: int) -> Table:
    """Make a table of this width: paths and workers share what the other columns leave, and keep their ends."""
    facts = [_facts(job) for job in jobs]
    sizes = [max(map(len, column)) for column in zip(NAMES, *facts, strict=True)]
    room = max(2 * SHORTEST, width - sum(sizes) - BAR - GAP * (len(NAMES) + 2))
    worker = max(SHORTEST, min(room // 3, max(len(job.worker or "") for job in jobs)))
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, GAP, 0, 0))
    for name in ("ID", "PATH", *NAMES[1:3], "", *NAMES[3:], "WORKER"):
        table.add_column(name, no_wrap=True, justify="right" if name in NUMBERS else "left")
    for job, (number, preset, status, *numbers) in zip(jobs, facts, strict=True):
        table.add_row(
            number,
            _end(job.path, room - worker),
            preset,
            Text(status, style=STYLES.get(status, "")),
            ProgressBar(total=100, completed=job.progress, width=BAR),
            *numbers,
            _end(job.worker or "", worker),
        )
    return table


def _facts(job: Job) -> tuple[str, ...]:
    fps, left = f"{job.fps:.0f}" if job.fps else "", "" if job.left is None else show_duration(job.left)
    return str(job.id), job.preset, job.status, f"{job.progress}%", fps, left


def _end(text: str, most: int) -> Text:
    shown = visible(text)
    return Text(shown if len(shown) <= most else f"…{shown[1 - most :]}")

"""Progress on standard error: one line for the whole, one for each large file, on a terminal only."""

import threading
from types import TracebackType
from typing import Self

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from dumacle_cli.escapes import safe, visible
from dumacle_cli.ingest.items import Attempt, Outcome, Result
from dumacle_cli.output.screen import console
from dumacle_cli.output.streams import Outlet
from dumacle_cli.units import show_size

LARGE = 16 * 1024**2
"""Smallest file with its own bar, in bytes."""
WIDEST = 28
_PLANNED = (Result.UPLOADED, Result.CHANGED, Result.CANCELLED, Result.FAILED)


class _Rate(ProgressColumn):
    """Bytes per second, in the units of the other columns."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{show_size(int(speed))}/s" if speed else "", style="progress.data.speed")


class _Live:
    """Bars that are drawn inside a `with` block."""

    _bars: Progress

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()


class Bars(_Live):
    """Bars for an upload, drawn at most ten times a second; safe to share between threads."""

    def __init__(self, err: Outlet, color: bool | None) -> None:
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            DownloadColumn(binary_units=True),
            _Rate(),
            TimeRemainingColumn(compact=True),
            console=console(err, color),
            transient=True,
        )
        self._files: dict[int, TaskID] = {}
        self._ended = self._planned = self._size = 0
        self._lock = threading.Lock()
        self._whole = self._bars.add_task("files 0/0", total=None)

    def planned(self, files: int, size: int) -> None:
        """More files, of `size` bytes in all, will be uploaded."""
        with self._lock:
            self._planned, self._size = self._planned + files, self._size + size
            self._bars.update(self._whole, total=self._size, description=self._text())

    def moved(self, attempt: Attempt, size: int) -> None:
        """The store received `size` bytes of an attempt."""
        self._bars.advance(self._whole, size)
        if attempt.item.size < LARGE:
            return
        with self._lock:
            if attempt.file_id not in self._files:
                name = visible(attempt.item.path)
                short = name if len(name) <= WIDEST else "…" + name[1 - WIDEST :]
                self._files[attempt.file_id] = self._bars.add_task(f"  {short}", total=attempt.item.size)
            self._bars.advance(self._files[attempt.file_id], size)

    def ended(self, outcome: Outcome) -> None:
        """An item ended, and its result is committed."""
        if outcome.file_id is None or outcome.result not in _PLANNED:
            return
        with self._lock:
            self._ended += 1
            self._bars.update(self._whole, description=self._text())
            if outcome.file_id in self._files:
                self._bars.remove_task(self._files.pop(outcome.file_id))

    def say(self, line: str) -> None:
        """Print a line above the bars."""
        self._bars.console.print(Text(safe(line)), soft_wrap=True)

    def _text(self) -> str:
        return f"files {self._ended}/{self._planned}"

"""The numbered steps of a long command on standard error: progress, then the finding and the duration."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from dumacle_cli.escapes import safe
from dumacle_cli.output.streams import Outlet

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Step:
    """The finding of a step in words, and its duration in seconds."""

    step: str
    finding: str
    seconds: float


class Steps:
    """Runs steps one after the other and reports each; without `err` nothing is written."""

    def __init__(self, err: Outlet | None, total: int) -> None:
        self._err, self._total = err.unescaped if err else None, total
        self._head = ""
        self.done: list[Step] = []

    def take(self, name: str, work: Callable[[], tuple[T, str]]) -> T:
        """Run a step that returns its result and a finding, and return the result."""
        number = f"{len(self.done) + 1:>{len(str(self._total))}}/{self._total}"
        self._head = f"{number}  {name}"
        self.show_progress("...")
        started = time.monotonic()
        result, finding = work()
        step = Step(name, finding, round(time.monotonic() - started, 3))
        self.done.append(step)
        self._write(f"{number}  {name:<9} {safe(finding):<53} {step.seconds:5.1f} s\n")
        return result

    def show_progress(self, text: str) -> None:
        """Show the progress of the current step, on a terminal only."""
        # The carriage return lets the longer line of the end, or a bar, take this one's place.
        if self._err is not None and self._err.isatty():
            self._write(f"{self._head:<15} {text:<8}\r")

    def _write(self, text: str) -> None:
        if self._err is not None:
            self._err.write(text)
            self._err.flush()

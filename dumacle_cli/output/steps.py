"""The numbered steps of a long command on standard error: what is under way, then what came of it and in which time."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from dumacle_cli.escapes import safe
from dumacle_cli.output.streams import Outlet

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Step:
    """What a step came to, in words, and how many seconds it took."""

    step: str
    finding: str
    seconds: float


class Steps:
    """Runs steps one after the other and tells of each; nobody is told where `err` is None."""

    def __init__(self, err: Outlet | None, total: int) -> None:
        self._err, self._total = err.painter if err else None, total
        self._head = ""
        self.done: list[Step] = []

    def take(self, name: str, work: Callable[[], tuple[T, str]]) -> T:
        """Run a step that returns its result and a sentence about it, and return the result."""
        number = f"{len(self.done) + 1:>{len(str(self._total))}}/{self._total}"
        self._head = f"{number}  {name}"
        self.under_way("...")
        started = time.monotonic()
        result, finding = work()
        step = Step(name, finding, round(time.monotonic() - started, 3))
        self.done.append(step)
        self._tell(f"{number}  {name:<9} {safe(finding):<53} {step.seconds:5.1f} s\n")
        return result

    def under_way(self, text: str) -> None:
        """Tell how far the present step is, on a terminal only."""
        # The carriage return lets the longer line of the end, or a bar, take this one's place.
        if self._err is not None and self._err.isatty():
            self._tell(f"{self._head:<15} {text:<8}\r")

    def _tell(self, text: str) -> None:
        if self._err is not None:
            self._err.write(text)
            self._err.flush()

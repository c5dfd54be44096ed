"""Progress without a terminal: at most one line a second on standard error, as text or JSON."""

import time
from threading import Lock
from types import TracebackType
from typing import Self

from dumacle_cli.escapes import safe
from dumacle_cli.ingest.items import Attempt, Outcome
from dumacle_cli.output.streams import Outlet
from dumacle_cli.plain import dumped
from dumacle_cli.units import show_size

INTERVAL = 1.0
"""Seconds between lines."""


class Lines:
    """Lines about an upload inside a `with` block, the last one at its end; may be called from several threads."""

    def __init__(self, err: Outlet, *, as_json: bool) -> None:
        self._err, self._as_json = err, as_json
        self._lock = Lock()
        self._ended = self._planned = self._moved = self._size = 0
        self._started = self._written = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._write(time.monotonic())

    def planned(self, files: int, size: int) -> None:
        """More files, of `size` bytes in all, will be uploaded."""
        self._add(planned=files, size=size)

    def moved(self, attempt: Attempt, size: int) -> None:  # noqa: ARG002 - as the protocol has it
        """The store received `size` bytes of an attempt."""
        self._add(moved=size)

    def ended(self, outcome: Outcome) -> None:
        """An item ended, and its result is committed."""
        self._add(ended=outcome.key is not None)

    def say(self, line: str) -> None:
        """Print a line between the others."""
        self._err.write(f"{safe(line)}\n")
        self._err.flush()

    def _add(self, *, ended: int = 0, planned: int = 0, moved: int = 0, size: int = 0) -> None:
        with self._lock:
            self._ended, self._planned = self._ended + ended, self._planned + planned
            self._moved, self._size = self._moved + moved, self._size + size
            now = time.monotonic()
            if now - self._written >= INTERVAL:
                self._write(now)

    def _write(self, now: float) -> None:
        self._written = now
        rate = round(self._moved / max(now - self._started, 0.001))
        if self._as_json:
            counts = {"uploaded": self._ended, "planned": self._planned}
            sizes = {"uploaded_size": self._moved, "planned_size": self._size, "bytes_per_second": rate}
            self.say(dumped({"schema": "dumacle.progress.v1", **counts, **sizes}))
        else:
            sizes_shown = f"{show_size(self._moved)} of {show_size(self._size)}, {show_size(rate)}/s"
            self.say(f"{self._ended} of {self._planned} files, {sizes_shown}")

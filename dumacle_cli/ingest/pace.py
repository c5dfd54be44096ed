"""How many small objects are in flight at once: doubled while that raises throughput."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

LEAST = 96
WINDOW = 0.5
"""Seconds over which a rate is measured, at least; each slot must also have been used once."""
MIN_GAIN = 1.15
"""Doubling the slots must raise the rate by this factor."""
REST = 20
"""Windows until doubling is tried again, starting one step lower."""
REQUEST = 64 * 1024
"""The overhead of a request, in bytes."""


class Pace:
    """Slots for requests, `LEAST` to `most` of them, adjusted to the measured rate."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.most = most
        self.limit = min(LEAST, most)
        self._slots = asyncio.Semaphore(self.limit)
        self._owed = 0
        self._clock = clock
        self._begin()
        self._slower, self._slower_rate = self.limit, 0.0
        self._resting = 1

    @asynccontextmanager
    async def slot(self, size: int) -> AsyncIterator[None]:
        """Wait for a slot and hold it for a request with `size` bytes."""
        await self._slots.acquire()
        try:
            yield
        finally:
            self._give(size)

    def _give(self, size: int) -> None:
        self._done += 1
        self._moved += size + REQUEST
        if self._done >= self.limit and self._clock() - self._since >= WINDOW:
            self._judge(self._moved / (self._clock() - self._since))
            self._begin()
        if self._owed:
            self._owed -= 1
        else:
            self._slots.release()

    def _begin(self) -> None:
        self._since, self._done, self._moved = self._clock(), 0, 0

    def _judge(self, rate: float) -> None:
        if not self._slots.locked():
            return
        if self._resting:
            self._resting -= 1
            if not self._resting:
                self._resize(self.limit // 2)
        elif rate <= MIN_GAIN * self._slower_rate:
            self._slower_rate, self._resting = 0.0, REST
            self._resize(self._slower)
        elif self.limit < self.most:
            self._slower, self._slower_rate = self.limit, rate
            self._resize(self.limit * 2)

    def _resize(self, limit: int) -> None:
        limit = min(max(limit, LEAST), self.most)
        for _ in range(limit - self.limit):
            if self._owed:
                self._owed -= 1
            else:
                self._slots.release()
        self._owed += max(0, self.limit - limit)
        self.limit = limit

"""How many requests are in flight at once: doubled while that raises throughput, halved when the store asks for it."""

import resource
import threading
import time
from collections.abc import Callable

START = 128
MOST = 512
"""The most requests in flight unless a number is set."""
WINDOW = 0.4
"""Seconds over which a rate is measured, at least; each slot must also have been used once."""
MIN_GAIN = 1.15
"""Doubling the slots must raise the rate by this factor."""
REST = 20
"""Windows until doubling is tried again, from one step lower."""
REQUEST = 64 * 1024
"""The overhead of a request, in bytes."""
CALM = 1.0
"""Seconds between two halvings: what was in flight at the first one still fails."""
OTHER_FILES = 40
"""File descriptors that are not a sender's: the database, the scan, standard streams, large files."""


class Pace:
    """The number of requests that may be in flight, up to `most`; safe to share between threads."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.most = most
        self.limit = min(START, most)
        self._clock, self._lock = clock, threading.Lock()
        self._begin(clock())
        self._halved = self._since
        self._before, self._rate_before = self.limit, 0.0
        self._resting = 0

    def done(self, size: int, waiting: bool) -> None:
        """Count a request of `size` bytes; `waiting` tells whether more are waiting for a slot."""
        with self._lock:
            self._done += 1
            self._moved += size + REQUEST
            now = self._clock()
            if self._done < self.limit:
                return
            if self._settling:
                self._begin(now)
            elif now - self._since >= WINDOW:
                limit = self.limit
                if waiting:
                    self._judge(self._moved / (now - self._since))
                self._begin(now, settling=self.limit != limit)

    def slow_down(self) -> None:
        """Halve the limit, because the store is overloaded or does not answer."""
        with self._lock:
            now = self._clock()
            if now - self._halved >= CALM:
                self.limit, self._resting, self._halved = max(1, self.limit // 2), REST, now
                self._begin(now, settling=True)

    def _begin(self, now: float, *, settling: bool = False) -> None:
        """Begin a window; the first one after a change still sees answers to what was sent before."""
        self._since, self._done, self._moved, self._settling = now, 0, 0, settling

    def _judge(self, rate: float) -> None:
        if self._resting:
            self._resting -= 1
            if not self._resting:
                self.limit, self._rate_before = max(self.limit // 2, min(START, self.limit)), 0.0
        elif rate <= MIN_GAIN * self._rate_before:
            self.limit, self._resting = self._before, REST
        elif self.limit < self.most:
            self._before, self._rate_before = self.limit, rate
            self.limit = min(self.most, self.limit * 2)
        else:
            self._resting = REST


class Bandwidth:
    """Lets `rate` bytes pass in a second, for all threads together; 0 is no limit. It does not wait once `halted`."""

    def __init__(self, rate: int, halted: threading.Event) -> None:
        self.waited = 0.0
        """Seconds waited, summed over all threads."""
        self._rate, self._halted, self._lock = rate, halted, threading.Lock()
        self._free_at = time.monotonic()

    def take(self, size: int) -> None:
        """Wait until so many bytes may pass."""
        if not self._rate:
            return
        with self._lock:
            now = time.monotonic()
            delay = max(0.0, self._free_at - now)
            self._free_at = now + delay + size / self._rate
            self.waited += delay
        self._halted.wait(delay)


def affordable(wanted: int) -> int:
    """Return how many senders, each with two file descriptors, this process can have; raises its soft limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * wanted + OTHER_FILES
    if soft < needed:
        soft = min(needed, hard) if hard != resource.RLIM_INFINITY else needed
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(1, min(wanted, (soft - OTHER_FILES) // 2))

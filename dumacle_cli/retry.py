"""Retry what failed for a temporary reason: a fixed number of times, or for as long as an outage may last."""

import random
import threading
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

from dumacle_cli.errors import DatabaseBusy, DumacleError

T = TypeVar("T")
LOCK_TRIES = 4
FIRST_DELAY = 0.1
LONGEST_DELAY = 10.0
UNKNOWN_SECONDS = 60.0
"""How long a service is waited for that never answered: its address may be wrong."""


def call(work: Callable[[], T], retryable: Callable[[DumacleError], bool], pauses: Iterable[float]) -> T:
    """Run `work`; after a retryable error, repeat it after each pause (seconds). The last error is raised."""
    for pause in pauses:
        try:
            return work()
        except DumacleError as error:
            if not retryable(error):
                raise
        time.sleep(pause)
    return work()


def on_lock(work: Callable[[], T]) -> T:
    """Run a transaction; if others hold its locks, repeat it at once, since each try has waited for them."""
    return call(work, lambda error: isinstance(error, DatabaseBusy), [0.0] * (LOCK_TRIES - 1))


class Patience:
    """Waits out the outages of one service, for all threads that use it.

    An outage begins with the first temporary error and ends with the next success of any thread. A call gives up when
    the outage, or its own series of errors, has lasted for `budget` seconds; 0 never waits. A service that never
    answered is waited for a minute at most; `answered` says that it did before. Where something else can be used
    instead, an outage is waited out for `outage` seconds only. `tell` is called with a sentence when an outage is first
    waited out, and when it is over.
    """

    def __init__(
        self,
        service: str,
        budget: float,
        temporary: Callable[[DumacleError], bool],
        tell: Callable[[str], None],
        halted: threading.Event | None = None,
        outage: float | None = None,
        answered: bool = False,
    ) -> None:
        self.service, self.budget = service, budget
        self._outage = budget if outage is None else min(outage, budget)
        self.waited = 0.0
        """Seconds waited, summed over all threads."""
        self._temporary, self._tell = temporary, tell
        self.halted = halted or threading.Event()
        self._lock = threading.Lock()
        self._since: float | None = None
        self._answered = answered

    @property
    def is_out(self) -> bool:
        """Whether the last call of any thread ended with a temporary error."""
        return self._since is not None

    def call(self, work: Callable[[], T]) -> T:
        """Run `work` until it succeeds; raises its last error when patience is over, or when the run is halted."""
        own, tries = 0.0, 0
        while True:
            try:
                done = work()
            except DumacleError as error:
                if not self._temporary(error):
                    raise
                now = time.monotonic()
                own = own or now
                if self._is_over(error, now, own):
                    raise
            else:
                self._answered = True
                self.end_outage()
                return done
            self._wait(tries)
            tries += 1

    def _is_over(self, error: DumacleError, now: float, own: float) -> bool:
        with self._lock:
            first = self._since is None
            since = self._since = now if self._since is None else self._since
        outage = self._outage if self._answered else min(self._outage, UNKNOWN_SECONDS)
        over = self.halted.is_set() or now - since >= outage or now - own >= self.budget
        if first and not over:
            self._tell(f"waiting for {self.service}, for up to {outage:g} s: {error}")
        return over

    def end_outage(self) -> None:
        """Note that the service answers."""
        if self._since is None:
            return
        with self._lock:
            since, self._since = self._since, None
        if since is not None:
            self._tell(f"{self.service} is back after {time.monotonic() - since:.0f} s")

    def _wait(self, tries: int) -> None:
        longest = min(LONGEST_DELAY, FIRST_DELAY * 2 ** min(tries, 10), max(FIRST_DELAY, self._outage / 4))
        began = time.monotonic()
        self.halted.wait(longest * random.uniform(0.5, 1))  # noqa: S311 - jitter
        self.waited += time.monotonic() - began

"""Outages of a store: how long to wait for one that is away."""

import random
import time
from threading import Event

PATIENCE = 300.0
FIRST, LONGEST = 0.5, 30.0


class Outage:
    """The patience of one command, in seconds for each outage, shared by its threads.

    An outage that lasted longer is not waited for until something has succeeded.
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._since: float | None = None
        self._stopped = Event()

    @property
    def is_stopped(self) -> bool:
        """Whether the command ends, and its threads with it."""
        return self._stopped.is_set()

    def stop(self) -> None:
        """End all waiting."""
        self._stopped.set()

    def end(self) -> None:
        """Note that the store has answered."""
        self._since = None

    def wait(self, failures: int) -> bool:
        """Wait before the next try, longer after each failure in a row; returns false if it is not worth another."""
        now = time.monotonic()
        self._since = since = self._since or now
        pause = min(LONGEST, FIRST * 2 ** min(failures, 10)) * random.uniform(0.5, 1)  # noqa: S311 - no secret
        if now + pause - since > self._patience:
            return False
        return not self._stopped.wait(pause)

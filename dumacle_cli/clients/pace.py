"""The rate of requests: at most so many begin within a second, from all threads together."""

import threading
import time
from collections import deque


class Pace:
    """Lets a number of requests begin in any second, and holds back those beyond it."""

    def __init__(self, per_second: int) -> None:
        self._lock = threading.Lock()
        self._begun: deque[float] = deque(maxlen=per_second)

    def wait(self) -> None:
        """Return when the next request may begin."""
        with self._lock:
            now = time.monotonic()
            if len(self._begun) == self._begun.maxlen and (early := self._begun[0] + 1 - now) > 0:
                time.sleep(early)
            self._begun.append(time.monotonic())

"""SIGTERM, SIGHUP and --timeout as exceptions, so that every `with` and `finally` runs."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from dumacle_cli.errors import TimedOut


class Terminated(BaseException):
    """SIGTERM or SIGHUP arrived."""


@contextmanager
def handled(timeout: float) -> Iterator[None]:
    """Raise Terminated on SIGTERM and SIGHUP, and TimedOut after `timeout` seconds (0: never), while inside."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminate(number: int, frame: FrameType | None) -> None:
        raise Terminated

    def expire(number: int, frame: FrameType | None) -> None:
        raise TimedOut(seconds=f"{timeout:g}")

    wanted = {signal.SIGTERM: terminate, signal.SIGHUP: terminate, signal.SIGALRM: expire}
    before = {number: signal.signal(number, handler) for number, handler in wanted.items()}
    signal.setitimer(signal.ITIMER_REAL, timeout)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)

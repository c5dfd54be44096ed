"""SIGTERM, SIGHUP, SIGINT and --timeout as exceptions, so that every `with` and `finally` runs.

Signals that the parent process set to be ignored (`nohup`, `trap ''`, `&` in a script) stay ignored.
"""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from dumacle_cli.errors import DumacleError, TimedOut

LONGEST = 365 * 86_400
"""The maximum of --timeout, in seconds: a year."""
AGAIN = 0.01
"""Seconds until an exception that Python dropped is raised again."""


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP arrived; psycopg and asyncio abort their work on a KeyboardInterrupt only."""


class Expired(KeyboardInterrupt):
    """The time of --timeout is over."""


def is_ignored(number: signal.Signals) -> bool:
    """Tell whether a signal is ignored."""
    return signal.getsignal(number) is signal.SIG_IGN


@contextmanager
def handled(timeout: float) -> Iterator[None]:
    """Raise Terminated on SIGTERM and SIGHUP, KeyboardInterrupt on SIGINT, and TimedOut after `timeout` seconds, while
    inside; 0 is never.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    raised: list[type[BaseException]] = []
    dropped: list[type[BaseException]] = []

    def terminate(_number: int, _frame: FrameType | None) -> None:
        raised.append(Terminated)
        raise Terminated

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raised.append(KeyboardInterrupt)
        raise KeyboardInterrupt

    def expire(_number: int, _frame: FrameType | None) -> None:
        raised.append(dropped.pop() if dropped else Expired)
        raise raised[-1]

    def raise_again(unraisable: "sys.UnraisableHookArgs") -> None:
        # Python drops what is raised while it collects garbage or runs a callback of a weak reference.
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            dropped.append(unraisable.exc_type)
            signal.setitimer(signal.ITIMER_REAL, AGAIN)
        else:
            hook(unraisable)

    hook, sys.unraisablehook = sys.unraisablehook, raise_again
    ways = {signal.SIGTERM: terminate, signal.SIGHUP: terminate, signal.SIGINT: interrupt}
    wanted = {number: handler for number, handler in ways.items() if not is_ignored(number)} | {signal.SIGALRM: expire}
    before = {number: signal.signal(number, handler) for number, handler in wanted.items()}
    signal.setitimer(signal.ITIMER_REAL, timeout)
    try:
        with _not_replaced(raised):
            yield
    except Expired:
        raise TimedOut(seconds=f"{timeout:g}") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _not_replaced(raised: list[type[BaseException]]) -> Iterator[None]:
    """Raise again what a signal raised where another error took its place.

    A compiled module that is interrupted while it is imported fails with an ImportError.
    """
    try:
        yield
    except (DumacleError, OSError):
        raise
    except Exception as error:
        if raised:
            raise raised[-1] from error
        raise

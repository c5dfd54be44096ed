"""SIGTERM, SIGHUP, SIGINT and --timeout as exceptions, so that every `with` and `finally` runs.

Signals that the parent process set to be ignored (`nohup`, `trap ''`, `&` in a script) stay ignored.
"""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ExtensionFileLoader
from types import FrameType

from dumacle_cli.errors import DumacleError, TimedOut

LONGEST = 365 * 86_400
"""The maximum of --timeout, in seconds: a year."""
AGAIN = 0.01
"""Seconds until an exception that would be lost, or was, is raised again."""
_IMPORTING = {ExtensionFileLoader.create_module.__code__, ExtensionFileLoader.exec_module.__code__}


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP arrived; psycopg and asyncio abort their work on a KeyboardInterrupt only."""


class Expired(KeyboardInterrupt):
    """The time of --timeout is over."""


_KINDS: dict[int, type[KeyboardInterrupt]] = {
    signal.SIGTERM: Terminated,
    signal.SIGHUP: Terminated,
    signal.SIGINT: KeyboardInterrupt,
    signal.SIGALRM: Expired,
}


def is_ignored(number: int) -> bool:
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
    postponed: list[type[BaseException]] = []

    def postpone(kind: type[BaseException]) -> None:
        postponed.append(kind)
        signal.setitimer(signal.ITIMER_REAL, AGAIN)

    def arrive(number: int, frame: FrameType | None) -> None:
        kind = postponed.pop() if postponed and number == signal.SIGALRM else _KINDS[number]
        if _is_importing(frame):
            postpone(kind)
        else:
            raised.append(kind)
            raise kind

    def raise_again(unraisable: "sys.UnraisableHookArgs") -> None:
        # Python drops what is raised while it collects garbage or runs a callback of a weak reference.
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            postpone(unraisable.exc_type)
        else:
            hook(unraisable)

    hook, sys.unraisablehook = sys.unraisablehook, raise_again
    wanted = [each for each in _KINDS if each == signal.SIGALRM or not is_ignored(each)]
    before = {each: signal.signal(each, arrive) for each in wanted}
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


def _is_importing(frame: FrameType | None) -> bool:
    """Whether a compiled module is being imported.

    If that is interrupted it fails with an ImportError, after which some libraries go on with something else.
    """
    while frame:
        if frame.f_code in _IMPORTING:
            return True
        frame = frame.f_back
    return False


@contextmanager
def _not_replaced(raised: list[type[BaseException]]) -> Iterator[None]:
    """Raise again what a signal raised where another error took its place.

    What is raised while a class is made becomes a RuntimeError, and in pydantic a SchemaError.
    """
    try:
        yield
    except (DumacleError, OSError):
        raise
    except Exception as error:
        if raised:
            raise raised[-1] from error
        raise

"""Signals while an event loop runs: the first one cancels the task so that it can clean up; a second one raises."""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

WANTED = (signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)


@contextmanager
def cancelling() -> Iterator[None]:
    """Cancel this task when a signal handler raises, and raise the handler's exception once the task has ended.

    An exception raised by a handler would otherwise break off an arbitrary callback, such as that of one file.
    """
    raised: list[BaseException] = []
    before = _handlers()
    for number, handler in before.items():
        signal.signal(number, _deferred(handler, raised))
    try:
        yield
    except asyncio.CancelledError:
        if raised:
            raise raised[0] from None
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _handlers() -> dict[signal.Signals, Callable[[int, FrameType | None], Any]]:
    if threading.current_thread() is not threading.main_thread():
        return {}
    found = {number: signal.getsignal(number) for number in WANTED}
    return {number: handler for number, handler in found.items() if callable(handler)}


def _deferred(
    handler: Callable[[int, FrameType | None], Any], raised: list[BaseException]
) -> Callable[[int, FrameType | None], None]:
    task, loop = asyncio.current_task(), asyncio.get_running_loop()

    def handle(number: int, frame: FrameType | None) -> None:
        try:
            handler(number, frame)
        except BaseException as broken:
            if raised:
                raise
            raised.append(broken)
            if task:
                task.cancel()
            loop.call_soon_threadsafe(lambda: None)  # wakes the loop if it is waiting for a socket

    return handle

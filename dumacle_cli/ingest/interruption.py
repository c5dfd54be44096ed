"""Signals while a loop runs: the first one cancels, so that the task ends in order; a second one raises at once."""

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
    """Cancel this task where the handler of a signal would raise in the middle of it, and raise that at the end.

    An exception out of a handler would end whatever callback the loop is in, which may be one file's.
    """
    raised: list[BaseException] = []
    before = _handlers()
    for number, handler in before.items():
        signal.signal(number, _softened(handler, raised))
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


def _softened(
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
            loop.call_soon_threadsafe(lambda: None)  # wakes the loop, which may be waiting for a socket

    return handle

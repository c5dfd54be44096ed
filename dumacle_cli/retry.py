"""The one way to repeat something that failed for a passing reason."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from dumacle_cli.errors import DatabaseBusy, DumacleError

T = TypeVar("T")
LOCK_TRIES = 4


def call(work: Callable[[], T], passes: Callable[[DumacleError], bool], pauses: Iterable[float]) -> T:
    """Run `work`, and again after each pause (seconds) while its error `passes`; the last error is raised."""
    for pause in pauses:
        try:
            return work()
        except DumacleError as error:
            if not passes(error):
                raise
        time.sleep(pause)
    return work()


async def call_async(
    work: Callable[[], Awaitable[T]], passes: Callable[[DumacleError], bool], pauses: Iterable[float]
) -> T:
    """Do the same on the event loop."""
    for pause in pauses:
        try:
            return await work()
        except DumacleError as error:
            if not passes(error):
                raise
        await asyncio.sleep(pause)
    return await work()


def on_lock(work: Callable[[], T]) -> T:
    """Run a transaction, and again at once while others hold its locks, for which each try waits itself."""
    return call(work, lambda error: isinstance(error, DatabaseBusy), [0.0] * (LOCK_TRIES - 1))

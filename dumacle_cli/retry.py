"""Retry what failed for a temporary reason."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from dumacle_cli.errors import DatabaseBusy, DumacleError

T = TypeVar("T")
LOCK_TRIES = 4


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


async def call_async(
    work: Callable[[], Awaitable[T]], retryable: Callable[[DumacleError], bool], pauses: Iterable[float]
) -> T:
    """Do the same as `call` on the event loop."""
    for pause in pauses:
        try:
            return await work()
        except DumacleError as error:
            if not retryable(error):
                raise
        await asyncio.sleep(pause)
    return await work()


def on_lock(work: Callable[[], T]) -> T:
    """Run a transaction; if others hold its locks, repeat it at once, since each try has waited for them."""
    return call(work, lambda error: isinstance(error, DatabaseBusy), [0.0] * (LOCK_TRIES - 1))

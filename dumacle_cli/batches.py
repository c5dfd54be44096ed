"""Batches: what arrives while the database is busy is saved in one transaction."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Generic, TypeVar

from dumacle_cli.errors import DatabaseBusy, DumacleError, Exit

QUEUE = 400
"""The number of items that may wait for a thread; further ones are refused at once."""
BATCH = 64
PACE_S = 0.002
"""Seconds between the beginnings of two batches: a larger batch costs less for each item."""
THREADS = 2
ENOUGH = 16
"""So many must wait for the second thread to start: it is there for when the first one hangs."""
ANSWER_S = 8
T = TypeVar("T")
Saved = list[Exception | None]


class Batches(Generic[T]):
    """Saves items in a few threads; those that wait for a thread are saved together, and each learns how it went."""

    def __init__(self, save: Callable[[Sequence[T]], None]) -> None:
        self._save = save
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="inbox")
        self._free = THREADS
        self._began = 0.0
        self._planned: asyncio.TimerHandle | None = None
        self._waiting: deque[tuple[T, asyncio.Future[None]]] = deque()

    async def add(self, item: T) -> None:
        """Save an item; raises what its saving raised, or DatabaseBusy if too many wait or if it takes too long."""
        if len(self._waiting) >= QUEUE:
            raise DatabaseBusy(reason=f"{QUEUE} requests are already waiting")
        saved = asyncio.get_running_loop().create_future()
        entry = item, saved
        self._waiting.append(entry)
        self._plan()
        try:
            async with asyncio.timeout(ANSWER_S):
                await saved
        except TimeoutError:
            with suppress(ValueError):  # it is being saved
                self._waiting.remove(entry)
            raise DatabaseBusy(reason=f"it did not answer within {ANSWER_S} s") from None

    def _plan(self) -> None:
        """Begin a batch as soon as the last one is long enough ago."""
        if self._planned is None and self._waiting:
            loop = asyncio.get_running_loop()
            self._planned = loop.call_at(self._began + PACE_S, self._begin)

    def _begin(self) -> None:
        """Start a thread with what waits, if one is free and it is worth it."""
        self._planned = None
        enough = 1 if self._free == THREADS else ENOUGH
        if self._free and len(self._waiting) >= enough:
            batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            self._free -= 1
            loop = asyncio.get_running_loop()
            self._began = loop.time()
            started = self._threads.submit(self._save_each, [item for item, _ in batch])
            started.add_done_callback(lambda done: _from_thread(loop, partial(self._end, batch, done.result())))

    def _end(self, batch: list[tuple[T, "asyncio.Future[None]"]], results: Saved) -> None:
        self._free += 1
        for (_, saved), fault in zip(batch, results, strict=True):
            if saved.done():
                continue
            if fault:
                saved.set_exception(fault)
            else:
                saved.set_result(None)
        self._plan()

    def _save_each(self, items: Sequence[T]) -> Saved:
        """Save a batch; if one of its items may be at fault, each alone."""
        try:
            self._save(items)
        except Exception as fault:  # noqa: BLE001 - who waits for it raises it
            if len(items) == 1 or (isinstance(fault, DumacleError) and fault.exit is Exit.TEMPORARY):
                return [fault] * len(items)
            return [self._save_each([item])[0] for item in items]
        return [None] * len(items)

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown()


def _from_thread(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    with suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(call)

"""Work that waits for a store, several items at once."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")

GRACE = 5.0
"""Seconds that threads have to end; those that wait for a store that hangs are left behind."""


def in_order(
    work: Callable[[A], B], items: Iterable[A], *, threads: int, ahead: int, stop: Callable[[], None] = lambda: None
) -> Iterator[B]:
    """Yield what `work` returns for each item, in their order; up to `ahead` items are begun or wait.

    `stop` is called at the end, or when the caller breaks off, and should make running work end soon.
    """
    queue: SimpleQueue[tuple[Future[B], A] | None] = SimpleQueue()
    pool = [Thread(target=_run, args=(work, queue), daemon=True) for _ in range(threads)]
    for thread in pool:
        thread.start()
    begun: deque[Future[B]] = deque()
    try:
        for item in items:
            begun.append(Future())
            queue.put((begun[-1], item))
            if len(begun) == ahead:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        stop()
        for future in begun:
            future.cancel()
        _end(pool, queue)


def _run(work: Callable[[A], B], queue: "SimpleQueue[tuple[Future[B], A] | None]") -> None:
    while (job := queue.get()) is not None:
        future, item = job
        if not future.set_running_or_notify_cancel():
            continue
        try:
            future.set_result(work(item))
        except BaseException as error:  # noqa: BLE001 - raised where the result is wanted
            future.set_exception(error)


def _end(pool: list[Thread], queue: "SimpleQueue[tuple[Future[B], A] | None]") -> None:
    for _ in pool:
        queue.put(None)
    until = time.monotonic() + GRACE
    for thread in pool:
        thread.join(max(0.0, until - time.monotonic()))

"""Waiting in the main thread, which alone receives signals, for threads that may hang."""

import threading
import time
from collections.abc import Callable, Iterable

LOOK = 0.5
"""Seconds between two looks at threads that are awaited."""


def start(work: Callable[[], None], name: str, failed: Callable[[BaseException], None]) -> threading.Thread:
    """Start a thread that does not keep the process alive, and hand the error that ends it to `failed`."""

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - it is raised in the main thread
            failed(error)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread


def join(threads: Iterable[threading.Thread], seconds: float) -> bool:
    """Wait for threads for so many seconds in all, and return whether all have ended."""
    until = time.monotonic() + seconds
    for thread in list(threads):
        while thread.is_alive() and (left := until - time.monotonic()) > 0:
            thread.join(min(LOOK, left))
    return not any(thread.is_alive() for thread in list(threads))

"""The memory for bodies in flight: bounded, given out in line, and used again.

To get fresh memory from the system for a file of 64 KiB takes more CPU than to read the file into it.
"""

import threading
from typing import cast

LEAST = 64 * 1024
FINENESS = 4
"""Buffers have 4 sizes from one power of two to the next, so that at most a fifth of one is unused."""


class Buffers:
    """Buffers of `size` bytes in all; safe to share between threads."""

    def __init__(self, size: int) -> None:
        self._size = self._free = size
        self._changed = threading.Condition()
        self._line: list[object] = []
        self._idle: dict[int, list[bytearray]] = {}
        self._idle_size = 0

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for memory."""
        return bool(self._line)

    def take(self, size: int) -> memoryview:
        """Wait in line for `size` bytes and take them; what is above the whole waits until all of it is free."""
        capacity, ticket = capacity_of(size), object()
        with self._changed:
            self._line.append(ticket)
            while self._line[0] is not ticket or self._free < min(capacity, self._size):
                self._changed.wait()
            self._line.pop(0)
            self._free -= min(capacity, self._size)
            buffer = self._take_idle(capacity)
            if self._line:
                self._changed.notify_all()
        return memoryview(buffer or bytearray(capacity))[:size]

    def give(self, body: memoryview) -> None:
        """Give back what was taken; nobody may use it from here on."""
        buffer = cast("bytearray", body.obj)
        capacity = len(buffer)
        with self._changed:
            self._free += min(capacity, self._size)
            if capacity <= self._size:
                self._idle.setdefault(capacity, []).append(buffer)
                self._idle_size += capacity
            if self._line:
                self._changed.notify_all()

    def _take_idle(self, capacity: int) -> bytearray | None:
        """Take an idle buffer of this size; if there is none, let go of so many others that it fits."""
        if same := self._idle.get(capacity):
            self._idle_size -= capacity
            return same.pop()
        while self._idle_size > self._free:
            other = max(size for size, buffers in self._idle.items() if buffers)
            self._idle[other].pop()
            self._idle_size -= other
        return None


def capacity_of(size: int) -> int:
    """Return the size of the buffer that holds `size` bytes, in bytes."""
    step = max(LEAST, 1 << max(0, (size - 1).bit_length() - 1)) // FINENESS
    return max(LEAST, -(-size // step) * step)

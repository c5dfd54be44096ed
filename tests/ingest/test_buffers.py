"""The memory for bodies in flight: never more than there is, never two users, and fair."""

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from dumacle_cli.ingest.buffers import LEAST, Buffers, capacity_of

pytestmark = pytest.mark.unit


def run_all(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)


@settings(max_examples=30)
@given(some.lists(some.integers(0, 15 * LEAST), max_size=40))
def test_no_more_is_in_use_than_there_is_and_all_get_their_turn(sizes: list[int]) -> None:
    held: list[int] = []
    seen: list[int] = []
    most = 10 * LEAST
    buffers = Buffers(most)

    def hold(size: int) -> None:
        body = buffers.take(size)
        held.append(min(capacity_of(size), most))
        seen.append(sum(held))
        assert len(body) == size
        time.sleep(0)
        held.remove(min(capacity_of(size), most))
        buffers.give(body)

    run_all([threading.Thread(target=hold, args=(size,), daemon=True) for size in sizes])
    assert max(seen, default=0) <= most


@settings(max_examples=30)
@given(some.lists(some.integers(1, 3 * LEAST), min_size=2, max_size=40))
def test_nobody_writes_into_what_another_has(sizes: list[int]) -> None:
    buffers, spoiled = Buffers(8 * LEAST), list[int]()

    def fill(number: int, size: int) -> None:
        body = buffers.take(size)
        body[:] = bytes([number]) * size
        time.sleep(0)
        if bytes(body) != bytes([number]) * size:
            spoiled.append(number)
        buffers.give(body)

    run_all([threading.Thread(target=fill, args=pair, daemon=True) for pair in enumerate(sizes)])
    assert spoiled == []


def test_what_was_given_back_is_used_again() -> None:
    buffers = Buffers(4 * LEAST)
    first = buffers.take(LEAST)
    owner = first.obj
    buffers.give(first)
    assert buffers.take(LEAST - 1).obj is owner


@given(some.lists(some.integers(0, 8 * LEAST), max_size=60))
def test_idle_memory_and_memory_in_use_fit_together(sizes: list[int]) -> None:
    most = 8 * LEAST
    buffers = Buffers(most)
    for size in sizes:
        body = buffers.take(size)
        idle = sum(capacity * len(kept) for capacity, kept in buffers._idle.items())
        assert idle + capacity_of(size) <= most
        buffers.give(body)


@given(some.integers(0, 64 * 1024**2))
def test_at_most_a_fifth_of_a_buffer_is_unused(size: int) -> None:
    capacity = capacity_of(size)
    assert capacity >= size
    assert capacity == LEAST or (capacity - size) * 5 <= capacity


def test_large_body_is_not_overtaken_for_ever() -> None:
    order: list[int] = []
    buffers = Buffers(10 * LEAST)
    first = buffers.take(6 * LEAST)

    def hold(size: int) -> None:
        body = buffers.take(size)
        order.append(size)
        buffers.give(body)

    wanted = [10 * LEAST, *[LEAST] * 20]
    threads = [threading.Thread(target=hold, args=(size,), daemon=True) for size in wanted]
    for thread in threads:
        thread.start()
        time.sleep(0.005)  # so that they stand in line in this order
    buffers.give(first)
    for thread in threads:
        thread.join(10)
    assert order == wanted

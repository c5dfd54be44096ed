"""The budget of bytes in flight: never passed, never leaked, and fair."""

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from dumacle_cli.ingest.transfer import MIB, MOST_PARTS, PART, Budget, size_of_parts

pytestmark = pytest.mark.unit


def run_all(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)


@settings(max_examples=30)
@given(some.lists(some.integers(0, 150), max_size=40))
def test_budget_is_never_passed_and_all_get_their_turn(sizes: list[int]) -> None:
    held: list[int] = []
    seen: list[int] = []
    budget = Budget(100)

    def hold(size: int) -> None:
        budget.take(size)
        held.append(min(size, 100))
        seen.append(sum(held))
        time.sleep(0)
        held.remove(min(size, 100))
        budget.give(size)

    run_all([threading.Thread(target=hold, args=(size,), daemon=True) for size in sizes])
    assert max(seen, default=0) <= 100


def test_large_body_is_not_overtaken_for_ever() -> None:
    order: list[int] = []
    budget = Budget(100)
    budget.take(60)

    def hold(size: int) -> None:
        budget.take(size)
        order.append(size)
        budget.give(size)

    threads = [threading.Thread(target=hold, args=(size,), daemon=True) for size in (100, *[10] * 20)]
    for thread in threads:
        thread.start()
        time.sleep(0.005)  # so that they stand in line in this order
    budget.give(60)
    for thread in threads:
        thread.join(10)
    assert order == [100, *[10] * 20]


@given(some.integers(0, 50 * 1024**4))
def test_parts_are_few_enough_and_whole_mebibytes(size: int) -> None:
    part = size_of_parts(size)
    assert part >= PART
    assert part % MIB == 0
    assert -(-size // part) <= MOST_PARTS + 1
    assert part == PART or size > PART * MOST_PARTS

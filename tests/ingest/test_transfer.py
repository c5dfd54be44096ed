"""The budget of bytes in flight: never passed, never leaked, and fair."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as some

from dumacle_cli.ingest.transfer import MIB, MOST_PARTS, PART, Budget, size_of_parts

pytestmark = pytest.mark.unit


@given(some.lists(some.integers(0, 150), max_size=40))
def test_budget_is_never_passed_and_all_get_their_turn(sizes: list[int]) -> None:
    held: list[int] = []
    most = 0

    async def hold(budget: Budget, size: int) -> None:
        nonlocal most
        await budget.take(size)
        held.append(min(size, 100))
        most = max(most, sum(held))
        await asyncio.sleep(0)
        held.remove(min(size, 100))
        budget.give(size)

    async def all_at_once() -> None:
        budget = Budget(100)
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            for size in sizes:
                group.create_task(hold(budget, size))

    asyncio.run(all_at_once())
    assert most <= 100


def test_large_body_is_not_overtaken_for_ever() -> None:
    order: list[int] = []

    async def hold(budget: Budget, size: int) -> None:
        await budget.take(size)
        order.append(size)
        await asyncio.sleep(0)
        budget.give(size)

    async def crowd() -> None:
        budget = Budget(100)
        async with asyncio.TaskGroup() as group:
            for size in (60, 100, *[10] * 20):
                group.create_task(hold(budget, size))

    asyncio.run(crowd())
    assert order[:2] == [60, 100]


@given(some.integers(0, 50 * 1024**4))
def test_parts_are_few_enough_and_whole_mebibytes(size: int) -> None:
    part = size_of_parts(size)
    assert part >= PART
    assert part % MIB == 0
    assert -(-size // part) <= MOST_PARTS + 1
    assert part == PART or size > PART * MOST_PARTS

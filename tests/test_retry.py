"""Retrying what failed for a temporary reason."""

import asyncio
from collections.abc import Callable

import pytest

from dumacle_cli import errors, retry

pytestmark = pytest.mark.unit

BUSY = errors.DatabaseBusy(reason="a lock")


def failing(*faults: errors.DumacleError) -> Callable[[], str]:
    """Work that raises these errors, one a call, and then succeeds."""
    left = list(faults)

    def work() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return work


def blocking(work: Callable[[], str], tries: int) -> str:
    return retry.call(work, lambda error: error is BUSY, [0.0] * (tries - 1))


def on_the_loop(work: Callable[[], str], tries: int) -> str:
    async def work_async() -> str:
        return work()

    return asyncio.run(retry.call_async(work_async, lambda error: error is BUSY, [0.0] * (tries - 1)))


each_way = pytest.mark.parametrize("repeat", [blocking, on_the_loop])


@each_way
@pytest.mark.parametrize("tries", [1, 2, 4])
def test_the_last_try_counts(repeat: Callable[[Callable[[], str], int], str], tries: int) -> None:
    assert repeat(failing(*[BUSY] * (tries - 1)), tries) == "done"
    with pytest.raises(errors.DatabaseBusy):
        repeat(failing(*[BUSY] * tries), tries)


@each_way
def test_other_errors_are_raised_at_once(repeat: Callable[[Callable[[], str], int], str]) -> None:
    work = failing(errors.NoDatabase(), BUSY)
    with pytest.raises(errors.NoDatabase):
        repeat(work, 3)
    with pytest.raises(errors.DatabaseBusy):
        work()


def test_a_lock_is_tried_four_times() -> None:
    assert retry.on_lock(failing(BUSY, BUSY, BUSY)) == "done"
    with pytest.raises(errors.DatabaseBusy):
        retry.on_lock(failing(BUSY, BUSY, BUSY, BUSY))

"""The sizes of parts, and the threads that send them."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as some

from dumacle_cli.ingest.transfer import MIB, MOST_PARTS, PART, Crew, size_of_parts

pytestmark = pytest.mark.unit


@given(some.integers(0, 50 * 1024**4))
def test_parts_are_few_enough_and_whole_mebibytes(size: int) -> None:
    part = size_of_parts(size)
    assert part >= PART
    assert part % MIB == 0
    assert -(-size // part) <= MOST_PARTS + 1
    assert part == PART or size > PART * MOST_PARTS


def test_a_crew_goes_on_after_an_error() -> None:
    failures: list[BaseException] = []
    done, error = threading.Event(), RuntimeError()
    crew = Crew(1, failures.append)

    def fail() -> None:
        raise error

    crew.hand(fail)
    crew.hand(done.set)
    crew.settle()
    assert (done.is_set(), failures) == (True, [error])
    crew.close()

"""The sizes of parts."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from dumacle_cli.ingest.transfer import MIB, MOST_PARTS, PART, size_of_parts

pytestmark = pytest.mark.unit


@given(some.integers(0, 50 * 1024**4))
def test_parts_are_few_enough_and_whole_mebibytes(size: int) -> None:
    part = size_of_parts(size)
    assert part >= PART
    assert part % MIB == 0
    assert -(-size // part) <= MOST_PARTS + 1
    assert part == PART or size > PART * MOST_PARTS

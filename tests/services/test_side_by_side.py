"""Several items at once: results in order, errors where they belong, and no more ahead than was asked for."""

import time
from collections.abc import Iterator
from threading import Event, Lock

import pytest

from dumacle_cli.services import side_by_side
from dumacle_cli.services.side_by_side import in_order

pytestmark = pytest.mark.unit


def test_results_come_in_order_from_several_threads() -> None:
    busy, most, lock = 0, 0, Lock()

    def work(number: int) -> int:
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        time.sleep(0.01 * (number % 3))
        with lock:
            busy -= 1
        return number * 2

    assert list(in_order(work, range(50), threads=4, ahead=10)) == [number * 2 for number in range(50)]
    assert 1 < most <= 4


def test_no_more_is_taken_than_may_be_ahead() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    results = in_order(str, items(), threads=2, ahead=5)
    assert [next(results), next(results)] == ["0", "1"]
    assert len(taken) <= 7
    results.close()  # type: ignore[attr-defined]


def test_an_error_is_raised_in_its_place_and_ends_the_rest() -> None:
    done: list[int] = []

    def work(number: int) -> int:
        if number == 3:
            raise ValueError(number)
        done.append(number)
        return number

    seen = []
    with pytest.raises(ValueError, match="3"):
        seen.extend(iter(in_order(work, range(1000), threads=1, ahead=5)))
    assert len(done) < 20


def test_what_hangs_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_by_side, "GRACE", 0.2)
    stopped, hanging = Event(), Event()

    def work(number: int) -> int:
        if number:
            hanging.wait(30)
        return number

    results = in_order(work, range(9), threads=3, ahead=9, stop=stopped.set)
    assert next(results) == 0
    began = time.monotonic()
    results.close()  # type: ignore[attr-defined]
    assert time.monotonic() - began < 2
    assert stopped.is_set()
    hanging.set()

"""Retrying what failed for a temporary reason."""

import threading
import time
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


@pytest.mark.parametrize("tries", [1, 2, 4])
def test_the_last_try_counts(tries: int) -> None:
    assert blocking(failing(*[BUSY] * (tries - 1)), tries) == "done"
    with pytest.raises(errors.DatabaseBusy):
        blocking(failing(*[BUSY] * tries), tries)


def test_other_errors_are_raised_at_once() -> None:
    work = failing(errors.NoDatabase(), BUSY)
    with pytest.raises(errors.NoDatabase):
        blocking(work, 3)
    with pytest.raises(errors.DatabaseBusy):
        work()


def test_a_lock_is_tried_four_times() -> None:
    assert retry.on_lock(failing(BUSY, BUSY, BUSY)) == "done"
    with pytest.raises(errors.DatabaseBusy):
        retry.on_lock(failing(BUSY, BUSY, BUSY, BUSY))


# Patience


class Outage:
    """A service that is away for so many calls; what was said about it is kept."""

    def __init__(self, calls: int, budget: float = 60) -> None:
        self.left, self.said = calls, list[str]()
        self.patience = retry.Patience("the store", budget, lambda error: error is BUSY, self.said.append)

    def ask(self) -> str:
        self.left -= 1
        if self.left >= 0:
            raise BUSY
        return "done"


def test_an_outage_is_waited_out_and_told_once() -> None:
    outage = Outage(4)
    assert outage.patience.call(outage.ask) == "done"
    assert [line.split(",")[0].split(" after")[0] for line in outage.said] == [
        "waiting for the store",
        "the store is back",
    ]
    assert outage.patience.waited > 0.3
    assert not outage.patience.is_out
    assert outage.patience.call(outage.ask) == "done"
    assert len(outage.said) == 2


def test_patience_is_over_after_its_budget() -> None:
    outage = Outage(10_000, budget=0.5)
    begun = time.monotonic()
    with pytest.raises(errors.DatabaseBusy):
        outage.patience.call(outage.ask)
    assert 0.5 <= time.monotonic() - begun < 3
    assert outage.patience.is_out


def test_no_patience() -> None:
    outage = Outage(1, budget=0)
    with pytest.raises(errors.DatabaseBusy):
        outage.patience.call(outage.ask)
    assert outage.said == []


def test_other_errors_are_not_waited_out() -> None:
    outage = Outage(0)
    with pytest.raises(errors.NoDatabase):
        outage.patience.call(failing(errors.NoDatabase()))


def test_one_that_always_fails_gives_up_while_others_succeed() -> None:
    outage = Outage(10_000, budget=0.6)
    stop = threading.Event()

    def succeed() -> None:
        while not stop.wait(0.01):
            outage.patience.call(lambda: "done")

    others = threading.Thread(target=succeed)
    others.start()
    with pytest.raises(errors.DatabaseBusy):
        outage.patience.call(outage.ask)
    stop.set()
    others.join()


def test_an_outage_that_others_waited_for_is_not_waited_for_again() -> None:
    outage = Outage(10_000, budget=0.5)
    with pytest.raises(errors.DatabaseBusy):
        outage.patience.call(outage.ask)
    before = outage.left
    with pytest.raises(errors.DatabaseBusy):
        outage.patience.call(outage.ask)
    assert before - outage.left == 1


def test_a_halted_run_waits_for_nothing() -> None:
    outage = Outage(10_000)
    threading.Timer(0.2, outage.patience.halted.set).start()
    begun = time.monotonic()
    with pytest.raises(errors.DatabaseBusy):
        outage.patience.call(outage.ask)
    assert time.monotonic() - begun < 5


def test_what_never_answered_is_waited_for_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "UNKNOWN_SECONDS", 0.2)
    outage = Outage(10_000, budget=60)
    begun = time.monotonic()
    with pytest.raises(errors.DatabaseBusy):
        outage.patience.call(outage.ask)
    assert time.monotonic() - begun < 5


def test_what_answered_once_is_waited_for_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "UNKNOWN_SECONDS", 0.2)
    outage = Outage(0, budget=60)
    outage.patience.call(outage.ask)
    outage.left = 5
    assert outage.patience.call(outage.ask) == "done"

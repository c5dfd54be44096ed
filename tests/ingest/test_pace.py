"""How many requests are in flight: as many as help, no more."""

import heapq
import resource
import subprocess
import sys
from collections import Counter

import pytest

from dumacle_cli.ingest.pace import START, Pace

pytestmark = pytest.mark.unit
SIZE = 64 * 1024


class Store:
    """A store that is `latency` seconds away and answers `most` requests a second; the time is its own."""

    def __init__(self, latency: float, most: float) -> None:
        self.latency, self.most, self.now = latency, most, 0.0
        self._free_at = 0.0

    def answer_at(self) -> float:
        """When a request that is sent now is answered."""
        self._free_at = max(self._free_at, self.now) + 1 / self.most
        return max(self._free_at, self.now + self.latency)


def in_flight(store: Store, most: int, seconds: float, clients: int = 1024) -> Counter[int]:
    """How many answers were given with how many requests in flight, over so many seconds of the store's time."""
    pace, seen = Pace(most, lambda: store.now), Counter[int]()
    flying: list[float] = []
    while store.now < seconds:
        while len(flying) < min(pace.limit, clients):
            heapq.heappush(flying, store.answer_at())
        seen[len(flying)] += 1
        store.now = heapq.heappop(flying)
        pace.done(SIZE, clients > pace.limit)
    return seen


@pytest.mark.parametrize(
    ("latency", "rate", "useful"),
    [(0.020, 1000, START), (0.050, 2000, 128), (0.300, 700, 256), (0.300, 2000, 512), (0.001, 500, START)],
)
def test_as_many_as_help(latency: float, rate: float, useful: int) -> None:
    seen = in_flight(Store(latency, rate), 512, 60)
    assert seen.most_common(1)[0][0] in (useful, useful // 2)
    assert max(seen) <= 512


def test_never_more_than_were_allowed() -> None:
    assert set(in_flight(Store(0.5, 100_000), 8, 5)) == {8}


def test_what_few_clients_do_proves_nothing() -> None:
    assert set(in_flight(Store(0.5, 100_000), 512, 20, clients=20)) == {20}


def test_a_store_that_asks_for_it_gets_half() -> None:
    now = 0.0
    pace = Pace(256, lambda: now)
    for _ in range(START):  # all that are in flight are refused at once
        now += 0.001
        pace.slow_down()
    assert pace.limit == START
    now += 1
    for _ in range(64):
        pace.slow_down()
    assert pace.limit == START // 2
    for _ in range(40):
        now += 2
        pace.slow_down()
    assert pace.limit == 1


def test_it_recovers_from_being_halved() -> None:
    store = Store(0.3, 100_000)
    pace = Pace(64, lambda: store.now)
    for _ in range(10):
        store.now += 2
        pace.slow_down()
    flying: list[float] = []
    begun = store.now
    while store.now < begun + 120:
        while len(flying) < pace.limit:
            heapq.heappush(flying, store.answer_at())
        store.now = heapq.heappop(flying)
        pace.done(SIZE, True)
    assert pace.limit == 64


@pytest.mark.parametrize(("descriptors", "senders"), [(64, 12), (128, 44), (4096, 512)])
def test_as_many_as_there_are_descriptors_for(descriptors: int, senders: int) -> None:
    code = "from dumacle_cli.ingest.pace import affordable; print(affordable(512))"

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

    done = subprocess.run([sys.executable, "-c", code], preexec_fn=limit, capture_output=True, text=True, check=True)
    assert int(done.stdout) == senders


def test_the_soft_limit_is_raised() -> None:
    code = "from dumacle_cli.ingest.pace import affordable; print(affordable(512))"

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 4096))

    done = subprocess.run([sys.executable, "-c", code], preexec_fn=limit, capture_output=True, text=True, check=True)
    assert int(done.stdout) == 512

"""How many requests are in flight: as many as help, no more."""

import asyncio
from collections import Counter, deque

import pytest

from dumacle_cli.ingest.pace import LEAST, Pace

SIZE = 64 * 1024


class Store:
    """A store that is `latency` seconds away and answers `most` requests a second; the time is its own."""

    def __init__(self, latency: float, most: float) -> None:
        self.latency, self.most, self.now = latency, most, 0.0
        self.flying: deque[asyncio.Future[None]] = deque()

    async def request(self) -> None:
        answer = asyncio.get_running_loop().create_future()
        self.flying.append(answer)
        await answer

    async def answer(self) -> None:
        self.now += 1 / min(len(self.flying) / self.latency, self.most)
        self.flying.popleft().set_result(None)
        for _ in range(3):
            await asyncio.sleep(0)


def in_flight(store: Store, most: int, seconds: float, clients: int = 1024) -> Counter[int]:
    """How many answers were given with how many requests in flight, over so many seconds of the store's time."""

    async def run() -> Counter[int]:
        pace, seen = Pace(most, lambda: store.now), Counter[int]()

        async def client() -> None:
            while True:
                async with pace.slot(SIZE):
                    await store.request()

        working = [asyncio.create_task(client()) for _ in range(clients)]
        await asyncio.sleep(0)
        while store.now < seconds:
            seen[len(store.flying)] += 1
            await store.answer()
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)
        return seen

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("latency", "rate", "useful"),
    [(0.020, 1000, LEAST), (0.050, 2000, LEAST), (0.300, 700, 192), (0.300, 2000, 256), (0.001, 500, LEAST)],
)
def test_as_many_as_help(latency: float, rate: float, useful: int) -> None:
    seen = in_flight(Store(latency, rate), 256, 15)
    assert seen.most_common(1)[0][0] == useful
    assert min(seen) >= LEAST
    assert max(seen) <= 256


def test_never_more_than_were_allowed() -> None:
    assert set(in_flight(Store(0.5, 100_000), 8, 5)) == {8}


def test_what_few_clients_do_proves_nothing() -> None:
    assert set(in_flight(Store(0.5, 100_000), 256, 20, clients=20)) == {20}


class Tiring(Store):
    """A store that answers only 200 requests a second after half a minute."""

    async def answer(self) -> None:
        if self.now > 30:
            self.most = 200
        await super().answer()


def test_a_store_that_becomes_slow_is_crowded_no_more() -> None:
    seen = in_flight(Tiring(0.300, 100_000), 256, 90)
    assert seen[256] > 5_000
    assert seen[LEAST] > 2_000

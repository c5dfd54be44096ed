"""A storm of deliveries: doubled, shuffled, late, lost and of the same second, while listener and worker are killed.

One seed takes part in CI; `DUMACLE_TEST_STORM=20 pytest -n 0 tests/faults/test_storm.py` runs 20.
"""

import http.client
import json
import os
import queue
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from sqlalchemy import text

from dumacle_cli.services.billing import sync
from dumacle_cli.store.database import Database
from tests.faults.test_listener import connected, listening
from tests.processes import Begin, Process
from tests.services.test_apply import World, change, expected, standing, world
from tests.stripe_double.account import Object
from tests.stripe_double.double import Delivery, StripeDouble

__all__ = ["connected", "world"]
pytestmark = pytest.mark.integration

SUBSCRIPTIONS = 300
THREADS = 6
SEEDS = range(1, int(os.environ.get("DUMACLE_TEST_STORM", "1")) + 1)


class Processes:
    """A listener and a worker that are killed at random, and started again."""

    def __init__(self, program: Begin, dice: random.Random, held: ExitStack) -> None:
        self._program, self._dice, self._held = program, dice, held
        self.kills = 0
        self.listener = self._listen()
        self.worker: Process = program("worker", "--queues", "webhooks")

    def _listen(self) -> Any:
        return self._held.enter_context(listening())

    def kill_until(self, over: threading.Event) -> None:
        """Kill one of them again and again."""
        while not over.wait(self._dice.uniform(1, 3)):
            self.kills += 1
            if self._dice.random() < 0.5:
                self.listener.process.kill()
                self.listener = self._listen()
            else:
                self.worker.kill()
                self.worker = self._program("worker", "--queues", "webhooks")


def post(processes: Processes, delivery: Delivery) -> bool:
    """Deliver once, as Stripe does; anything but 200 in time is a failure."""
    link = http.client.HTTPConnection("127.0.0.1", processes.listener.port, timeout=10)
    try:
        link.request("POST", "/webhooks/stripe", delivery.body, {"Stripe-Signature": delivery.header})
        return link.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        link.close()


def naive(deliveries: list[Delivery], world: World, *, guarded: bool) -> dict[str, str]:
    """Return the statuses that a handler ends with which applies what it is sent, once, perhaps unless it is older."""
    statuses: dict[str, tuple[int, str]] = {}
    seen: set[str] = set()
    for delivery in deliveries:
        event = json.loads(delivery.body)
        if event["id"] in seen or event["object"] != "event" or "subscription" not in event["type"]:
            continue
        seen.add(event["id"])
        found, at = event["data"]["object"], event["created"]
        if not guarded or at >= statuses.get(found["id"], (0, ""))[0]:
            statuses[found["id"]] = at, found["status"]
    return {id_: status for id_, (_, status) in statuses.items()}


def storm(world: World, dice: random.Random, subscribed: dict[int, Object]) -> Iterator[tuple[Delivery, bool]]:
    """Yield what is delivered, in the order of its sending, and whether it gets lost for good."""
    users = list(subscribed)
    for _ in range(3):
        for user in dice.sample(users, len(users)):
            change(world, dice, subscribed[user])
            if dice.random() < 0.5:  # otherwise the next change is of the same second
                world.stripe.now += 1
        sent = [delivery for delivery in world.stripe.take() for _ in range(dice.choice([1, 1, 1, 2, 3]))]
        for delivery in dice.sample(sent, len(sent)):
            yield delivery, dice.random() < 0.1


@pytest.mark.parametrize("seed", SEEDS)
def test_storm_ends_right(seed: int, world: World, connected: StripeDouble, database: Database, program: Begin) -> None:
    dice = random.Random(seed)
    users = [world.user() for _ in range(SUBSCRIPTIONS)]
    with ThreadPoolExecutor(4) as pool:
        subscribed = dict(zip(users, pool.map(lambda user: world.subscribe(world.customer(user)), users), strict=True))
    waiting: queue.SimpleQueue[Delivery | None] = queue.SimpleQueue()
    arrived: list[Delivery] = []
    over = threading.Event()

    def send() -> None:
        while delivery := waiting.get():
            while not post(processes, delivery):  # Stripe repeats it
                time.sleep(0.05)
            arrived.append(delivery)

    with ExitStack() as held, ThreadPoolExecutor(THREADS + 1) as pool:
        processes = Processes(program, random.Random(seed), held)
        killing = pool.submit(processes.kill_until, over)
        sending = [pool.submit(send) for _ in range(THREADS)]
        for delivery, lost in storm(world, dice, subscribed):
            if not lost:
                waiting.put(delivery)
        for _ in range(THREADS):
            waiting.put(None)
        for each in sending:
            each.result()
        over.set()
        killing.result()
        processes.worker.kill()
    settle(world)
    assert processes.kills > 0
    wrong = {user for user in users if standing(world, user) != expected(world, subscribed[user]["id"])}
    assert wrong == set()
    twice = """
        SELECT user_id FROM app.subscriptions GROUP BY user_id HAVING count(*) > 1
        UNION ALL SELECT user_id FROM app.quota_anchors GROUP BY user_id HAVING count(*) > 1
        UNION ALL SELECT user_id FROM app.customers GROUP BY user_id HAVING count(*) > 1
        UNION ALL SELECT user_id FROM app.entitlements AS one JOIN app.entitlements AS other USING (user_id)
            WHERE one.valid_from < other.valid_from AND coalesce(one.valid_until, 'infinity') > other.valid_from
    """
    assert world.rows(twice) == []
    assert world.rows("SELECT id FROM app.stripe_objects WHERE wanted_at IS NOT NULL OR lease_token IS NOT NULL") == []
    assert world.statuses() == {"applied"}
    truth = {found["id"]: world.stripe.get(found["id"])["status"] for found in subscribed.values()}
    for guarded in (False, True):
        believed = naive(arrived, world, guarded=guarded)
        # How many are wrong depends on the machine; 12 of 300 are the fewest seen.
        assert any(believed.get(id_) != status for id_, status in truth.items())


def settle(world: World) -> None:
    """Let the leases of killed workers run out, let a worker work, and sync once."""
    lapsed = "UPDATE app.stripe_objects SET leased_until = now() - interval '1 second' WHERE leased_until IS NOT NULL"
    with world.database.session() as session:
        session.execute(text(lapsed))
    work: Callable[[], None] = world.work
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work) for _ in range(4)]:
            done.result()
    result, left = sync.sync(world.context(), sync.SyncScope(), apply_differences=True, maximum=SUBSCRIPTIONS)
    wrong = [each for each in left if not each.object.startswith("plan:")]  # The plans here were never pushed.
    assert (result.failed, result.held, result.refused, wrong) == (0, 0, 0, [])

"""What is at Stripe becomes what is here: in any order, any number of times, with several workers at it."""

import json
import queue
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import func, select, text

from dumacle_cli.clients import signatures
from dumacle_cli.clients.stripe import Price, StripeAccount
from dumacle_cli.errors import DatabaseFault, NotApplied
from dumacle_cli.services import plans
from dumacle_cli.services.billing import BillingContext, apply, inbox
from dumacle_cli.services.billing.objects import tags
from dumacle_cli.store import models, subscriptions
from dumacle_cli.store import stripe as store
from dumacle_cli.store.database import Database
from tests.factories import make_plan, make_pod, make_subscription, make_user
from tests.stripe_double.account import ENDED, Object
from tests.stripe_double.double import Delivery, StripeDouble

pytestmark = pytest.mark.integration

HERE = "dumacle"
GIB = 1024**3


class World:
    """An installation that sells two plans at Stripe, with workers that can be told to work."""

    def __init__(self, database: Database, stripe: StripeDouble) -> None:
        self.database, self.stripe, self.billing = database, stripe, stripe.billing()
        self.prices: dict[str, str] = {}
        self.plans: dict[str, int] = {}
        for name, limit in (("starter", GIB), ("pro", 10 * GIB)):
            self._sell(name, limit)

    def _sell(self, name: str, limit: int) -> None:
        product, _ = self.billing.ensure_product(None, name, "", tags(HERE), name)
        price, _ = self.billing.ensure_price(Price(name, product["id"], 900, "eur", "month", tags(HERE)), name)
        known = {"stripe_product_id": product["id"], "stripe_price_id": price["id"]}
        with self.database.session() as session:
            self.plans[name] = make_plan(session, name, price=900, storage_limit=limit, upload_limit=limit, **known).id
        self.prices[name] = price["id"]

    def context(self, account: StripeAccount | None = None) -> BillingContext:
        return BillingContext(self.database, account or self.billing, HERE)

    def user(self, email: str = "") -> int:
        with self.database.session() as session:
            return int(make_user(session, email).id)

    def customer(self, user_id: int, *, card: bool = True, **metadata: str) -> Object:
        """Make a customer at Stripe, without a row here."""
        made = self.billing.create_customer("", "", metadata or tags(HERE, user=str(user_id)), f"{user_id}{metadata}")
        if card:
            self.stripe.add_card(made["id"])
        return made

    def subscribe(self, customer: Object, plan: str = "starter", operation: str = "once") -> Object:
        given = customer["id"], self.prices[plan], customer["metadata"]
        return self.billing.subscribe(*given, f"{operation}{customer['id']}")

    def upgrade(self, found: Object) -> None:
        item = {"id": found["items"]["data"][0]["id"], "price": self.prices["pro"], "quantity": 1}
        self.billing.change(found["id"], item, "upgrade")

    def receive(self, *deliveries: Delivery) -> list[str]:
        """Do what the listener does, and return the statuses."""
        return [self._receive(delivery) for delivery in deliveries]

    def _receive(self, delivery: Delivery) -> str:
        secrets = signatures.parse(self.stripe.secret)
        signatures.verify(delivery.body, delivery.header, secrets, datetime.now(UTC).timestamp())
        read = inbox.read(signatures.parse_event(delivery.body), delivery.body)
        inbox.receive(self.database, [read])
        with self.database.session() as session:
            return str(store.event_status(session, read.id))

    def work(self, billing: StripeAccount | None = None) -> None:
        """Apply what is due until nothing is."""
        while ids := self._due():
            for id_ in ids:
                apply.apply_object(self.context(billing), id_)

    def _due(self) -> list[str]:
        with self.database.session() as session:
            return store.due(session, 50)

    def arrive(self) -> None:
        """Deliver all and work."""
        self.receive(*self.stripe.take())
        self.work()

    def later(self) -> None:
        """Let the time for another try come."""
        with self.database.session() as session:
            session.execute(text("UPDATE app.stripe_objects SET wanted_at = now() WHERE wanted_at IS NOT NULL"))
        self.work()

    def live(self, user_id: int) -> tuple[str, str] | None:
        """Return plan and status of the subscription that a user is on."""
        with self.database.session() as session:
            mine = models.Subscription.user_id == user_id, models.Subscription.ended_at.is_(None)
            query = select(models.Plan.name, models.Subscription.status)
            query = query.join(models.Subscription, models.Subscription.plan_id == models.Plan.id).where(*mine)
            row = session.execute(query).one_or_none()
            return (row[0], row[1]) if row else None

    def limit(self, user_id: int) -> int:
        with self.database.session() as session:
            return int(session.scalars(select(func.app.quota_limit(user_id, "storage", func.now()))).one())

    def rows(self, query: str, **given: Any) -> list[Any]:
        with self.database.session() as session:
            return [tuple(row) for row in session.execute(text(query), given)]

    def statuses(self) -> set[str]:
        """Return the statuses of all events that change something here."""
        return {status for (status,) in self.rows("SELECT status FROM app.stripe_events WHERE status <> 'ignored'")}

    def events(self) -> dict[str, tuple[str, str | None]]:
        """Return status and error of each event that changes something here, by type."""
        found = self.rows("SELECT type, status, error FROM app.stripe_events WHERE status <> 'ignored' ORDER BY id")
        return {type_: (status, error) for type_, status, error in found}


@pytest.fixture
def world(database: Database, stripe_double: StripeDouble) -> Iterator[World]:
    made = World(database, stripe_double)
    stripe_double.drop(len(stripe_double.take()))
    yield made
    made.billing.close()


# One subscription, from its beginning to its end


def test_subscription_lives_through_its_statuses(world: World) -> None:
    user = world.user()
    found = world.subscribe(world.customer(user))
    world.arrive()
    assert (world.live(user), world.limit(user)) == (("starter", "active"), GIB)
    world.upgrade(found)
    world.arrive()
    assert (world.live(user), world.limit(user)) == (("pro", "active"), 10 * GIB)
    for status, limit in (("past_due", 10 * GIB), ("unpaid", 0), ("active", 10 * GIB), ("paused", 0)):
        world.stripe.put(found["id"], status=status)
        world.arrive()
        assert (world.live(user), world.limit(user)) == (("pro", status), limit)
    world.stripe.cancel(found["id"])
    world.arrive()
    assert (world.live(user), world.limit(user)) == (None, 0)
    (ended,) = world.rows("SELECT status, ended_at FROM app.subscriptions")
    assert ended == ("canceled", datetime.fromtimestamp(world.stripe.now, UTC))


def test_periods_and_plans_of_a_price_that_was_replaced(world: World) -> None:
    user = world.user()
    found = world.subscribe(world.customer(user))
    dearer = Price("starter", found["items"]["data"][0]["price"]["product"], 1200, "eur", "month", tags(HERE))
    price, _ = world.billing.ensure_price(dearer, "dearer")
    with world.database.session() as session:
        session.execute(text("UPDATE app.plans SET stripe_price_id = :id WHERE name = 'starter'"), {"id": price["id"]})
    world.arrive()
    assert world.live(user) == ("starter", "active")
    item = found["items"]["data"][0]
    period = tuple(datetime.fromtimestamp(item[f"current_period_{end}"], UTC) for end in ("start", "end"))
    assert world.rows("SELECT current_period_start, current_period_end FROM app.subscriptions") == [period]


def test_months_are_counted_from_its_day_and_usage_carries_on(world: World) -> None:
    user = world.user()
    with world.database.session() as session:
        make_subscription(session, session.get_one(models.User, user), session.get_one(models.Plan, world.plans["pro"]))
    world.rows("SELECT app.consume_quota('before', :user, 'upload', 5000, now())", user=user)
    found = world.subscribe(world.customer(user))
    world.arrive()
    (usage,) = world.rows("SELECT period_end, used FROM app.quota_usage(:user, 'upload', now())", user=user)
    assert usage == (datetime.fromtimestamp(found["items"]["data"][0]["current_period_end"], UTC), 5000)
    anchors = world.rows("SELECT anchor FROM app.quota_anchors")
    assert anchors == [(datetime.fromtimestamp(found["billing_cycle_anchor"], UTC),)]


def test_default_pod_is_granted_once(world: World) -> None:
    user = world.user()
    with world.database.session() as session:
        pod = make_pod(session).id
        session.execute(text("UPDATE app.plans SET default_pod_id = :pod"), {"pod": pod})
    found = world.subscribe(world.customer(user))
    world.arrive()
    assert world.rows("DELETE FROM app.pod_grants RETURNING pod_id, is_default") == [(pod, True)]
    world.stripe.put(found["id"], cancel_at_period_end=True)
    world.arrive()
    assert world.rows("SELECT 1 FROM app.pod_grants") == []


def test_what_people_write_at_stripe_is_no_obstacle(world: World) -> None:
    user = world.user()
    found = world.subscribe(world.customer(user))
    world.stripe.put(found["id"], metadata=found["metadata"] | {"note": "a\0b"})
    world.arrive()
    assert world.live(user) == ("starter", "active")


def test_subscription_that_is_gone_at_stripe_ends(world: World) -> None:
    user = world.user()
    found = world.subscribe(world.customer(user))
    world.arrive()
    del world.stripe.account.objects[found["id"]]
    assert apply.refresh(world.context(), ("subscription", found["id"])) == "applied"
    assert world.live(user) is None


# Which one a user is on


@pytest.fixture
def given(world: World) -> int:
    """A user with a plan that nobody bills."""
    user = world.user()
    with world.database.session() as session:
        make_subscription(session, session.get_one(models.User, user), session.get_one(models.Plan, world.plans["pro"]))
    return user


def unpaid_for(world: World, user: int) -> Object:
    """Let a user begin a checkout's payment that his bank has not decided on."""
    customer = world.customer(user)
    world.stripe.decline(customer["id"])
    session = world.billing.checkout(
        customer["id"], world.prices["starter"], "https://a", "https://b", tags(HERE, user=str(user)), "o"
    )
    return world.stripe.complete(session["id"])


def test_incomplete_displaces_nothing_until_it_is_paid(world: World, given: int) -> None:
    found = unpaid_for(world, given)
    assert found["status"] == "incomplete"
    world.arrive()
    assert world.live(given) == ("pro", "active")
    world.stripe.pay(found["latest_invoice"])
    world.arrive()
    assert world.live(given) == ("starter", "active")
    local = "SELECT status, ended_at IS NOT NULL FROM app.subscriptions WHERE stripe_subscription_id IS NULL"
    assert world.rows(local) == [("canceled", True)]


def test_incomplete_that_expires_leaves_what_was(world: World, given: int) -> None:
    unpaid_for(world, given)
    world.arrive()
    world.stripe.advance(hours=24)
    world.arrive()
    assert world.live(given) == ("pro", "active")


def test_a_plan_to_fall_back_on_is_handed_on(world: World, given: int) -> None:
    customer = world.customer(given)
    first, second = (world.subscribe(customer, operation=name) for name in ("first", "second"))
    for act in (world.arrive, lambda: world.stripe.cancel(first["id"]), lambda: world.stripe.cancel(second["id"])):
        act()
        world.arrive()
    assert world.live(given) == ("pro", "active")
    with world.database.session() as session:
        plans.unassign(session, session.get_one(models.User, given))
    world.stripe.emit("customer.subscription.updated", first)
    world.arrive()
    assert world.live(given) is None


@pytest.mark.parametrize("reverse", [False, True])
def test_two_that_are_paid_are_a_finding(world: World, reverse: bool) -> None:
    user = world.user()
    customer = world.customer(user)
    first, second = world.subscribe(customer), world.subscribe(customer, "pro", "twice")
    deliveries = world.stripe.take()
    world.receive(*(deliveries[::-1] if reverse else deliveries))
    world.work()
    finding = f"user {user} pays for {first['id']} and {second['id']}"
    errors = "SELECT id, error, wanted_at FROM app.stripe_objects WHERE kind = 'subscription' ORDER BY id"
    assert world.rows(errors) == [(first["id"], None, None), (second["id"], finding, None)]
    assert world.live(user) == ("starter", "active")
    world.stripe.cancel(first["id"])
    world.arrive()
    assert world.rows(errors) == [(first["id"], None, None), (second["id"], None, None)]
    assert world.live(user) == ("pro", "active")


# Whose it is


def test_of_another_installation_is_foreign(world: World) -> None:
    user = world.user()
    world.subscribe(world.customer(user, **tags("another", user=str(user))))
    world.subscribe(world.customer(user, app="shop"))
    world.arrive()
    assert set(world.rows("SELECT status FROM app.stripe_events WHERE object_id LIKE 'sub%'")) == {("foreign",)}
    assert world.rows("SELECT 1 FROM app.subscriptions") == []


def test_made_at_the_dashboard_for_a_customer_of_ours(world: World) -> None:
    user = world.user()
    customer = world.customer(user)
    with world.database.session() as session:
        store.save_customer(session, user, customer["id"])
    world.billing.subscribe(customer["id"], world.prices["pro"], {}, "by hand")
    world.arrive()
    assert world.live(user) == ("pro", "active")


def test_plan_that_is_not_known_yet_waits(world: World) -> None:
    user = world.user()
    with world.database.session() as session:
        known = session.execute(text("UPDATE app.plans SET stripe_price_id = NULL, stripe_product_id = NULL"))
        assert known
    found = world.subscribe(world.customer(user))
    world.arrive()
    price = world.prices["starter"]
    assert world.events()["customer.subscription.created"] == (
        "parked",
        f"it cannot be applied: no plan has the price {price}",
    )
    world.rows("UPDATE app.plans SET stripe_price_id = :price WHERE name = 'starter' RETURNING id", price=price)
    world.later()
    assert set(world.events().values()) == {("applied", None)}
    assert world.rows("SELECT have = want, attempts, error FROM app.stripe_objects WHERE id = :id", id=found["id"]) == [
        (True, 0, None)
    ]


def test_user_who_never_comes_is_given_up_and_can_be_retried(world: World) -> None:
    world.subscribe(world.customer(999_999))
    world.arrive()
    for _ in apply.BACKOFF_S:
        assert world.statuses() == {"parked"}
        world.later()
    assert set(world.events().values()) == {("dead", "it cannot be applied: there is no user '999999'")}
    assert world.rows("SELECT 1 FROM app.stripe_objects WHERE wanted_at IS NOT NULL") == []
    world.rows("INSERT INTO app.users (id, email) OVERRIDING SYSTEM VALUE VALUES (999999, 'late@x') RETURNING id")
    (event,) = world.rows("SELECT id FROM app.stripe_events WHERE type = 'customer.subscription.created'")
    with world.database.session() as session:
        ((retried,), changed) = inbox.retry(session, event)
    assert (retried.status, changed) == ("received", True)
    world.work()
    assert set(world.events().values()) == {("applied", None)}
    assert world.live(999_999) == ("starter", "active")


def test_what_is_parked_is_tried_at_once_when_it_is_delivered_again(world: World) -> None:
    world.subscribe(world.customer(999_999))
    deliveries = world.stripe.take()
    world.receive(*deliveries)
    world.work()
    assert world.statuses() == {"parked"}
    world.rows("INSERT INTO app.users (id, email) OVERRIDING SYSTEM VALUE VALUES (999999, 'late@x') RETURNING id")
    world.receive(*deliveries)
    world.work()
    assert world.statuses() == {"applied"}
    assert world.live(999_999) == ("starter", "active")


def test_delivery_in_the_other_mode_is_parked_without_asking(world: World) -> None:
    user = world.user()
    found = world.subscribe(world.customer(user))
    world.receive(*world.stripe.take())
    asked = len(world.stripe.requests)
    live = StripeAccount("sk_live_0123456789", world.stripe.url)
    assert apply.apply_object(world.context(live), found["id"]) == "parked"
    live.close()
    assert len(world.stripe.requests) == asked
    reason = "it is a test-mode object, and the key is a live-mode key"
    assert world.events()["customer.subscription.created"] == ("parked", f"it cannot be applied: {reason}")


def test_key_of_the_other_mode_ends_nothing(world: World) -> None:
    user = world.user()
    found = world.subscribe(world.customer(user))
    world.receive(*world.stripe.take())
    world.work()
    asked = len(world.stripe.requests)
    live = StripeAccount("sk_live_0123456789", world.stripe.url)
    assert apply.refresh(world.context(live), ("subscription", found["id"])) == "parked"
    live.close()
    assert len(world.stripe.requests) == asked
    assert world.live(user) == ("starter", "active")


def test_status_that_nobody_knows_keeps_the_last(world: World) -> None:
    user = world.user()
    found = world.subscribe(world.customer(user))
    world.arrive()
    end = found["items"]["data"][0]["current_period_end"]
    world.stripe.put(found["id"], status="hibernating", cancel_at=end)
    world.arrive()
    assert (world.live(user), world.limit(user)) == (("starter", "active"), GIB)
    status, error = world.events()["customer.subscription.updated"]
    assert status == "applied"
    assert "'hibernating', which is not known here; active holds" in (error or "")
    kept = world.rows("SELECT unknown_status, cancel_at FROM app.subscriptions")
    assert kept == [("hibernating", datetime.fromtimestamp(end, UTC))]
    world.stripe.put(found["id"], status="unpaid")
    world.arrive()
    assert (world.live(user), world.limit(user)) == (("starter", "unpaid"), 0)
    assert world.rows("SELECT unknown_status, error FROM app.subscriptions, app.stripe_objects") == [(None, None)]


def test_a_subscription_that_begins_with_a_status_that_nobody_knows_gives_no_access(world: World) -> None:
    user = world.user()
    found = world.subscribe(world.customer(user))
    world.stripe.put(found["id"], status="hibernating")
    world.arrive()
    assert (world.live(user), world.limit(user)) == (("starter", "incomplete"), 0)


def test_what_stands_is_read_anew_while_somebody_holds_its_rows(world: World) -> None:
    with world.database.session() as session:
        user, plan = make_user(session), session.get_one(models.Plan, world.plans["pro"])
        make_subscription(session, user, plan, stripe_subscription_id="sub_1")
        (held,) = subscriptions.open_subscriptions(session, user.id)
        subscriptions.set_current(session, user.id, None)
        assert subscriptions.open_subscriptions(session, user.id) == [held]
        assert held.ended_at is not None


# Checkouts, invoices, customers


def test_of_two_customers_the_first_is_kept_and_none_is_two_users(world: World) -> None:
    ada, bob = world.user(), world.user()
    with world.database.session() as session:
        assert [store.save_customer(session, ada, customer) for customer in ("cus_1", "cus_2")] == ["cus_1", "cus_1"]
    with pytest.raises(DatabaseFault, match="uq_customers_stripe_customer_id"), world.database.session() as session:
        store.save_customer(session, bob, "cus_1")


@pytest.mark.parametrize("thin", [False, True])
@pytest.mark.parametrize("type_", ["checkout.session.completed", "invoice.paid"])
def test_one_event_is_enough(world: World, thin: bool, type_: str) -> None:
    user = world.user()
    customer = world.customer(user)
    page = world.billing.checkout(
        customer["id"], world.prices["pro"], "https://a", "https://b", tags(HERE, user=str(user)), "o"
    )
    world.stripe.complete(page["id"])
    world.stripe.thin = thin
    chosen = [delivery for delivery in world.stripe.take() if json.loads(delivery.body)["type"].endswith(type_)]
    assert world.receive(*chosen) == ["received"]
    world.work()
    assert world.live(user) == ("pro", "active")
    assert world.statuses() == {"applied"}
    if type_ == "checkout.session.completed":
        assert world.rows("SELECT user_id, stripe_customer_id FROM app.customers") == [(user, customer["id"])]


@pytest.mark.parametrize("thin", [False, True])
def test_a_schedule_that_changes_is_read(world: World, thin: bool) -> None:
    """A downgrade in the portal makes events of the schedule, and may make none of the subscription."""
    user = world.user()
    found = world.subscribe(world.customer(user), "pro")
    world.arrive()
    item, price = found["items"]["data"][0], world.prices["starter"]
    world.billing.change_later(found["id"], item["price"]["id"], price, "month", {}, "down")
    world.stripe.thin = thin
    chosen = [each for each in world.stripe.take() if b"subscription_schedule.updated" in each.body]
    assert world.receive(*chosen) == ["received"]
    world.work()
    assert world.rows("SELECT next_plan_id FROM app.subscriptions") == [(world.plans["starter"],)]
    assert world.statuses() == {"applied"}
    world.billing.release(world.stripe.get(found["id"])["schedule"])
    world.arrive()
    assert world.rows("SELECT next_plan_id, stripe_schedule_id FROM app.subscriptions") == [(None, None)]


def test_a_trial_is_shown_and_gives_access(world: World) -> None:
    user = world.user()
    end = world.stripe.now + 7 * 86_400
    found = world.subscribe(world.customer(user))
    world.stripe.put(found["id"], status="trialing", trial_start=world.stripe.now, trial_end=end)
    world.arrive()
    assert (world.live(user), world.limit(user)) == (("starter", "trialing"), GIB)
    assert world.rows("SELECT trial_end FROM app.subscriptions") == [(datetime.fromtimestamp(end, UTC),)]


def test_invoice_of_an_older_api_version_names_its_subscription(world: World) -> None:
    user = world.user()
    found = world.subscribe(world.customer(user))
    world.stripe.drop(len(world.stripe.take()))
    for number, subscription in enumerate((found["id"], None)):
        old = {"id": f"in_{number}", "object": "invoice", "subscription": subscription}
        event = {"id": f"evt_old_{number}", "object": "event", "type": "invoice.paid", "created": 1, "livemode": False}
        event |= {"api_version": "2020-08-27", "data": {"object": old}}
        inbox.receive(world.database, [inbox.read(event, b"")])
    world.work()
    assert world.live(user) == ("starter", "active")
    assert world.rows("SELECT id, status FROM app.stripe_events WHERE id LIKE 'evt_old%' ORDER BY 1") == [
        ("evt_old_0", "applied"),
        ("evt_old_1", "ignored"),
    ]


def test_deleted_customer_is_forgotten_with_his_subscription(world: World) -> None:
    user = world.user()
    customer = world.customer(user)
    world.subscribe(customer)
    with world.database.session() as session:
        store.save_customer(session, user, customer["id"])
    world.arrive()
    world.stripe.delete_customer(customer["id"])
    world.arrive()
    assert world.live(user) is None
    assert world.rows("SELECT 1 FROM app.customers") == []


def test_what_changes_nothing_here_is_kept_and_ignored(world: World) -> None:
    product = world.stripe.all("product")[0]
    world.stripe.put(product["id"], name="another")
    invoice = world.stripe.account.make("invoice", parent=None)
    world.stripe.emit("invoice.paid", invoice)
    assert world.receive(*world.stripe.take()) == ["ignored", "ignored"]
    assert world.rows("SELECT 1 FROM app.stripe_objects") == []


# Faults


def test_stripe_that_is_down_is_waited_for_without_end(world: World) -> None:
    user = world.user()
    found = world.subscribe(world.customer(user))
    world.stripe.fail(f"GET /v1/subscriptions/{found['id']}", 500, times=99)
    world.arrive()
    for _ in range(len(apply.BACKOFF_S) + 2):
        world.later()
        assert world.events()["customer.subscription.created"] == (
            "parked",
            "Stripe is unavailable: it answered 500",
        )
    world.stripe.api.faults.clear()
    world.later()
    assert world.live(user) == ("starter", "active")


def test_what_was_fetched_before_another_claimed_it_is_not_applied(world: World) -> None:
    user = world.user()
    found = world.subscribe(world.customer(user))
    world.receive(*world.stripe.take())
    with world.database.session() as session:
        slow = store.claim(session, found["id"], 0)
    assert slow
    stale = world.billing.fetch("subscription", found["id"])
    world.stripe.cancel(found["id"])
    world.work()
    with pytest.raises(NotApplied), world.database.session() as session:
        apply.apply(session, slow, stale, HERE)
    with world.database.session() as session:
        assert apply.postpone(session, slow, NotApplied(reason="slow")) == "parked"
    assert world.live(user) is None
    assert world.rows("SELECT have = want, wanted_at, error FROM app.stripe_objects") == [(True, None, None)]


def test_what_changed_while_it_was_applied_is_fetched_again(world: World) -> None:
    user = world.user()
    found = world.subscribe(world.customer(user))
    world.receive(*world.stripe.take())
    with world.database.session() as session:
        claimed = store.claim(session, found["id"], 60)
        assert store.claim(session, found["id"], 60) is None
    assert claimed
    stale = world.billing.fetch("subscription", found["id"])
    world.stripe.cancel(found["id"])
    world.receive(*world.stripe.take())
    with world.database.session() as session:
        assert apply.apply(session, claimed, stale, HERE) == "applied"
    assert world.live(user) == ("starter", "active")
    assert world.events()["customer.subscription.deleted"] == ("received", None)
    world.work()
    assert world.live(user) is None
    assert world.events()["customer.subscription.deleted"] == ("applied", None)


def test_delivery_brings_back_what_was_given_up(world: World) -> None:
    user = world.user()
    found = world.subscribe(world.customer(user))
    deliveries = world.stripe.take()
    assert sorted(world.receive(*deliveries)) == ["ignored", "received", "received", "received"]
    with world.database.session() as session:
        claimed = store.claim(session, found["id"], 60)
        assert claimed
        store.postpone(session, claimed, "given up", None)
    assert world.statuses() == {"dead"}
    world.work()
    assert world.live(user) is None
    assert world.receive(deliveries[-1]) == ["received"]
    world.work()
    assert set(world.events().values()) == {("applied", None)}
    assert world.live(user) == ("starter", "active")


def remembered(world: World) -> dict[str, list[Any]]:
    """Return what the user has, row by row with the time of its last change."""
    tables = ("subscriptions", "customers", "quota_anchors", "pod_grants", "quota_counters")
    return {table: world.rows(f"SELECT * FROM app.{table} ORDER BY 1, 2") for table in tables}


def test_same_event_five_times_late_and_out_of_order_changes_nothing(world: World) -> None:
    user = world.user()
    found = world.subscribe(world.customer(user))
    world.upgrade(found)
    deliveries = world.stripe.take()
    world.receive(*deliveries)
    world.work()
    before = remembered(world)
    for seed in range(5):
        again = random.Random(seed).sample(deliveries, len(deliveries))
        assert set(world.receive(*again)) == {"applied", "ignored"}
        world.work()
    # What workers do twice because a lease ran out changes nothing either.
    for _ in range(2):
        apply.refresh(world.context(), ("subscription", found["id"]))
    assert remembered(world) == before
    counted = {count for (count,) in world.rows("SELECT deliveries FROM app.stripe_events")}
    assert counted == {6}


# All at once


def change(world: World, dice: random.Random, found: Object) -> None:
    """Do one of the things that happen to a subscription."""
    stripe, id_ = world.stripe, found["id"]
    status = stripe.get(id_)["status"]
    if status in ENDED:
        stripe.emit("customer.subscription.updated", stripe.get(id_))
    elif dice.random() < 0.15:
        stripe.cancel(id_)
    elif dice.random() < 0.3:
        price = stripe.get(world.prices[dice.choice(["starter", "pro"])])
        items = stripe.get(id_)["items"]
        stripe.put(id_, items={**items, "data": [{**items["data"][0], "price": price}]})
    else:
        stripe.put(id_, status=dice.choice(["active", "past_due", "unpaid", "active", "paused"]))


class Distant(StripeAccount):
    """Stripe, far enough away that things change while its answer travels."""

    def fetch(self, kind: str, object_id: str) -> Object | None:
        found = super().fetch(kind, object_id)
        time.sleep(0.1)
        return found


def mangled(dice: random.Random, deliveries: list[Delivery], lost: float) -> list[Delivery]:
    """Lose some, double some, and mix them up."""
    kept = [delivery for delivery in deliveries if dice.random() >= lost]
    doubled = [delivery for delivery in kept for _ in range(dice.choice([1, 1, 1, 2, 5]))]
    return dice.sample(doubled, len(doubled))


def in_threads(number: int, work: Callable[[], None]) -> None:
    with ThreadPoolExecutor(number) as pool:
        for done in [pool.submit(work) for _ in range(number)]:
            done.result()


def test_every_subscription_ends_right(world: World) -> None:
    dice = random.Random(1)
    distant = Distant(world.stripe.key, world.stripe.url)
    users = [world.user() for _ in range(64)]
    subscribed = {user: world.subscribe(world.customer(user)) for user in users}
    posted: queue.SimpleQueue[Delivery | None] = queue.SimpleQueue()
    over = threading.Event()

    def listen() -> None:
        while delivery := posted.get():
            world.receive(delivery)

    def work() -> None:
        while not over.wait(0.01):
            world.work(distant)

    def happen() -> None:
        for lost in (0.5, 0.2, 0.0):
            mixed = dice.sample(users, len(users)) + dice.sample(users, len(users))
            for start in range(0, len(mixed), 16):
                for user in mixed[start : start + 16]:
                    change(world, dice, subscribed[user])
                    world.stripe.emit("customer.subscription.updated", world.stripe.get(subscribed[user]["id"]))
                for delivery in mangled(dice, world.stripe.take(), lost):
                    posted.put(delivery)
        for _ in range(3):
            posted.put(None)

    with ThreadPoolExecutor(12) as pool:
        workers = [pool.submit(work) for _ in range(8)]
        listeners = [pool.submit(listen) for _ in range(3)]
        pool.submit(happen).result()
        for listener in listeners:
            listener.result()
        over.set()
        for worker in workers:
            worker.result()
    in_threads(4, world.work)
    distant.close()

    def right() -> bool:
        here = {user: standing(world, user) for user in users}
        assert here == {user: expected(world, subscribed[user]["id"]) for user in users}
        return True

    # All but the last events of some are lost: the last one is enough.
    assert right()
    assert world.statuses() == {"applied"}
    for user in users:
        change(world, dice, subscribed[user])
    world.stripe.drop(len(world.stripe.take()))
    with world.database.session() as session:
        inbox.request_refresh(session, [("subscription", found["id"]) for found in world.billing.subscriptions()])
    in_threads(4, world.work)
    assert right()
    assert world.rows("SELECT 1 FROM app.stripe_objects WHERE wanted_at IS NOT NULL OR lease_token IS NOT NULL") == []
    assert world.statuses() == {"applied"}
    assert world.rows("SELECT user_id FROM app.quota_anchors GROUP BY user_id HAVING count(*) > 1") == []


def standing(world: World, user: int) -> tuple[str, str, bool]:
    """Return plan and status of a user's one subscription, and whether he is on it."""
    query = """
        SELECT plans.name, status, ended_at IS NULL FROM app.subscriptions JOIN app.plans ON plans.id = plan_id
        WHERE user_id = :user
    """
    (found,) = world.rows(query, user=user)
    return found


def expected(world: World, id_: str) -> tuple[str, str, bool]:
    """Return the same of the subscription at Stripe."""
    found = world.stripe.get(id_)
    names = {price: name for name, price in world.prices.items()}
    status = found["status"]
    return names[found["items"]["data"][0]["price"]["id"]], status, status not in ENDED

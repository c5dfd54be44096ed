"""Worlds: users, an operator, the dashboard, the portal, the clock and the network act in any order.

Whatever they did: after the worker has run, and one `plans sync`, the installation is as `truth` says.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from psycopg import Connection
from sqlalchemy import text

from dumacle_cli.clients import signatures
from dumacle_cli.clients.stripe import Tags
from dumacle_cli.services.billing import BillingContext, apply, inbox
from dumacle_cli.services.billing.objects import tags
from dumacle_cli.store import stripe as store
from dumacle_cli.store.database import Database
from tests.conftest import Result
from tests.faults.truth import ENTITLED, Given, Truth
from tests.stripe_double.account import ENDED, Object
from tests.stripe_double.double import Delivery, StripeDouble

BEGIN = 1_769_860_800
"""31 January 2026, 12:00 UTC: the months that are counted from it end on different days."""
USERS = ("ada@example.com", "bob@example.com")
PAID = ("starter", "pro")
PLANS = ("free", *PAID)
KEPT = ("users", "plans", "plan_prices")
EMPTIED = (
    *("subscriptions", "customers", "pod_grants", "quota_anchors", "entitlements", "findings"),
    *("stripe_payloads", "stripe_events", "stripe_objects", "operations", "audit"),
)
REFUSED = {2, 5, 6, 7}
FAULTS = {1, 3, 9, 10}
"""Exit statuses of acts: refused here; refused by Stripe, held by a worker that was killed, or with an answer lost."""

Program = Callable[..., Result]
users, paid, plans = st.sampled_from(USERS), st.sampled_from(PAID), st.sampled_from(PLANS)
nth, flag = st.integers(0, 4), st.booleans()
dunnings = st.sampled_from(["canceled", "unpaid", "past_due"])


@dataclass
class Ground:
    """The installation that each world begins with: two users, a free plan and two that Stripe sells."""

    database: Database
    double: StripeDouble
    program: Program
    admin: "Connection[Any]"

    def prepare(self) -> None:
        """Make it, and remember it."""
        self.double.now = BEGIN
        for name, price in (("free", "0"), ("starter", "9.99"), ("pro", "29.99")):
            self.program("plans", "create", name, "--price", price, "--storage", "1GiB", "--upload", "1GiB")
        self.program("plans", "push")
        for user in USERS:
            self.program("users", "create", user)
        self.objects = json.loads(json.dumps(self.double.account.objects))
        self.admin.execute("SET session_replication_role = replica; CREATE SCHEMA before")
        for table in KEPT:
            self.admin.execute(f"CREATE TABLE before.{table} AS TABLE app.{table}")

    def restore(self) -> None:
        """Put the database and the account back to how they were remembered."""
        self.admin.execute("; ".join(f"DELETE FROM app.{table}" for table in (*KEPT, *EMPTIED)))
        for table in KEPT:
            self.admin.execute(f"INSERT INTO app.{table} OVERRIDING SYSTEM VALUE TABLE before.{table}")
        self.admin.execute("DELETE FROM queue.procrastinate_events; DELETE FROM queue.procrastinate_jobs")
        self.double.begin_again(BEGIN, self.objects)


class World(RuleBasedStateMachine):
    """One world; what its network has not delivered yet is in `waiting`."""

    def __init__(self, ground: Ground) -> None:
        super().__init__()
        ground.restore()
        self.ground, self.database, self.double = ground, ground.database, ground.double
        self.account = self.double.billing()
        self.given = Given()
        self.waiting: list[Delivery] = []
        self.steps = 0

    @initialize(bought=st.dictionaries(users, paid, min_size=1), known=flag, dunning=dunnings)
    def begins(self, bought: dict[str, str], known: bool, dunning: str) -> None:
        """Let users have bought plans before, of which the installation may not know yet."""
        self.double.after_dunning = dunning
        for user, plan in bought.items():
            marks = self.tags(user)
            customer = self.double.account.announce("customer", email=user, metadata=marks)
            self.double.add_card(customer["id"])
            self.double.account.subscribe(customer, self.price(plan), marks, "allow_incomplete")
        if known:
            self.waiting = self.double.take()
            for delivery in [*self.waiting]:
                self.arrive(delivery, "once")
            self.works(most=len(self.due()), killed=False)

    # The operator

    def act(self, *argv: str) -> Result:
        """Run a command; it never fails otherwise than it may, and never makes anybody pay twice."""
        before = {found["id"] for found in self.truth.subscriptions() if found["status"] in ENTITLED}
        self.steps += 1
        result = self.ground.program(*argv, "-o", "json", expect={0, *REFUSED, *FAULTS})
        assert "Traceback" not in result.err, result.err
        truth = self.truth  # whose a subscription is may have been learned by the act
        for user in USERS:
            paid = {found["id"] for found in truth.charged(user)}
            assert len(paid) <= max(1, len(paid & before)), f"{argv} made {user} pay twice"
        return result

    @property
    def truth(self) -> Truth:
        return Truth(self.ground.admin, self.double, self.given)

    @rule(
        user=users,
        plan=paid,
        way=st.sampled_from(["--checkout", "--direct"]),
        trial=st.sampled_from([0, 0, 7]),
        again=flag,
    )
    def sells(self, user: str, plan: str, way: str, trial: int, again: bool) -> None:
        argv = ("plans", "subscribe", user, plan, way, "--trial-days", str(trial), "--op-id", f"sale-{self.steps}")
        self.act(*argv)
        if again:
            self.act(*argv)

    @rule(user=users, how=st.sampled_from([("plans", "subscribe"), ("users", "update")]))
    def gives(self, user: str, how: tuple[str, str]) -> None:
        done = self.act(*how, user, *(["--plan"] if how[0] == "users" else []), "free")
        if done.code == 0:
            self.given.free.add(user)

    @rule(user=users, plan=plans, now=flag)
    def changes(self, user: str, plan: str, now: bool) -> None:
        done = self.act("plans", "change", user, plan, *(["--now"] if now else []))
        if done.code == 0 and plan == "free":
            self.given.free.add(user)

    @rule(user=users, refund=st.sampled_from(["", "none", "prorated", "full"]))
    def cancels(self, user: str, refund: str) -> None:
        unbilled = not any(found["status"] not in (*ENDED, "incomplete") for found in self.of(user))
        done = self.act("plans", "cancel", user, "--yes", *(["--now", "--refund", refund] if refund else []))
        if done.code == 0 and unbilled and done.data["plan"] == "free":
            self.given.free.discard(user)

    @precondition(lambda self: self.subscriptions)
    @rule(number=nth, now=flag)
    def cancels_one(self, number: int, now: bool) -> None:
        found = self.subscriptions[number % len(self.subscriptions)]
        self.act("plans", "cancel", found["id"], "--yes", *(["--now", "--refund", "full"] if now else []))

    @rule(user=users)
    def resumes(self, user: str) -> None:
        self.act("plans", "resume", user)

    @rule(user=users)
    def opens_the_portal(self, user: str) -> None:
        self.act("plans", "portal", user)

    @precondition(lambda self: self.double.account.all("invoice"))
    @rule(number=nth)
    def refunds(self, number: int) -> None:
        invoices = self.double.account.all("invoice")
        self.act("plans", "refund", invoices[-1 - number % len(invoices)]["id"], "--yes")

    @rule(user=users, verb=st.sampled_from(["disable", "enable", "delete", "restore"]))
    def withdraws(self, user: str, verb: str) -> None:
        if self.act("users", verb, user).code not in (0, 3):
            return
        if verb in ("disable", "enable"):
            (self.given.disabled.add if verb == "disable" else self.given.disabled.discard)(user)
        elif verb == "delete":
            self.given.deleted.add(user)
        elif user in self.given.deleted:  # who is restored is enabled
            self.given.deleted.discard(user)
            self.given.disabled.discard(user)

    @rule(plan=paid, price=st.sampled_from(["9.99", "12.00", "29.99", "31.00"]), push=flag)
    def reprices(self, plan: str, price: str, push: bool) -> None:
        self.act("plans", "update", plan, "--price", price, "--currency", "EUR")
        if push:
            self.act("plans", "push")

    @rule(plan=paid, verb=st.sampled_from(["archive", "restore"]), push=flag)
    def archives(self, plan: str, verb: str, push: bool) -> None:
        self.act("plans", verb, plan)
        if push:
            self.act("plans", "push")

    @rule(user=users)
    def syncs_one(self, user: str) -> None:
        self.act("plans", "sync", "--user", user)

    # The user, at a page and at the bank

    @precondition(lambda self: self.pages)
    @rule(number=nth, bank_pays=flag)
    def pays_on_a_page(self, number: int, bank_pays: bool) -> None:
        page = self.pages[number % len(self.pages)]
        (self.double.accept if bank_pays else self.double.decline)(page["customer"])
        self.double.complete(page["id"])

    @precondition(lambda self: self.customers)
    @rule(number=nth, what=st.sampled_from(["add_card", "decline", "accept"]))
    def deals_with_the_bank(self, number: int, what: str) -> None:
        getattr(self.double, what)(self.customers[number % len(self.customers)]["id"])

    @precondition(lambda self: self.open_invoices)
    @rule(number=nth)
    def pays_an_invoice(self, number: int) -> None:
        self.double.pay(self.open_invoices[number % len(self.open_invoices)]["id"])

    @precondition(lambda self: self.running)
    @rule(number=nth)
    def does_not_pay_any_more(self, number: int) -> None:
        """Let the next payment fail, and each time that Stripe tries it again."""
        self.double.decline(self.running[number % len(self.running)]["customer"])
        self.double.advance(days=50)

    # The portal

    @precondition(lambda self: self.running)
    @rule(number=nth, what=st.sampled_from(["cancel", "keep", "switch", "later"]), plan=paid)
    def uses_the_portal(self, number: int, what: str, plan: str) -> None:
        found = self.running[number % len(self.running)]
        if what == "cancel" and not found["schedule"]:
            self.double.cancel_in_portal(found["id"])
        elif what == "keep" and not found["schedule"]:
            self.double.put(found["id"], cancel_at=None, cancel_at_period_end=False)
        elif what == "switch" and not found["schedule"]:
            self.double.switch_in_portal(found["id"], self.price(plan))
        elif what == "later" and not (found["schedule"] or found["cancel_at"]):
            self.double.schedule(found["id"], self.price(plan))

    # The dashboard

    @precondition(lambda self: self.customers)
    @rule(number=nth, plan=paid)
    def subscribes_at_the_dashboard(self, number: int, plan: str) -> None:
        customer = self.customers[number % len(self.customers)]
        self.double.subscribe(customer["id"], self.price(plan))

    @rule(user=st.sampled_from(["", *USERS]))
    def creates_a_customer(self, user: str) -> None:
        metadata = self.tags(user) if user else {}
        made = self.double.account.announce("customer", email=user or "eve@example.com", metadata=metadata)
        self.double.add_card(made["id"])

    @precondition(lambda self: self.customers)
    @rule(number=nth)
    def deletes_a_customer(self, number: int) -> None:
        self.double.delete_customer(self.customers[number % len(self.customers)]["id"])

    @precondition(lambda self: self.running)
    @rule(number=nth, what=st.sampled_from(["end", "add", "quantity", "pause", "continue", "cancel", "keep"]))
    def edits_at_the_dashboard(self, number: int, what: str) -> None:
        found = self.running[number % len(self.running)]
        item = found["items"]["data"][0]
        if what == "end":
            self.double.cancel(found["id"])
        elif what == "add":
            self.double.add_item(found["id"], self.add_on())
        elif what == "quantity":
            items = found["items"]["data"]
            self.double.put(found["id"], items={**found["items"], "data": [{**item, "quantity": 3}, *items[1:]]})
        elif what in ("pause", "continue"):
            self.double.put(found["id"], pause_collection={"behavior": "void"} if what == "pause" else None)
        elif not found["schedule"]:
            ends = max(each["current_period_end"] for each in found["items"]["data"]) if what == "cancel" else None
            self.double.put(found["id"], cancel_at_period_end=what == "cancel", cancel_at=ends)

    # The clock

    @rule(days=st.sampled_from([0, 1, 5, 31, 400]), hours=st.sampled_from([1, 23]))
    def passes(self, days: int, hours: int) -> None:
        self.double.advance(days=days, hours=hours)

    @rule(dunning=dunnings)
    def decides_what_becomes_of_debtors(self, dunning: str) -> None:
        self.double.after_dunning = dunning

    # The network, the listener and the worker

    @rule(data=st.data(), thin=flag)
    def delivers(self, data: st.DataObject, thin: bool) -> None:
        self.double.thin = thin
        self.waiting += self.double.take()
        for delivery in data.draw(st.permutations(self.waiting), "order"):
            self.arrive(delivery, data.draw(st.sampled_from(["once", "twice", "later", "lost"]), delivery.event))

    def arrive(self, delivery: Delivery, how: str) -> None:
        """Do what the listener does with a delivery; what is sent twice is sent again at the end."""
        if how in ("once", "twice"):
            secrets = signatures.parse(self.double.secret)
            signatures.verify(delivery.body, delivery.header, secrets, datetime.now(UTC).timestamp())
            read = inbox.read(signatures.parse_event(delivery.body), delivery.body)
            inbox.receive(self.database, [read])
        if how in ("once", "lost"):
            self.waiting.remove(delivery)

    @rule(most=st.integers(1, 3), killed=flag)
    def works(self, most: int, killed: bool) -> None:
        for id_ in self.due()[:most]:
            apply.apply_object(self.context, id_)
        if killed:
            for id_ in self.due()[:1]:
                with self.database.session() as session:
                    store.claim(session, id_, apply.LEASE_S)

    @rule(route=st.sampled_from(["POST", "GET", "DELETE"]), status=st.sampled_from([429, 500]), after=flag)
    def fails(self, route: str, status: int, after: bool) -> None:
        self.double.fail(f"{route} /v1/", status, after=after)

    @property
    def context(self) -> BillingContext:
        return BillingContext(self.database, self.account, "dumacle")

    def due(self) -> list[str]:
        with self.database.session() as session:
            return store.due(session, 50)

    # What is there

    @property
    def subscriptions(self) -> list[Object]:
        return self.double.account.all("subscription")

    @property
    def running(self) -> list[Object]:
        return [found for found in self.subscriptions if found["status"] not in (*ENDED, "incomplete")]

    def of(self, user: str) -> list[Object]:
        truth = self.truth
        return [found for found in truth.subscriptions() if truth.owner(found) == user]

    @property
    def customers(self) -> list[Object]:
        return [found for found in self.double.account.all("customer") if not found.get("deleted")]

    @property
    def pages(self) -> list[Object]:
        return [found for found in self.double.account.all("checkout.session") if found["status"] == "open"]

    @property
    def open_invoices(self) -> list[Object]:
        return [found for found in self.double.account.all("invoice") if found["status"] == "open"]

    def tags(self, user: str) -> Tags:
        """Return what marks objects at Stripe as a user's."""
        ids = {email: id_ for id_, email in self.truth.ids.items()}
        return tags("dumacle", user=ids.get(user, "0"))

    def price(self, plan: str) -> Object:
        """Return the price at which a plan is sold."""
        with self.database.session() as session:
            query = text("SELECT stripe_price_id FROM app.plans WHERE name = :name")
            return self.double.account.objects[session.scalars(query, {"name": plan}).one()]

    def add_on(self) -> Object:
        recurring = {"interval": "month", "interval_count": 1, "meter": None, "usage_type": "licensed"}
        fields = {"unit_amount": 100, "currency": "eur", "recurring": recurring}
        return self.double.account.announce("price", product="prod_support", **fields)

    # The end

    def teardown(self) -> None:
        """Let what still waits arrive, the worker work and one sync be made; then all is as it should be."""
        try:
            self.settle()
            first = self.ground.program("plans", "sync", "-o", "json", expect={0, 3})
            faults = [*self.truth.faults()]
            assert not faults, "\n".join(faults)
            again = self.ground.program("plans", "sync", "-o", "json", expect={0, 3})
            assert (again.code, again.json["changed"]) == (first.code, False), again.out + again.err
        finally:
            self.account.close()

    def settle(self) -> None:
        """Let what waits arrive, leases of killed workers run out, and a worker apply what is due."""
        self.double.api.faults.clear()
        for delivery in [*self.waiting, *self.double.take()][::2]:
            self.arrive(delivery, "twice")
        with self.database.session() as session:
            query = "UPDATE app.stripe_objects SET leased_until = now() - interval '1 s' WHERE leased_until IS NOT NULL"
            session.execute(text(query))
        while due := self.due():
            for id_ in due:
                apply.apply_object(self.context, id_)

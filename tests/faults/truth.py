"""What has to hold of an installation after its worker and one sync, by what the double of Stripe knows."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from psycopg import Connection
from psycopg.rows import namedtuple_row

from tests.stripe_double.account import ENDED, Object
from tests.stripe_double.double import StripeDouble

ENTITLED = ("active", "trialing", "past_due")
SET_ASIDE = ("unpaid", "paused")
HERE = """
    SELECT s.stripe_subscription_id AS id, u.email AS user, p.name AS plan, s.status, s.quantity, s.plan_items,
        extract(epoch FROM s.current_period_start)::bigint AS period_start,
        extract(epoch FROM s.current_period_end)::bigint AS period_end, s.cancel_at_period_end,
        extract(epoch FROM s.cancel_at)::bigint AS cancel_at, s.pause_collection, s.stripe_schedule_id AS schedule,
        following.name AS next_plan, s.stripe_customer_id AS customer
    FROM app.subscriptions AS s JOIN app.users AS u ON u.id = s.user_id JOIN app.plans AS p ON p.id = s.plan_id
    LEFT JOIN app.plans AS following ON following.id = s.next_plan_id
    WHERE s.stripe_subscription_id IS NOT NULL
"""
ACCESS = """
    SELECT u.email, p.name FROM app.users AS u JOIN app.entitlements AS e ON e.user_id = u.id AND e.valid_until IS NULL
    JOIN app.plans AS p ON p.id = e.plan_id
"""
STUCK = "SELECT id FROM app.stripe_objects WHERE wanted_at IS NOT NULL OR lease_token IS NOT NULL"


@dataclass
class Given:
    """What people did here, which Stripe does not know: who was given the free plan, and who lost access."""

    free: set[str] = field(default_factory=set)
    disabled: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)


class Truth:
    """An installation and its account, compared."""

    def __init__(self, admin: "Connection[Any]", double: StripeDouble, given: Given) -> None:
        self.double, self.given, self._admin = double, given, admin
        self.ids = {str(id_): email for id_, email in self._rows("SELECT id, email FROM app.users")}
        self.customers = {
            id_: self.ids[str(user)]
            for id_, user in self._rows("SELECT stripe_customer_id, user_id FROM app.customers")
        }
        self.kept = {
            id_: self.ids[str(user)]
            for id_, user in self._rows("SELECT stripe_subscription_id, user_id FROM app.subscriptions")
        }
        self.plans = {
            product: (-price, id_, name)
            for product, price, id_, name in self._rows(
                "SELECT stripe_product_id, price, id, name FROM app.plans WHERE stripe_product_id IS NOT NULL"
            )
        }

    def _rows(self, query: str) -> list[Any]:
        with self._admin.cursor(row_factory=namedtuple_row) as cursor:
            return list(cursor.execute(query.encode()))

    # Stripe's side

    def owner(self, found: Object) -> str | None:
        """Return whose subscription it is: it says so, or it is of the customer that is the user's here.

        That of a customer who was deleted stays with the user it had by then.
        """
        says = self.ids.get(found["metadata"].get("user", "")) or self.customers.get(found["customer"])
        is_deleted = self.double.account.objects[found["customer"]].get("deleted")
        return says or (self.kept.get(found["id"]) if is_deleted else None)

    def plan_items(self, found: Object) -> list[Object]:
        """Return the items that are plans, the dearest plan first."""
        sold = [item for item in found["items"]["data"] if item["price"]["product"] in self.plans]
        return sorted(sold, key=lambda item: (*self.plans[item["price"]["product"]], item["id"]))

    def _plan(self, price: Object) -> str:
        return self.plans[price["product"]][2]

    def subscriptions(self) -> list[Object]:
        """Return the subscriptions to plans, whosever they are."""
        return [found for found in self.double.account.all("subscription") if self.plan_items(found)]

    def charged(self, user: str) -> list[Object]:
        """Return the subscriptions that a user has for their money."""
        mine = [found for found in self.subscriptions() if self.owner(found) == user]
        return [found for found in mine if found["status"] in ENTITLED]

    def expected(self, found: Object) -> Object:
        """Return the row that a subscription should have."""
        items = self.plan_items(found)
        ends = [item["current_period_end"] for item in found["items"]["data"]]
        cancel_at = found["cancel_at"] or (max(ends) if found["cancel_at_period_end"] else None)
        following = [name for name in self._next(found) if name != self._plan(items[0]["price"])]
        return {
            "id": found["id"],
            "user": self.owner(found),
            "plan": self._plan(items[0]["price"]),
            "status": found["status"],
            "quantity": items[0]["quantity"],
            "plan_items": len(items),
            "period_start": items[0]["current_period_start"],
            "period_end": items[0]["current_period_end"],
            "cancel_at_period_end": found["cancel_at_period_end"],
            "cancel_at": cancel_at,
            "pause_collection": (found["pause_collection"] or {}).get("behavior"),
            "schedule": found["schedule"],
            "next_plan": following[0] if following else None,
            "customer": found["customer"],
        }

    def _next(self, found: Object) -> list[str]:
        schedule = self.double.account.objects[found["schedule"]] if found["schedule"] else None
        if not schedule or not schedule["current_phase"]:
            return []
        later = [each for each in schedule["phases"] if each["start_date"] >= schedule["current_phase"]["end_date"]]
        prices = [self.double.account.objects[item["price"]] for item in later[0]["items"]] if later else []
        return [self._plan(price) for price in prices if price["product"] in self.plans]

    def access(self, user: str) -> str | None:
        """Return the plan that a user has a right to."""
        mine = [found for found in self.subscriptions() if self.owner(found) == user]
        paid = [found for found in mine if found["status"] in ENTITLED]
        if paid:
            first = min(paid, key=lambda found: (found["start_date"], found["id"]))
            return self._plan(self.plan_items(first)[0]["price"])
        if any(found["status"] in SET_ASIDE for found in mine):
            return None
        return "free" if user in self.given.free else None

    # What is wrong

    def faults(self) -> Iterator[str]:
        """Yield each way in which the installation is not what Stripe says."""
        yield from self._wrong_rows()
        yield from self._wrong_access()
        yield from self._untold()
        yield from (f"{id_} waits" for (id_,) in self._rows(STUCK))

    def _wrong_rows(self) -> Iterator[str]:
        here = {row.id: row._asdict() for row in self._rows(HERE)}
        findings = {object_id for (object_id,) in self._rows("SELECT object_id FROM app.findings")}
        for found in self.subscriptions():
            wanted, row = self.expected(found), here.pop(found["id"], None)
            if row is None:
                if found["id"] not in findings and found["status"] not in ENDED and self.owner(found):
                    yield f"{found['id']} of {self.owner(found)} is not here, and nobody is told"
            elif differing := {name: (row[name], value) for name, value in wanted.items() if row[name] != value}:
                yield f"{found['id']} is not as Stripe says (here, there): {differing}"
        yield from (f"{id_} is here, and not at Stripe" for id_ in here)

    def _wrong_access(self) -> Iterator[str]:
        here: dict[str, str] = dict(self._rows(ACCESS))
        for user in self.ids.values():
            if user not in self.given.deleted and here.get(user) != self.access(user):
                yield f"{user} has access to {here.get(user)}, and a right to {self.access(user)}"

    def _untold(self) -> Iterator[str]:
        """Yield who is charged twice, or without access, and whom no finding names; and what is told and not so."""
        told = Counter((kind, object_id) for kind, object_id in self._rows("SELECT kind, object_id FROM app.findings"))
        for user in self.ids.values():
            charged = [found["id"] for found in self.charged(user)]
            named = {object_id for _, object_id in told if object_id in charged}
            if len(charged) > 1 and not named:
                yield f"{user} pays for {charged}, and nobody is told"
            if len(charged) < 2 and (wrong := [id_ for kind, id_ in told if kind == "paid-twice" and id_ in charged]):
                yield f"it is told that {user} pays twice for {wrong}"
            for found in self.charged(user):
                lost = user in self.given.disabled | self.given.deleted
                if lost and found["cancel_at"] is None and found["id"] not in named:
                    yield f"{user} has no access and pays for {found['id']}, and nobody is told"
        for found in self.subscriptions():
            if found["status"] in ENTITLED and not self.owner(found) and not told["stranger", found["id"]]:
                yield f"{found['id']} pays for a plan and belongs to nobody, and nobody is told"
        everything = {found["id"] for found in self.subscriptions() if found["status"] not in ENDED}
        for kind, id_ in told:
            if kind in ("paid-twice", "inactive-user", "stranger") and id_ not in everything:
                yield f"{kind} is told of {id_}, which nobody pays for"

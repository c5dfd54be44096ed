"""An account as Stripe keeps it: objects, a clock, events, and what becomes of subscriptions as time goes by."""

import copy
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from dateutil.relativedelta import relativedelta

Object = dict[str, Any]

TEMPLATES: dict[str, Object] = json.loads(Path(__file__).with_name("fixtures.json").read_text())
PREFIXES = {
    "billing_portal.session": "bps",
    "checkout.session": "cs_test",
    "customer": "cus",
    "event": "evt",
    "invoice": "in",
    "line_item": "il",
    "price": "price",
    "product": "prod",
    "subscription": "sub",
    "subscription_item": "si",
    "webhook_endpoint": "we",
}
EVENT_NAMES = {"subscription": "customer.subscription"}
ENDED = ("canceled", "incomplete_expired")
UNBILLED = ("unpaid", "paused")
HOUR, DAY = 3600, 86_400
DUNNING = (3 * DAY, 5 * DAY, 7 * DAY)


class Refused(Exception):
    """An answer other than 200, in Stripe's words."""

    def __init__(
        self, status: int, message: str, code: str | None = None, kind: str = "invalid_request_error", **more: str
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error = {"type": kind, "message": message, **({"code": code} if code else {}), **more}


class Account:
    """All objects by id, in the order in which they were made; `queue` holds the events to deliver."""

    def __init__(self, now: int) -> None:
        self.now = now
        self.objects: dict[str, Object] = {}
        self.queue: list[Object] = []
        self.ordered: dict[str, tuple[Object, dict[str, str]]] = {}
        self.declined: set[str] = set()
        self.after_dunning = "canceled"
        self._numbers = count(1)

    # Objects and events

    def make(self, kind: str, **fields: Any) -> Object:
        """Make an object from its template, without an event."""
        made = copy.deepcopy(TEMPLATES[kind])
        made |= {"id": f"{PREFIXES[kind]}_{next(self._numbers):06d}", "created": self.now} | fields
        self.objects[made["id"]] = made
        return made

    def announce(self, kind: str, **fields: Any) -> Object:
        """Make an object, and the event that says so."""
        made = self.make(kind, **fields)
        self.emit(f"{_name(made)}.created", made)
        return made

    def all(self, kind: str) -> list[Object]:
        """Return the objects of a kind, the oldest first."""
        return [found for found in self.objects.values() if found["object"] == kind]

    def find(self, kind: str, object_id: str, status: int = 404) -> Object:
        """Return an object, or refuse as Stripe does: 404 for what the path names, 400 for a parameter."""
        found = self.objects.get(object_id)
        if found is None or found["object"] != kind:
            raise Refused(status, f"No such {kind}: '{object_id}'", "resource_missing", param=kind)
        return found

    def edit(self, found: Object, **fields: Any) -> Object:
        """Change fields of an object; only a real change makes an event."""
        before = {name: copy.deepcopy(found.get(name)) for name, value in fields.items() if found.get(name) != value}
        found |= fields
        if before:
            self.emit(f"{_name(found)}.updated", found, before)
        return found

    def emit(self, kind: str, found: Object, before: Object | None = None) -> Object:
        """Make an event and queue its delivery."""
        data = {"object": copy.deepcopy(found)} | ({"previous_attributes": before} if before else {})
        event = self.make("event", type=kind, data=data, pending_webhooks=1)
        self.queue.append(event)
        return event

    # Subscriptions

    def subscribe(self, customer: Object, price: Object, metadata: dict[str, str], behavior: str) -> Object:
        """Subscribe a customer and charge the first period; `error_if_incomplete` makes nothing without the money."""
        self._demand(customer, price, behavior)
        made = self.make(
            "subscription",
            customer=customer["id"],
            currency=price["currency"],
            metadata=metadata,
            status="incomplete",
            billing_cycle_anchor=self.now,
            start_date=self.now,
        )
        item = self.make("subscription_item", subscription=made["id"], price=price)
        del self.objects[item["id"]]
        made["items"]["data"] = [item | _period(made, price, self.now)]
        self.emit("customer.subscription.created", made)
        self._charge(made, "subscription_create")
        return made

    def switch(self, found: Object, price: Object, behavior: str) -> None:
        """Move a subscription to another price; another interval begins a new period, and is charged now."""
        item = found["items"]["data"][0]
        if price["recurring"]["interval"] == item["price"]["recurring"]["interval"]:
            self._set_item(found, {"price": price})
            return
        self._demand(self.objects[found["customer"]], price, behavior)
        found["billing_cycle_anchor"] = self.now
        self._set_item(found, {"price": price} | _period(found, price, self.now))
        self._charge(found, "subscription_update")

    def end(self, found: Object, status: str = "canceled") -> Object:
        """End a subscription now."""
        found |= {"status": status, "ended_at": self.now, "canceled_at": found["canceled_at"] or self.now}
        self.emit("customer.subscription.deleted" if status == "canceled" else "customer.subscription.updated", found)
        return found

    def pay(self, invoice: Object) -> None:
        """Take the money for an open invoice; its subscription is active again."""
        paid = {"amount_paid": invoice["amount_due"], "amount_remaining": 0, "next_payment_attempt": None}
        invoice |= paid | {"status": "paid", "attempted": True, "attempt_count": invoice["attempt_count"] + 1}
        self.emit("invoice.paid", invoice)
        found = self._subscription(invoice)
        if found["status"] not in ENDED:
            self.edit(found, status="active", latest_invoice=invoice["id"])

    def _demand(self, customer: Object, price: Object, behavior: str) -> None:
        if behavior == "error_if_incomplete" and not self._pays(customer, price):
            raise Refused(402, "Your card was declined.", "card_declined", "card_error")

    def _pays(self, customer: Object, price: Object) -> bool:
        able = customer["invoice_settings"]["default_payment_method"] and customer["id"] not in self.declined
        return not price["unit_amount"] or bool(able)

    def _subscription(self, invoice: Object) -> Object:
        return self.objects[invoice["parent"]["subscription_details"]["subscription"]]

    def _set_item(self, found: Object, fields: Object) -> None:
        items = found["items"]
        self.edit(found, items={**items, "data": [{**items["data"][0], **fields}]})

    def _charge(self, found: Object, reason: str) -> None:
        customer, item = self.objects[found["customer"]], found["items"]["data"][0]
        amount = item["price"]["unit_amount"]
        invoice = self.make("invoice", customer=customer["id"], currency=found["currency"], billing_reason=reason)
        invoice |= dict.fromkeys(("amount_due", "amount_remaining", "subtotal", "total"), amount)
        invoice |= {"status": "open", "period_start": item["current_period_start"], "period_end": self.now}
        invoice["parent"]["subscription_details"]["subscription"] = found["id"]
        invoice["lines"]["data"] = [self._line(invoice, item)]
        self.emit("invoice.created", invoice)
        found["latest_invoice"] = invoice["id"]
        if self._pays(customer, item["price"]):
            self.pay(invoice)
        else:
            self._decline(invoice)

    def _line(self, invoice: Object, item: Object) -> Object:
        period = {"start": item["current_period_start"], "end": item["current_period_end"]}
        line = self.make("line_item", invoice=invoice["id"], amount=invoice["total"], period=period)
        del self.objects[line["id"]]
        return line

    def _decline(self, invoice: Object) -> None:
        found, attempts = self._subscription(invoice), invoice["attempt_count"]
        more = found["status"] != "incomplete" and attempts < len(DUNNING)
        invoice |= {"attempted": True, "attempt_count": attempts + 1}
        invoice["next_payment_attempt"] = self.now + DUNNING[attempts] if more else None
        self.emit("invoice.payment_failed", invoice)
        if found["status"] == "incomplete":
            return
        self.edit(found, status="past_due")
        if not more:
            self._give_up(found)

    def _give_up(self, found: Object) -> None:
        if self.after_dunning == "canceled":
            self.end(found)
        else:
            self.edit(found, status=self.after_dunning)

    # Time

    def advance(self, until: int) -> None:
        """Move the clock, and do what falls due on the way in its order."""
        while due := [(at, number, act) for number, (at, act) in enumerate(self._due()) if at <= until]:
            at, _, act = min(due, key=lambda item: item[:2])
            self.now = max(self.now, at)
            act()
        self.now = until

    def _due(self) -> Iterator[tuple[int, Callable[[], Any]]]:
        for found in self.all("subscription"):
            if found["status"] == "incomplete":
                yield found["created"] + 23 * HOUR, partial(self.end, found, "incomplete_expired")
            elif found["status"] not in ENDED:
                yield found["items"]["data"][0]["current_period_end"], partial(self._renew, found)
        for invoice in self.all("invoice"):
            if invoice["next_payment_attempt"] and self._subscription(invoice)["status"] not in ENDED:
                yield invoice["next_payment_attempt"], partial(self._retry, invoice)
        for session in self.all("checkout.session"):
            if session["status"] == "open":
                yield session["expires_at"], partial(self.expire, session)

    def _renew(self, found: Object) -> None:
        if found["cancel_at_period_end"]:
            self.end(found)
            return
        item = found["items"]["data"][0]
        self._set_item(found, _period(found, item["price"], item["current_period_end"]))
        if found["status"] not in UNBILLED:
            self._charge(found, "subscription_cycle")

    def _retry(self, invoice: Object) -> None:
        customer = self.objects[invoice["customer"]]
        if self._pays(customer, self._subscription(invoice)["items"]["data"][0]["price"]):
            self.pay(invoice)
        else:
            self._decline(invoice)

    # Checkout

    def complete(self, session: Object) -> Object:
        """Let the customer pay on the page of a checkout; return his subscription."""
        if session["status"] != "open":
            raise ValueError(f"the checkout is {session['status']}")
        customer, (price, metadata) = self.objects[session["customer"]], self.ordered[session["id"]]
        customer["invoice_settings"]["default_payment_method"] = "pm_double"
        made = self.subscribe(customer, price, metadata, "allow_incomplete")
        session |= {"status": "complete", "payment_status": "paid", "url": None}
        session |= {"subscription": made["id"], "invoice": made["latest_invoice"]}
        self.emit("checkout.session.completed", session)
        return made

    def expire(self, session: Object) -> Object:
        """End a checkout that nobody finished."""
        session |= {"status": "expired", "url": None}
        self.emit("checkout.session.expired", session)
        return session


def _name(found: Object) -> str:
    kind = str(found["object"])
    return EVENT_NAMES.get(kind, kind)


def _period(found: Object, price: Object, start: int) -> Object:
    """Return the period that begins at `start`, counted from the anchor: 31 January, 28 February, 31 March."""
    anchor = datetime.fromtimestamp(found["billing_cycle_anchor"], UTC)
    months = {"month": 1, "year": 12}[price["recurring"]["interval"]]
    steps = (anchor + relativedelta(months=number * months) for number in count(1))
    end = next(step for at in steps if (step := int(at.timestamp())) > start)
    return {"current_period_start": start, "current_period_end": end}

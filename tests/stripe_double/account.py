"""An account as Stripe keeps it: objects, a clock, events, and what becomes of subscriptions as time goes by."""

import copy
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from fractions import Fraction
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
    "coupon": "coupon",
    "customer": "cus",
    "event": "evt",
    "invoice": "in",
    "invoice_payment": "inpay",
    "line_item": "il",
    "price": "price",
    "product": "prod",
    "refund": "re",
    "subscription": "sub",
    "subscription_item": "si",
    "subscription_schedule": "sub_sched",
    "webhook_endpoint": "we",
}
EVENT_NAMES = {"subscription": "customer.subscription"}
ENDED = ("canceled", "incomplete_expired")
UNBILLED = ("unpaid", "paused")
ACCOUNTS = count(1)
HOUR, DAY = 3600, 86_400
TAX = Fraction(1, 5)
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
        number = next(ACCOUNTS)
        self.id = f"acct_{number:06d}"
        self.livemode = False
        self.objects: dict[str, Object] = {}
        self.queue: list[Object] = []
        self.ordered: dict[str, tuple[Object, dict[str, str], Object, str | None]] = {}
        self.discounts: dict[str, Object] = {}
        self.options: dict[str, Object] = {}
        self.declined: set[str] = set()
        self.prorations: dict[str, list[int]] = {}
        self.after_dunning = "canceled"
        self._numbers = count(number * 10_000)  # no two accounts have an id in common

    # Objects and events

    def make(self, kind: str, **fields: Any) -> Object:
        """Make an object from its template, without an event."""
        made = copy.deepcopy(TEMPLATES[kind])
        made |= {
            "id": f"{PREFIXES[kind]}_{next(self._numbers):06d}",
            "created": self.now,
            "livemode": self.livemode,
        } | fields
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

    def subscribe(
        self, customer: Object, price: Object, metadata: dict[str, str], behavior: str, terms: Object | None = None
    ) -> Object:
        """Subscribe a customer and charge the first period; `error_if_incomplete` makes nothing without the money.

        The terms are automatic tax, discounts and a trial, after which the first period is charged.
        """
        terms = terms or {}
        if "trial_end" not in terms:
            self._demand(customer, price, behavior)
        made = self.make(
            "subscription",
            customer=customer["id"],
            metadata=metadata,
            start_date=self.now,
            **{"status": "incomplete", "billing_cycle_anchor": self.now, "currency": price["currency"], **terms},
        )
        made["items"]["data"] = [self.item(made, price, 1)]
        if made["trial_end"]:
            made["items"]["data"][0]["current_period_end"] = made["trial_end"]
        self.emit("customer.subscription.created", made)
        self._charge(made, "subscription_create")
        return made

    def terms(self, price: Object, automatic_tax: Any, discounts: Any) -> Object:
        """Return automatic tax and discounts as a subscription has them, or refuse what Stripe cannot do."""
        taxed = bool(automatic_tax) and automatic_tax["enabled"] == "true"
        if taxed and price["tax_behavior"] == "unspecified":
            raise Refused(400, "You must set `tax_behavior` on the price to use automatic tax.", param="automatic_tax")
        made = {}
        for given in discounts or ():
            made[f"di_{next(self._numbers):06d}"] = self.find("coupon", given["coupon"], 400)
        self.discounts |= made
        tax = {"disabled_reason": None, "enabled": taxed, "liability": {"type": "self"} if taxed else None}
        return {"automatic_tax": tax, "discounts": list(made)}

    def amount(self, price: Object, currency: str) -> int:
        """Return what a price costs in a currency, or refuse it if the price does not have that one."""
        if currency == price["currency"]:
            return int(price["unit_amount"])
        options = self.options.get(price["id"], {})
        if currency not in options:
            said = f"The price specified only supports `{price['currency']}`."
            raise Refused(400, f"{said} This doesn't match the expected currency: `{currency}`.")
        return int(options[currency]["unit_amount"])

    def paid_in(self, customer: str, price: Object, currency: str | None) -> str:
        """Return the currency of a new subscription; a customer pays for all of theirs in one."""
        chosen = currency or str(price["currency"])
        self.amount(price, chosen)
        for found in self.all("subscription"):
            if found["customer"] == customer and found["status"] not in ENDED and found["currency"] != chosen:
                raise Refused(400, f"You cannot combine currencies on a single customer: it has {found['currency']}.")
        return chosen

    def trial(self, days: str | None) -> Object:
        """Return a trial of so many days as a subscription has it; none without days."""
        if not days:
            return {}
        end = self.now + int(days) * DAY
        return {"status": "trialing", "trial_start": self.now, "trial_end": end, "billing_cycle_anchor": end}

    def _final(self, found: Object, amount: int) -> int:
        """Return what is to be paid of an amount, with the discounts and the tax of a subscription."""
        given = (self.discounts[each]["percent_off"] for each in found["discounts"] if each in self.discounts)
        off = sum((Fraction(str(percent)) / 100 for percent in given), Fraction(0))
        exclusive = found["items"]["data"][0]["price"]["tax_behavior"] == "exclusive"
        tax = TAX if found["automatic_tax"]["enabled"] and exclusive else Fraction(0)
        return round(amount * (1 - off) * (1 + tax))

    def item(self, found: Object, price: Object, quantity: int) -> Object:
        """Make an item of a subscription, whose period begins now."""
        item = self.make("subscription_item", subscription=found["id"], price=price, quantity=quantity)
        del self.objects[item["id"]]
        return item | _period(found, price, self.now)

    def switch(self, found: Object, item_id: str, price: Object, quantity: int, behavior: str) -> None:
        """Give an item another price: another interval begins a new period and is charged now, else it is prorated."""
        item = next(each for each in found["items"]["data"] if each["id"] == item_id)
        if price["recurring"]["interval"] == item["price"]["recurring"]["interval"]:
            self.prorations.setdefault(found["id"], []).extend(self.prorated(found, item, price, quantity))
            self._set_item(found, item_id, {"price": price, "quantity": quantity})
            return
        self._demand(self.objects[found["customer"]], price, behavior)
        found["billing_cycle_anchor"] = self.now
        self._set_item(found, item_id, {"price": price, "quantity": quantity} | _period(found, price, self.now))
        self._charge(found, "subscription_update")

    def prorated(self, found: Object, item: Object, price: Object, quantity: int) -> list[int]:
        """Return the credit and the charge, in minor units, of another price for the rest of an item's period.

        A trial costs nothing, so there is neither.
        """
        if found["status"] == "trialing":
            return []
        start, end = item["current_period_start"], item["current_period_end"]
        share = Fraction(end - self.now, end - start)
        paid_in = found["currency"]
        old, new = self.amount(item["price"], paid_in) * item["quantity"], self.amount(price, paid_in) * quantity
        return [-round(old * share), round(new * share)]

    def end(self, found: Object, status: str = "canceled") -> Object:
        """End a subscription now."""
        found |= {"status": status, "ended_at": self.now, "canceled_at": found["canceled_at"] or self.now}
        if found["schedule"]:
            self.objects[found["schedule"]] |= {"status": "canceled", "canceled_at": self.now, "current_phase": None}
            found["schedule"] = None
        self.emit("customer.subscription.deleted" if status == "canceled" else "customer.subscription.updated", found)
        return found

    def pay(self, invoice: Object) -> None:
        """Take the money for an open invoice; its subscription is active again."""
        paid = {"amount_paid": invoice["amount_due"], "amount_remaining": 0, "next_payment_attempt": None}
        invoice |= paid | {"status": "paid", "attempted": True, "attempt_count": invoice["attempt_count"] + 1}
        if invoice["amount_paid"]:
            intent = {"type": "payment_intent", "payment_intent": f"pi_{next(self._numbers):06d}"}
            amounts = dict.fromkeys(("amount_paid", "amount_requested"), invoice["amount_paid"])
            self.make("invoice_payment", invoice=invoice["id"], currency=invoice["currency"], payment=intent, **amounts)
        self.emit("invoice.paid", invoice)
        found = self._subscription(invoice)
        if found["status"] not in ENDED:
            status = "trialing" if found["status"] == "trialing" else "active"
            self.edit(found, status=status, latest_invoice=invoice["id"])

    def _demand(self, customer: Object, price: Object, behavior: str) -> None:
        if behavior == "error_if_incomplete" and not self._pays(customer, price):
            raise Refused(402, "Your card was declined.", "card_declined", "card_error")

    def _pays(self, customer: Object, price: Object) -> bool:
        able = customer["invoice_settings"]["default_payment_method"] and customer["id"] not in self.declined
        return not price["unit_amount"] or bool(able)

    def _subscription(self, invoice: Object) -> Object:
        return self.objects[invoice["parent"]["subscription_details"]["subscription"]]

    def _set_item(self, found: Object, item_id: str, fields: Object) -> None:
        items = found["items"]
        data = [{**item, **fields} if item["id"] == item_id else item for item in items["data"]]
        self.edit(found, items={**items, "data": data})

    def _charge(self, found: Object, reason: str) -> None:
        customer, items = self.objects[found["customer"]], found["items"]["data"]
        amounts = [self.amount(item["price"], found["currency"]) * item["quantity"] for item in items]
        prorations = self.prorations.pop(found["id"], [])
        due = 0 if found["status"] == "trialing" else sum(amounts) + sum(prorations)
        amount = self._final(found, max(0, due))
        invoice = self.make("invoice", customer=customer["id"], currency=found["currency"], billing_reason=reason)
        invoice |= dict.fromkeys(("amount_due", "amount_remaining", "subtotal", "total"), amount)
        invoice |= {"status": "open", "period_start": items[0]["current_period_start"], "period_end": self.now}
        invoice["parent"]["subscription_details"]["subscription"] = found["id"]
        lines = [self._line(invoice, item, each) for item, each in zip(items, amounts, strict=True)]
        invoice["lines"]["data"] = lines + [self._line(invoice, items[0], each, proration=True) for each in prorations]
        self.emit("invoice.created", invoice)
        found["latest_invoice"] = invoice["id"]
        if found["pause_collection"]:
            invoice["status"] = {"void": "void", "keep_as_draft": "draft"}.get(
                found["pause_collection"]["behavior"], "uncollectible"
            )
        elif not amount or self._pays(customer, items[0]["price"]):
            self.pay(invoice)
        else:
            self._decline(invoice)

    def _line(self, invoice: Object, item: Object, amount: int, *, proration: bool = False) -> Object:
        period = {"start": item["current_period_start"], "end": item["current_period_end"]}
        line = self.make("line_item", invoice=invoice["id"], amount=amount, period=period)
        line["parent"]["subscription_item_details"]["proration"] = proration
        line["quantity"] = item["quantity"]
        del self.objects[line["id"]]
        return line

    def preview(self, found: Object, item: Object, price: Object, quantity: int) -> Object:
        """Return the next invoice as it would be after another price of an item, without keeping it."""
        invoice = self.make("invoice", customer=found["customer"], currency=found["currency"])
        lines = [
            self._line(invoice, item, each, proration=True) for each in self.prorated(found, item, price, quantity)
        ]
        whole = self.amount(price, found["currency"]) * quantity
        invoice["lines"]["data"] = [*lines, self._line(invoice, item, whole)]
        del self.objects[invoice["id"]]
        return invoice | {"id": "upcoming_in_double"}

    # Schedules

    def schedule(self, found: Object) -> Object:
        """Make a schedule from a subscription, with one phase: as it is, until the end of the period."""
        items = found["items"]["data"]
        kept = [
            {
                "price": item["price"]["id"],
                "quantity": item["quantity"],
                "discounts": [],
                "metadata": {},
                "tax_rates": item["tax_rates"],
            }
            for item in items
        ]
        span = {"start_date": items[0]["current_period_start"], "end_date": items[0]["current_period_end"]}
        same = {
            name: found[name]
            for name in ("currency", "metadata", "discounts", "default_tax_rates", "description", "automatic_tax")
        }
        phase = {"items": kept, "trial_end": found["trial_end"], **same, **span}
        made = self.make("subscription_schedule", subscription=found["id"], customer=found["customer"])
        made |= {"phases": [phase], "current_phase": span}
        found["schedule"] = made["id"]
        self.emit("subscription_schedule.created", made)
        return made

    def release(self, schedule: Object) -> Object:
        """Let a subscription go on without its schedule."""
        found = self.objects[schedule["subscription"]]
        schedule |= {"status": "released", "released_at": self.now, "released_subscription": found["id"]}
        schedule |= {"subscription": None, "current_phase": None}
        self.emit("subscription_schedule.released", schedule)
        self.edit(found, schedule=None, cancel_at=None)
        return schedule

    def _next_phase(self, schedule: Object, phase: Object) -> None:
        found = self.objects[schedule["subscription"]]
        by_price = {item["price"]["id"]: item for item in found["items"]["data"]}
        old = schedule["phases"][schedule["phases"].index(phase) - 1]
        for before, after in zip(old["items"], phase["items"], strict=True):
            if before != after:
                price = self.objects[after["price"]]
                fields = {"price": price, "quantity": int(after["quantity"])}
                self._set_item(found, by_price[before["price"]]["id"], fields)
        schedule["current_phase"] = {name: phase[name] for name in ("start_date", "end_date")}

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
                if found["cancel_at"]:
                    yield found["cancel_at"], partial(self.end, found)
                for phase in self.objects[found["schedule"]]["phases"] if found["schedule"] else ():
                    schedule = self.objects[found["schedule"]]
                    if phase["start_date"] > schedule["current_phase"]["start_date"]:
                        yield phase["start_date"], partial(self._next_phase, schedule, phase)
                ends = [item["current_period_end"] for item in found["items"]["data"]]
                yield min(ends), partial(self._renew, found)
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
        for item in found["items"]["data"]:
            if item["current_period_end"] <= self.now:
                self._set_item(found, item["id"], _period(found, item["price"], item["current_period_end"]))
        if found["status"] == "trialing":
            found["status"] = "active"
        if found["status"] not in UNBILLED:
            self._charge(found, "subscription_cycle")

    def _retry(self, invoice: Object) -> None:
        customer = self.objects[invoice["customer"]]
        if self._pays(customer, self._subscription(invoice)["items"]["data"][0]["price"]):
            self.pay(invoice)
        else:
            self._decline(invoice)

    # Checkout

    def complete(self, session: Object, currency: str = "") -> Object:
        """Let the customer pay on the page of a checkout, in the currency of their country if it is said."""
        if session["status"] != "open":
            raise ValueError(f"the checkout is {session['status']}")
        customer, ordered = self.objects[session["customer"]], self.ordered[session["id"]]
        price, metadata, terms, trial_days = ordered
        terms = terms | ({"currency": self.paid_in(customer["id"], price, currency)} if currency else {})
        customer["invoice_settings"]["default_payment_method"] = "pm_double"
        made = self.subscribe(customer, price, metadata, "allow_incomplete", terms | self.trial(trial_days))
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

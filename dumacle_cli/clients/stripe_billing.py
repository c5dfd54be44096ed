"""Requests to Stripe about who pays for what: customers, checkouts, subscriptions, schedules, invoices and refunds.

They are part of `StripeAccount`, whose docstring says what they raise and how often they take effect.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stripe import RequestOptions

PAGE = 100
# What a phase of a schedule repeats from the subscription: it is lost where it is not given again.
PHASE = (
    "collection_method",
    "currency",
    "default_payment_method",
    "default_tax_rates",
    "description",
    "discounts",
    "metadata",
)
TAXED = {"automatic_tax": {"enabled": True}}
PHASE_ITEM = ("price", "quantity", "discounts", "metadata", "tax_rates")

Object = dict[str, Any]
Tags = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Terms:
    """What a sale agrees on beside the price: a coupon at Stripe, days before the first charge, and the currency.

    Without a currency, a page takes that of the customer's country if the price has it, and a direct sale the price's.
    """

    coupon: str = ""
    trial_days: int = 0
    currency: str = ""

    def noted(self) -> Tags:
        """Return the terms as the metadata of a page has them."""
        given = {name: getattr(self, name) for name in TERMS}
        return {name: str(value) for name, value in given.items() if value}

    def paid_in(self) -> Object:
        """Return the currency of a page or a new subscription."""
        return {"currency": self.currency} if self.currency else {}

    def discounts(self) -> Object:
        """Return the discounts of a new subscription."""
        return {"discounts": [{"coupon": self.coupon}]} if self.coupon else {}

    def trial(self) -> Object:
        """Return the trial of a new subscription."""
        return {"trial_period_days": self.trial_days} if self.trial_days else {}


PLAIN = Terms()
TERMS = ("coupon", "trial_days", "currency")
"""The names under which a page notes its terms."""


def once(operation: str, *request: object) -> "RequestOptions":
    """Return an idempotency key, different for each request of an operation: a reused one would be refused."""
    text = json.dumps([operation, *request], sort_keys=True)
    return {"idempotency_key": hashlib.sha256(text.encode()).hexdigest()}


def id_of(value: Any) -> str:
    """Return the id of an object that may be expanded, or an empty string for none."""
    return str(value["id"] if isinstance(value, dict) else value or "")


class BillingRequests:
    """The requests of an account about customers and what they are charged for."""

    tax: str
    promotion_codes: bool
    _api: Any

    def _ask(self, request: Callable[..., Any], *arguments: Any) -> Object:
        raise NotImplementedError

    def _each(self, request: Callable[..., Any], only: Object) -> Iterator[Object]:
        raise NotImplementedError

    # Customers and pages

    def create_customer(self, email: str, name: str, metadata: Tags, operation: str) -> Object:
        """Create a customer; the name may be empty."""
        given = {"email": email, "name": name, "metadata": dict(metadata)}
        return self._ask(self._api.customers.create, given, once(operation, "customer", given))

    def update_customer(self, customer: str, email: str, name: str) -> Object:
        """Change the e-mail address to which receipts go, and the name."""
        return self._ask(self._api.customers.update, customer, {"email": email, "name": name})

    def portal(self, customer: str, return_url: str, operation: str) -> Object:
        """Create a page (`url`, valid a few minutes) for the customer's invoices and payment methods."""
        given = {"customer": customer, "return_url": return_url}
        return self._ask(self._api.billing_portal.sessions.create, given, once(operation, "portal", given))

    def checkout(
        self,
        customer: str,
        price: str,
        success_url: str,
        cancel_url: str,
        metadata: Tags,
        operation: str,
        terms: Terms = PLAIN,
    ) -> Object:
        """Create a page (`url`, valid 24 hours) to subscribe by paying.

        Page and subscription get the metadata; that of the page also names the price and the terms.
        """
        given: Object = (
            {
                "mode": "subscription",
                "customer": customer,
                "line_items": [{"price": price, "quantity": 1}],
                "success_url": success_url,
                "cancel_url": cancel_url,
                "metadata": {**metadata, "price": price, **terms.noted()},
                "subscription_data": {"metadata": dict(metadata)} | terms.trial(),
            }
            | self._taxed()
            | terms.discounts()
            | terms.paid_in()
        )
        if self.promotion_codes and not terms.coupon:
            given["allow_promotion_codes"] = True
        if self.tax:
            # Where a customer lives is known once they have paid.
            given["customer_update"] = {"address": "auto"}
        return self._ask(self._api.checkout.sessions.create, given, once(operation, "checkout", given))

    def _taxed(self) -> Object:
        """Return how a new subscription is taxed."""
        return TAXED if self.tax else {}

    def open_checkouts(self, customer: str) -> list[Object]:
        """Return the pages on which a customer can still subscribe by paying, the newest first."""
        listed = self._each(self._api.checkout.sessions.list, {"customer": customer, "status": "open", "limit": PAGE})
        return [page for page in listed if page["mode"] == "subscription"]

    def expire_checkout(self, page: str) -> Object:
        """Close a page, so that nobody can pay there any more; raises StripeRefused if it was paid meanwhile."""
        return self._ask(self._api.checkout.sessions.expire, page)

    # Subscriptions

    def subscriptions(self, customer: str | None = None, price: str | None = None) -> Iterator[Object]:
        """Yield subscriptions of every status with their schedules, the newest first, in constant memory."""
        only = {"status": "all", "limit": PAGE, "expand": ["data.schedule"]}
        only |= {name: value for name, value in (("customer", customer), ("price", price)) if value}
        yield from map(self._complete, self._each(self._api.subscriptions.list, only))

    def _complete(self, found: Object) -> Object:
        """Add the items of a subscription that Stripe left out of its answer."""
        if found["items"].get("has_more"):
            every = self._each(self._api.subscription_items.list, {"subscription": found["id"], "limit": PAGE})
            found["items"] |= {"data": list(every), "has_more": False}
        return found

    def subscribe(self, customer: str, price: str, metadata: Tags, operation: str, terms: Terms = PLAIN) -> Object:
        """Subscribe a customer by charging the payment method on file; if that fails, nothing is created.

        A trial is charged when it ends.
        """
        given: Object = {
            "customer": customer,
            "items": [{"price": price}],
            "metadata": dict(metadata),
            "off_session": True,
            "payment_behavior": "error_if_incomplete",
        }
        given |= self._taxed() | terms.discounts() | terms.trial() | terms.paid_in()
        return self._ask(self._api.subscriptions.create, given, once(operation, "subscribe", given))

    def change(self, subscription: str, item: Object, operation: str) -> Object:
        """Give an item (id, price, quantity) another price now, prorated; if charging fails, nothing changes.

        Without the quantity Stripe would set it to 1.
        """
        given = {
            "items": [item],
            "proration_behavior": "create_prorations",
            "payment_behavior": "error_if_incomplete",
        }
        return self._ask(
            self._api.subscriptions.update, subscription, given, once(operation, "change", subscription, given)
        )

    def preview_change(self, subscription: str, item: Object) -> Object:
        """Return the next invoice as it would be after `change`; nothing is changed."""
        details = {"items": [item], "proration_behavior": "create_prorations"}
        return self._ask(
            self._api.invoices.create_preview, {"subscription": subscription, "subscription_details": details}
        )

    def change_later(
        self, subscription: str, old: str, new: str, interval: str, metadata: Tags, operation: str
    ) -> Object:
        """Replace a price by one of this interval at the end of the paid period; return the schedule.

        All else stays as it is: other items, quantities, discounts, tax rates.
        """
        begun = {"from_subscription": subscription}
        schedule = self._ask(
            self._api.subscription_schedules.create, begun, once(operation, "schedule", subscription, new)
        )
        present = schedule["phases"][0]
        kept = _given(present, PHASE) | (TAXED if (present.get("automatic_tax") or {}).get("enabled") else {})
        phases = [
            kept
            | {"start_date": present["start_date"], "end_date": present["end_date"]}
            | {"items": [_given(each, PHASE_ITEM) for each in present["items"]]}
            | ({"trial_end": present["trial_end"]} if present.get("trial_end") else {}),
            kept
            | {"duration": {"interval": interval}, "proration_behavior": "none"}
            | {"items": [_repriced(each, old, new) for each in present["items"]]},
        ]
        try:
            given = {"phases": phases, "end_behavior": "release", "metadata": dict(metadata)}
            return self._ask(self._api.subscription_schedules.update, schedule["id"], given)
        except Exception:
            self.release(schedule["id"])
            raise

    def release(self, schedule: str) -> Object:
        """Let a subscription go on as it is, without its schedule."""
        return self._ask(self._api.subscription_schedules.release, schedule)

    def cancel(self, subscription: str, *, now: bool, mixed: bool = False) -> Object:
        """End a subscription now, or at the end of the paid period; of the last one if the periods are `mixed`."""
        if now:
            return self._ask(self._api.subscriptions.cancel, subscription)
        given = {"cancel_at": "max_period_end"} if mixed else {"cancel_at_period_end": True}
        return self._ask(self._api.subscriptions.update, subscription, given)

    def keep(self, subscription: str, *, flag: bool, date: bool, paused: bool) -> Object:
        """Undo what ends or suspends a subscription: the `flag` or the `date` of its end, paused collection."""
        given: Object = {"cancel_at_period_end": False} if flag else {"cancel_at": ""} if date else {}
        given |= {"pause_collection": ""} if paused else {}
        return self._ask(self._api.subscriptions.update, subscription, given)

    def unpause(self, subscription: str) -> Object:
        """Resume a subscription whose status is paused; a new period begins and is charged."""
        return self._ask(self._api.subscriptions.resume, subscription)

    # Invoices and refunds

    def invoices(self, customer: str | None = None, subscription: str | None = None) -> Iterator[Object]:
        """Yield invoices, the newest first, in constant memory."""
        only: Object = {"limit": PAGE}
        only |= {name: value for name, value in (("customer", customer), ("subscription", subscription)) if value}
        return self._each(self._api.invoices.list, only)

    def lines(self, invoice: Object) -> list[Object]:
        """Return all lines of an invoice; its own list may be cut."""
        if not invoice["lines"]["has_more"]:
            return list(invoice["lines"]["data"])
        return list(self._each(partial(self._api.invoices.line_items.list, invoice["id"]), {"limit": PAGE}))

    def payments(self, invoice: str) -> list[tuple[str, int]]:
        """Return the payment intents that paid an invoice, with the amount of each."""
        listed = self._each(self._api.invoice_payments.list, {"invoice": invoice, "status": "paid", "limit": PAGE})
        intents = ((paid["payment"].get("payment_intent"), paid["amount_paid"]) for paid in listed)
        return [(id_of(intent), amount) for intent, amount in intents if intent]

    def refunds(self, payment: str) -> list[Object]:
        """Return the refunds of a payment intent."""
        return list(self._each(self._api.refunds.list, {"payment_intent": payment, "limit": PAGE}))

    def refund(self, payment: str, amount: int, operation: str) -> Object:
        """Refund an amount of a payment intent; Stripe refuses more than was paid."""
        given = {"payment_intent": payment, "amount": amount}
        return self._ask(self._api.refunds.create, given, once(operation, "refund", given))


def _given(found: Object, names: tuple[str, ...]) -> Object:
    """Return what of an object has to be given again, as parameters."""
    return {name: _ids(found[name]) for name in names if found.get(name)}


def _repriced(each: Object, old: str, new: str) -> Object:
    """Return an item of a phase, with the new price in place of the old one."""
    kept = _given(each, PHASE_ITEM)
    return kept | {"price": new} if kept["price"] == old else kept


def _ids(value: Any) -> Any:
    """Replace expanded objects by their ids."""
    if isinstance(value, list):
        return [_ids(each) for each in value]
    return id_of(value) if isinstance(value, dict) and "object" in value else value

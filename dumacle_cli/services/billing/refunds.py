"""Invoices at Stripe, and refunds of what was paid.

A refund is a sum to arrive at: what was refunded before counts, so that a repeat refunds nothing twice.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy.orm import Session

from dumacle_cli.clients.stripe_billing import id_of
from dumacle_cli.errors import Conflict, NotFound
from dumacle_cli.services.billing import BillingContext, subscriptions
from dumacle_cli.services.billing.objects import targets
from dumacle_cli.services.billing.subscriptions import Subscription
from dumacle_cli.store import stripe as store
from dumacle_cli.units import SecretUrl, show_price

if TYPE_CHECKING:
    from dumacle_cli.clients.stripe import Object

Share = Literal["none", "prorated", "full"]


@dataclass(frozen=True, slots=True)
class Invoice:
    """An invoice; amounts in the currency. Anyone who has the link sees it and can pay it."""

    id: str
    customer_id: str
    subscription: str | None
    status: str
    total: str
    paid: str
    currency: str
    created_at: datetime
    next_attempt_at: datetime | None


@dataclass(frozen=True, slots=True)
class Line:
    """A line of an invoice, for a period."""

    description: str
    amount: str
    period_start: datetime
    period_end: datetime


@dataclass(frozen=True, slots=True)
class InvoiceDetail(Invoice):
    """An invoice with its lines, how much of it was refunded, and the page where it can be paid."""

    refunded: str
    lines: list[Line]
    url: SecretUrl | None


@dataclass(frozen=True, slots=True)
class Refund:
    """A refund of an invoice: how much now, and how much in all."""

    invoice: str
    amount: str
    refunded: str
    currency: str


@dataclass(frozen=True, slots=True)
class Due:
    """What is to be refunded of one payment, in minor units."""

    invoice: str
    payment: str
    amount: int
    currency: str


@dataclass(frozen=True, slots=True)
class Canceled(Subscription):
    """A canceled subscription, and how much was refunded, such as `9.99 EUR`."""

    refunded: str | None


def canceled(found: Subscription, due: list[Due]) -> Canceled:
    """Return a canceled subscription with its refund."""
    return Canceled(**asdict(found), refunded=total(due) if due else None)


def stop(session: Session, reference: str) -> tuple[Canceled, bool]:
    """End a user's unbilled subscription now; raises NotFound, or Conflict if Stripe bills it."""
    ended, changed = subscriptions.stop(session, reference)
    return canceled(ended, []), changed


def show_amount(minor: int, currency: str) -> str:
    """Show minor units of a currency, also less than nothing."""
    return f"-{show_price(-minor, currency)}" if minor < 0 else show_price(minor, currency)


# Invoices


def invoices(context: BillingContext, customer: str | None) -> Iterator[Invoice]:
    """Yield the invoices of a customer, or of all customers of users here, the newest first."""
    for found in context.stripe.invoices(customer):
        with context.database.session(read_only=True) as session:
            known = customer or store.known_customers(session, [id_of(found["customer"])])
        if known:
            yield Invoice(**_facts(found))


def invoice(context: BillingContext, invoice_id: str) -> InvoiceDetail:
    """Return an invoice of a user; raises NotFound."""
    found = _find(context, invoice_id)
    currency = found["currency"]
    return InvoiceDetail(
        **_facts(found),
        refunded=show_amount(sum(_refunded(context, payment) for payment, _ in _payments(context, found)), currency),
        lines=[_line(line, currency) for line in context.stripe.lines(found)],
        url=found["hosted_invoice_url"],
    )


def _find(context: BillingContext, invoice_id: str) -> "Object":
    found = context.stripe.fetch("invoice", invoice_id)
    if found:
        with context.database.session(read_only=True) as session:
            known = store.known_customers(session, [id_of(found["customer"])])
        if known:
            return found
    raise NotFound("invoice", invoice_id)


def _facts(found: "Object") -> dict[str, Any]:
    currency, attempt = found["currency"], found["next_payment_attempt"]
    return {
        "id": found["id"],
        "customer_id": id_of(found["customer"]),
        "subscription": next((id_ for _, id_ in targets("invoice", found)), None),
        "status": found["status"],
        "total": show_amount(found["total"], currency),
        "paid": show_amount(found["amount_paid"], currency),
        "currency": currency.upper(),
        "created_at": datetime.fromtimestamp(found["created"], UTC),
        "next_attempt_at": datetime.fromtimestamp(attempt, UTC) if attempt else None,
    }


def _line(found: "Object", currency: str) -> Line:
    start, end = (datetime.fromtimestamp(found["period"][side], UTC) for side in ("start", "end"))
    return Line(found["description"] or "", show_amount(found["amount"], currency), start, end)


# Refunds


def due_of_subscription(context: BillingContext, subscription: str, share: Share, at: datetime) -> list[Due]:
    """Return what is to be refunded of a subscription that ends at a time, of the invoices for the time after it.

    `full` is all that they were paid with, `prorated` the share of their time that is left.
    """
    found = context.stripe.invoices(subscription=subscription) if share != "none" else ()
    return [due for each in found if each["amount_paid"] > 0 for due in _due_after(context, each, share, at)]


def _due_after(context: BillingContext, found: "Object", share: Share, at: datetime) -> list[Due]:
    left = _left(context.stripe.lines(found), at.timestamp())
    goal = found["amount_paid"] if share == "full" and left else int(found["amount_paid"] * left)
    return _due(context, found, goal) if goal else []


def _left(lines: "list[Object]", at: float) -> Fraction:
    """Return the share of an invoice that is for the time after `at`, by its lines."""
    total = sum(line["amount"] for line in lines)
    if total <= 0:
        return Fraction(0)
    left: Fraction = sum((_later(line, int(at)) for line in lines), Fraction(0)) / total
    return min(Fraction(1), max(Fraction(0), left))


def _later(line: "Object", at: int) -> Fraction:
    start, end = line["period"]["start"], line["period"]["end"]
    if end <= start:
        return Fraction(0)
    return Fraction(line["amount"] * min(end - start, max(0, end - at)), end - start)


def _due(context: BillingContext, found: "Object", goal: int) -> list[Due]:
    """Return what is still to be refunded of each payment of an invoice, so that `goal` is refunded in all."""
    paid = _payments(context, found)
    before = {payment: _refunded(context, payment) for payment, _ in paid}
    rest, due = goal - sum(before.values()), []
    for payment, amount in paid:
        part = min(rest, amount - before[payment])
        if part > 0:
            due.append(Due(found["id"], payment, part, found["currency"]))
            rest -= part
    if rest > 0 and not due and not sum(before.values()):
        reason = f"invoice {found['id']} was not paid through Stripe"
        raise Conflict(reason=reason, advice="refund it the way it was paid, and give --refund none")
    return due


def _payments(context: BillingContext, found: "Object") -> list[tuple[str, int]]:
    return context.stripe.payments(found["id"])


def _refunded(context: BillingContext, payment: str) -> int:
    failed = ("failed", "canceled")
    return sum(each["amount"] for each in context.stripe.refunds(payment) if each["status"] not in failed)


def total(due: list[Due]) -> str:
    """Show what is due in all, such as `9.99 EUR`."""
    currency = due[0].currency
    return f"{show_amount(sum(each.amount for each in due), currency)} {currency.upper()}"


def pay_back(context: BillingContext, due: list[Due]) -> None:
    """Refund what is due; raises StripeRefused."""
    for each in due:
        context.stripe.refund(each.payment, each.amount, context.operation)


def due_of_invoice(context: BillingContext, invoice_id: str, amount: int | None) -> tuple[Refund, list[Due]]:
    """Return the refund of an amount of an invoice, in minor units, or of the rest; raises NotFound or Conflict."""
    found = _find(context, invoice_id)
    before = sum(_refunded(context, payment) for payment, _ in _payments(context, found))
    rest = found["amount_paid"] - before
    if amount is not None and amount > rest:
        left = f"{show_amount(rest, found['currency'])} {found['currency'].upper()}"
        raise Conflict(reason=f"only {left} of invoice {invoice_id} can be refunded", advice="give a smaller --amount")
    now = rest if amount is None else amount
    due = _due(context, found, before + now) if now else []
    amounts = {"amount": now, "refunded": before + now}
    shown = {name: show_amount(minor, found["currency"]) for name, minor in amounts.items()}
    return Refund(invoice_id, **shown, currency=found["currency"].upper()), due


def currency_of(context: BillingContext, invoice_id: str) -> str:
    """Return the currency of an invoice of a user; raises NotFound."""
    return str(_find(context, invoice_id)["currency"])

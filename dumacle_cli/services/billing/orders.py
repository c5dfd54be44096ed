"""Orders: sell plans through Stripe, by a payment page or by charging the payment method on file.

These functions live longer than a transaction: none is open during a request to Stripe. What Stripe returns is applied
at once, so that nobody has to wait for the event.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy.orm import Session

from dumacle_cli.clients.stripe import Tags
from dumacle_cli.errors import Conflict, SaleBusy, UserDisabled
from dumacle_cli.escapes import quoted
from dumacle_cli.services import users
from dumacle_cli.services.billing import BillingContext, apply, catalog, inbox, subscriptions
from dumacle_cli.services.billing.objects import tags
from dumacle_cli.services.billing.subscriptions import Subscription
from dumacle_cli.store import stripe
from dumacle_cli.units import SecretUrl


@dataclass(frozen=True, slots=True)
class Buyer:
    """A user whom Stripe bills, with their customer there if it exists, and the tags of objects made for them."""

    id: int
    email: str
    name: str
    customer: str | None
    tags: Tags


@dataclass(frozen=True, slots=True)
class Order:
    """The plan and price that a user buys, and the subscription for which Stripe bills them already."""

    buyer: Buyer
    plan: str
    price: str
    present: Subscription | None


@dataclass(frozen=True, slots=True)
class Sale:
    """The result of an order; `open` means that the user has yet to pay on the page behind the link."""

    user: str
    plan: str
    status: str
    stripe_id: str | None
    current_period_end: datetime | None
    url: SecretUrl | None


@dataclass(frozen=True, slots=True)
class Portal:
    """A link to Stripe's page for a customer; anyone who has it can change payment methods and see invoices."""

    user: str
    customer_id: str | None
    url: SecretUrl | None


# Customers


def buyer(session: Session, reference: str, installation: str) -> Buyer:
    """Return the user to bill; raises NotFound or UserDisabled."""
    user = users.get(session, reference)
    if user.status == "disabled":
        raise UserDisabled(user=user.email)
    customer = stripe.customer_of(session, user.id)
    return Buyer(user.id, user.email, user.name, customer, tags(installation, user=str(user.id)))


def ensure_customer(context: BillingContext, user: Buyer) -> str:
    """Return the id of a user's customer at Stripe, created if there is none."""
    if user.customer:
        return user.customer
    # The operation is named after the user, so that two commands at once create one customer.
    made = context.stripe.create_customer(user.email, user.name, user.tags, f"customer:{user.id}")
    # Stripe repeats that answer for a day, even if the customer was deleted since.
    if context.stripe.fetch("customer", made["id"]) is None:
        made = context.stripe.create_customer(user.email, user.name, user.tags, context.operation)
    with context.database.session() as session:
        return stripe.save_customer(session, user.id, made["id"])


@contextmanager
def locked(context: BillingContext, customer: str, user: str) -> Iterator[None]:
    """Keep other commands from charging a customer, by the lease on the customer's object; raises SaleBusy."""
    with context.database.session() as session:
        inbox.request_refresh(session, [("customer", customer)], context.stripe.livemode)
        claim = stripe.claim(session, customer, apply.LEASE_S)
    if claim is None:
        raise SaleBusy(user=user)
    try:
        yield
    finally:
        with context.database.session() as session:
            stripe.postpone(session, claim, "a sale was in progress", 0)
        # A refresh may have been requested while the customer was locked.
        apply.apply_object(context, customer)


def portal(context: BillingContext, user: Buyer, return_url: str) -> Portal:
    """Create a link to Stripe's customer portal for a user."""
    customer = ensure_customer(context, user)
    return Portal(user.email, customer, context.stripe.portal(customer, return_url, context.operation)["url"])


# Orders


def order(session: Session, reference: str, plan: str, installation: str) -> Order:
    """Return the order of a plan; raises NotFound, UserDisabled, or Conflict if the plan is not for sale."""
    user = buyer(session, reference, installation)
    price = catalog.price_for_sale(session, plan)
    return Order(user, plan, price, subscriptions.billed(session, user.id))


def completed(wanted: Order) -> Sale | None:
    """Return the result of the same order made before, or None; raises Conflict if Stripe bills for another plan."""
    if wanted.present and wanted.present.plan != wanted.plan:
        reason = f"Stripe already bills {wanted.buyer.email} for plan {wanted.present.plan}"
        raise Conflict(reason=reason, advice=f"dumacle plans change {quoted(wanted.buyer.email)} {quoted(wanted.plan)}")
    return sale(wanted.present) if wanted.present else None


def sale(found: Subscription) -> Sale:
    """Return the sale that led to a subscription."""
    return Sale(found.user, found.plan, found.status, found.stripe_id, found.current_period_end, None)


def preview(wanted: Order, status: str) -> Sale:
    """Return the result that an order would have."""
    return Sale(wanted.buyer.email, wanted.plan, status, None, None, None)


def checkout(context: BillingContext, wanted: Order, success_url: str, cancel_url: str) -> Sale:
    """Create a page on which the user subscribes by paying; raises Conflict if Stripe bills them already."""
    customer = ensure_customer(context, wanted.buyer)
    _refuse_second(context, wanted, customer)
    page = context.stripe.checkout(
        customer, wanted.price, success_url, cancel_url, wanted.buyer.tags, context.operation
    )
    return replace(preview(wanted, page["status"]), url=page["url"])


def subscribe(context: BillingContext, wanted: Order) -> Sale:
    """Subscribe a user by charging the payment method on file.

    Raises Conflict if Stripe bills them already, SaleBusy while another command subscribes them, or StripeRefused if
    the payment fails; then nothing is created.
    """
    customer = ensure_customer(context, wanted.buyer)
    with locked(context, customer, wanted.buyer.email):
        _refuse_second(context, wanted, customer)
        found = context.stripe.subscribe(customer, wanted.price, wanted.buyer.tags, context.operation)
    made = subscriptions.applied(context, wanted.buyer.email, found)
    return replace(preview(wanted, made.status), stripe_id=made.id, current_period_end=made.period_end)


def _refuse_second(context: BillingContext, wanted: Order, customer: str) -> None:
    """Refuse an order if Stripe itself lists a billed subscription: its event may not have arrived yet."""
    for found in context.stripe.subscriptions(customer):
        if found["status"] in subscriptions.BILLED:
            email = quoted(wanted.buyer.email)
            reason = f"Stripe already bills {wanted.buyer.email}, for {found['id']}"
            advice = f"dumacle plans sync --user {email}, then: dumacle plans change {email} {quoted(wanted.plan)}"
            raise Conflict(reason=reason, advice=advice)

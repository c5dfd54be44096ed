"""Selling: what Stripe bills. Stripe is asked outside of any transaction, so these live longer than one.

What Stripe answers is applied at once, as its event would be, so that nobody has to wait for the event.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from sqlalchemy.orm import Session

from dumacle_cli.clients.billing import Object
from dumacle_cli.errors import Conflict, NotMirrored
from dumacle_cli.escapes import quoted
from dumacle_cli.services import customers, mirror, subscriptions
from dumacle_cli.services.billing import refresh
from dumacle_cli.services.customers import Buyer, Till
from dumacle_cli.services.subscriptions import Subscription
from dumacle_cli.store import models
from dumacle_cli.units import SecretUrl


@dataclass(frozen=True, slots=True)
class Deal:
    """What a user is to be sold, and what Stripe bills him for already."""

    buyer: Buyer
    plan: str
    price: str
    present: Subscription | None


@dataclass(frozen=True, slots=True)
class Sale:
    """What a user subscribed to; with status `open` it is a checkout that waits behind its link to be paid."""

    user: str
    plan: str
    status: str
    stripe_id: str | None
    current_period_end: datetime | None
    url: SecretUrl | None


def deal(session: Session, reference: str, plan: str, installation: str) -> Deal:
    """Return what a sale needs to know; raises NotFound, UserDisabled, or Conflict where the plan is not on sale."""
    user = customers.buyer(session, reference, installation)
    price = subscriptions.on_sale(session, plan).stripe_price_id
    if price is None:
        raise Conflict(reason=f"Stripe does not sell plan {plan} yet", advice=f"dumacle plans push {quoted(plan)}")
    return Deal(user, plan, price, subscriptions.billed(session, user.id))


def settled(wanted: Deal) -> Sale | None:
    """Return what came of this sale earlier, or None; raises Conflict where Stripe bills the user for another plan."""
    if wanted.present and wanted.present.plan != wanted.plan:
        reason = f"Stripe bills {wanted.buyer.email} for plan {wanted.present.plan} already"
        raise Conflict(reason=reason, advice=f"dumacle plans change {quoted(wanted.buyer.email)} {quoted(wanted.plan)}")
    return sold(wanted.present) if wanted.present else None


def sold(found: Subscription) -> Sale:
    """Turn a subscription into what came of its sale."""
    return Sale(found.user, found.plan, found.status, found.stripe_id, found.current_period_end, None)


def foresee(wanted: Deal, status: str) -> Sale:
    """Return what a sale would come to."""
    return Sale(wanted.buyer.email, wanted.plan, status, None, None, None)


def checkout(till: Till, wanted: Deal, success_url: str, cancel_url: str) -> Sale:
    """Open a page on which the user subscribes by paying; raises Conflict where he is subscribed at Stripe."""
    customer = customers.ensure(till, wanted.buyer)
    _refuse_second(till, wanted, customer)
    page = till.billing.checkout(customer, wanted.price, success_url, cancel_url, wanted.buyer.tags, till.operation)
    return replace(foresee(wanted, page["status"]), url=page["url"])


def subscribe(till: Till, wanted: Deal) -> Sale:
    """Subscribe a user by the payment method that Stripe has of him.

    Raises Conflict where he is subscribed at Stripe, SaleBusy while another command subscribes him, or StripeRefused
    where he cannot be charged; then nothing is made.
    """
    buyer = wanted.buyer
    customer = customers.ensure(till, buyer)
    with customers.held(till, customer, buyer.email):
        _refuse_second(till, wanted, customer)
        found = till.billing.subscribe(customer, wanted.price, buyer.tags, till.operation)
    made = _applied(till, buyer.email, found)
    return replace(foresee(wanted, made.status), stripe_id=made.id, current_period_end=made.period_end)


def change(till: Till, present: Subscription, wanted: Deal) -> Subscription:
    """Move a subscription to another plan at once, in proportion to the rest of the period.

    Raises StripeRefused, and then nothing is changed.
    """
    found = till.billing.change(_at_stripe(till, present), wanted.price, till.operation)
    return _as_applied(till, moved(present, wanted.plan), found)


def cancel(till: Till, present: Subscription, *, now: bool) -> Subscription:
    """Let a subscription end with the period that is paid, or now."""
    found = _at_stripe(till, present)
    if found["status"] not in models.plans.FINAL_STATUSES:
        found = till.billing.cancel(found["id"], now=now)
    return _as_applied(till, present, found)


def moved(present: Subscription, plan: str) -> Subscription:
    """Return what a subscription is after its move to another plan."""
    return replace(present, plan=plan)


def canceled(present: Subscription, *, now: bool) -> Subscription:
    """Return what a subscription is after its cancellation."""
    if not now:
        return replace(present, cancel_at_period_end=True)
    return replace(present, status="canceled", ended_at=datetime.now(UTC))


def _refuse_second(till: Till, wanted: Deal, customer: str) -> None:
    """Ask Stripe itself, because an event that says so may be on its way still."""
    for found in till.billing.subscriptions(customer):
        if found["status"] in subscriptions.BILLED:
            email = quoted(wanted.buyer.email)
            reason = f"Stripe bills {wanted.buyer.email} already, for {found['id']}"
            advice = f"dumacle plans sync --user {email}, then: dumacle plans change {email} {quoted(wanted.plan)}"
            raise Conflict(reason=reason, advice=advice)


def _at_stripe(till: Till, present: Subscription) -> Object:
    found = till.billing.fetch("subscription", present.stripe_id or "")
    if found is None:
        reason = f"Stripe does not know subscription {present.stripe_id} of {present.user}"
        raise Conflict(reason=reason, advice=f"dumacle plans sync --user {quoted(present.user)}")
    return found


def _as_applied(till: Till, present: Subscription, found: Object) -> Subscription:
    state = _applied(till, present.user, found)
    return replace(
        present,
        status=state.status,
        current_period_start=state.period_start,
        current_period_end=state.period_end,
        cancel_at_period_end=state.cancel_at_period_end,
        ended_at=state.ended_at,
    )


def _applied(till: Till, user: str, found: Object) -> mirror.Subscription:
    """Apply what Stripe answered, or leave it to the worker that is at it already; returns what it says."""
    status = refresh(till.database, till.billing, ("subscription", found["id"]), till.installation)
    if status not in ("applied", None):
        raise NotMirrored(subscription=found["id"], user=user)
    return mirror.read(found)

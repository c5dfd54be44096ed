"""Subscriptions: the plan of each user. Unbilled ones are changed in the database, billed ones at Stripe."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from sqlalchemy.orm import Session

from dumacle_cli.errors import Conflict, NotFound, NotMirrored, UsageError
from dumacle_cli.escapes import quoted
from dumacle_cli.ids import parse_id
from dumacle_cli.services import plans, users
from dumacle_cli.services.billing import BillingContext, apply
from dumacle_cli.services.billing.objects import SubscriptionState, subscription_state
from dumacle_cli.store import models, paging
from dumacle_cli.store import subscriptions as store

if TYPE_CHECKING:
    from dumacle_cli.clients.stripe import Object

Status = Literal["active", "trialing", "past_due", "unpaid", "canceled", "incomplete", "incomplete_expired", "paused"]

# Not `incomplete`: its first payment never succeeded, so the user may still subscribe.
BILLED = ("active", "trialing", "past_due", "unpaid", "paused")


@dataclass(frozen=True, slots=True)
class Subscription:
    """A user's plan, with the status names of Stripe; a subscription without `stripe_id` is unbilled."""

    id: int
    user: str
    plan: str
    status: str
    stripe_id: str | None
    current_period_start: datetime | None
    current_period_end: datetime | None
    cancel_at_period_end: bool
    started_at: datetime
    ended_at: datetime | None

    @property
    def is_billed(self) -> bool:
        """Whether Stripe bills the subscription, so that it has to be changed there."""
        return self.stripe_id is not None and self.status not in models.plans.FINAL_STATUSES


def view(found: store.Found) -> Subscription:
    """Convert a row to the result that commands print."""
    row, user, plan = found
    return Subscription(
        id=row.id,
        user=user,
        plan=plan,
        status=row.status,
        stripe_id=row.stripe_subscription_id,
        current_period_start=row.current_period_start,
        current_period_end=row.current_period_end,
        cancel_at_period_end=row.cancel_at_period_end,
        started_at=row.started_at,
        ended_at=row.ended_at,
    )


# Reading


def list_(
    session: Session, *, status: str | None, plan: str, user: str, after: str | None, limit: int
) -> paging.Page[Subscription]:
    """Return a page of subscriptions, including ended ones; raises NotFound."""
    plan_id = plans.get(session, plan).id if plan else None
    user_id = users.get_any(session, user).id if user else None
    found = store.page(session, status=status, plan_id=plan_id, user_id=user_id, after=after, limit=limit)
    return paging.Page([view(row) for row in found.items], found.after)


def show(session: Session, reference: str) -> Subscription:
    """Return a subscription by its id, its Stripe id or its user's e-mail; raises NotFound."""
    return _view_or_raise(_find(session, reference), reference)


def of(session: Session, reference: str) -> Subscription:
    """Return the current subscription of a user, or their last one; raises NotFound."""
    return _of(session, users.get_any(session, reference))


def _of(session: Session, user: models.User) -> Subscription:
    return _view_or_raise(store.latest(session, user.id), f"of {user.email}")


def _view_or_raise(found: store.Found | None, name: str) -> Subscription:
    if found is None:
        raise NotFound("subscription", name)
    return view(found)


def _find(session: Session, reference: str) -> store.Found | None:
    if "@" in reference:
        return store.latest(session, users.get_any(session, reference).id)
    if (id_ := parse_id(reference)) is not None:
        return store.find(session, id_)
    return store.find_at_stripe(session, reference) if reference.isprintable() else None


def billed(session: Session, user_id: int) -> Subscription | None:
    """Return the subscription for which Stripe bills a user now, or None."""
    found = store.latest(session, user_id)
    return view(found) if found and view(found).is_billed and found[0].status in BILLED else None


# Unbilled subscriptions


def give(session: Session, reference: str, plan: str) -> tuple[Subscription, bool]:
    """Subscribe a user to an unbilled plan, in place of another unbilled one.

    Raises NotFound, UsageError if the plan is sold at Stripe, or Conflict if Stripe bills the user.
    """
    user = users.get(session, reference, lock=True)
    if plans.for_sale(session, plan).stripe_price_id:
        raise UsageError(f"plan {plan} is sold at Stripe: give --checkout or --direct", "dumacle plans subscribe")
    changed = plans.assign(session, user, plan)
    return _of(session, user), changed


def move(session: Session, reference: str, plan: str) -> tuple[Subscription, bool]:
    """Move a user from one unbilled plan to another; raises the errors of `give`, or NotFound."""
    user = users.get(session, reference, lock=True)
    if store.current(session, user.id) is None:
        raise NotFound("subscription", f"of {user.email} that has not ended")
    return give(session, reference, plan)


def stop(session: Session, reference: str) -> tuple[Subscription, bool]:
    """End a user's unbilled subscription now; raises NotFound, or Conflict if Stripe bills it."""
    user = users.get_any(session, reference, lock=True)
    changed = plans.unassign(session, user)
    return _of(session, user), changed


# Billed subscriptions: no transaction is open during a request to Stripe


def change(context: BillingContext, current: Subscription, plan: str, price: str) -> Subscription:
    """Move a subscription to another plan now, prorated; raises StripeRefused if nothing was changed."""
    found = context.stripe.change(_at_stripe(context, current), price, context.operation)
    return _updated(context, preview_change(current, plan), found)


def cancel(context: BillingContext, current: Subscription, *, now: bool) -> Subscription:
    """End a subscription now, or at the end of the paid period."""
    found = _at_stripe(context, current)
    if found["status"] not in models.plans.FINAL_STATUSES:
        found = context.stripe.cancel(found["id"], now=now)
    return _updated(context, current, found)


def preview_change(current: Subscription, plan: str) -> Subscription:
    """Return a subscription as it would be after a move to another plan."""
    return replace(current, plan=plan)


def preview_cancel(current: Subscription, *, now: bool) -> Subscription:
    """Return a subscription as it would be after its cancellation."""
    if not now:
        return replace(current, cancel_at_period_end=True)
    return replace(current, status="canceled", ended_at=datetime.now(UTC))


def _at_stripe(context: BillingContext, current: Subscription) -> "Object":
    found = context.stripe.fetch("subscription", current.stripe_id or "")
    if found is None:
        reason = f"Stripe has no subscription {current.stripe_id} of {current.user}"
        raise Conflict(reason=reason, advice=f"dumacle plans sync --user {quoted(current.user)}")
    return found


def _updated(context: BillingContext, current: Subscription, found: "Object") -> Subscription:
    state = applied(context, current.user, found)
    return replace(
        current,
        status=state.status,
        current_period_start=state.period_start,
        current_period_end=state.period_end,
        cancel_at_period_end=state.cancel_at_period_end,
        ended_at=state.ended_at,
    )


def applied(context: BillingContext, user: str, found: "Object") -> SubscriptionState:
    """Apply a subscription that Stripe returned, unless a worker is already applying it; raises NotMirrored."""
    status = apply.refresh(context, ("subscription", found["id"]))
    if status not in ("applied", None):
        raise NotMirrored(subscription=found["id"], user=user)
    return subscription_state(found)

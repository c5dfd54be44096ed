"""Subscriptions: which plan a user is on. Unbilled ones are changed here, billed ones at Stripe."""

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

# Not `incomplete`: it was never paid, so the user may still buy.
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
    """Turn a row into what commands show."""
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
    """Return the subscription of a user, or with this id here or at Stripe; raises NotFound."""
    return _known(_find(session, reference), reference)


def of(session: Session, reference: str) -> Subscription:
    """Return the current subscription of a user, or their last one; raises NotFound."""
    return _of(session, users.get_any(session, reference))


def _of(session: Session, user: models.User) -> Subscription:
    return _known(store.latest(session, user.id), f"of {user.email}")


def _known(found: store.Found | None, name: str) -> Subscription:
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
    """Put a user on an unbilled plan; it replaces another unbilled one.

    Raises NotFound, UsageError if the plan is sold at Stripe, or Conflict if Stripe bills the user.
    """
    user = users.get(session, reference, lock=True)
    if plans.for_sale(session, plan).stripe_price_id:
        raise UsageError(f"plan {plan} is sold at Stripe: give --checkout or --direct", "dumacle plans subscribe")
    changed = plans.assign(session, user, plan)
    return _of(session, user), changed


def move(session: Session, reference: str, plan: str) -> tuple[Subscription, bool]:
    """Move a user from one unbilled plan to another; raises as `give`, or NotFound."""
    user = users.get(session, reference, lock=True)
    if store.current(session, user.id) is None:
        raise NotFound("subscription", f"of {user.email} that has not ended")
    return give(session, reference, plan)


def stop(session: Session, reference: str) -> tuple[Subscription, bool]:
    """End a user's unbilled subscription now; raises NotFound, or Conflict if Stripe bills it."""
    user = users.get_any(session, reference, lock=True)
    changed = plans.unassign(session, user)
    return _of(session, user), changed


# Billed subscriptions: these live longer than a transaction, none is open during a request to Stripe


def change(context: BillingContext, present: Subscription, plan: str, price: str) -> Subscription:
    """Move a subscription to another plan now, prorated; raises StripeRefused, and then nothing is changed."""
    found = context.stripe.change(_at_stripe(context, present), price, context.operation)
    return _updated(context, preview_change(present, plan), found)


def cancel(context: BillingContext, present: Subscription, *, now: bool) -> Subscription:
    """End a subscription now, or at the end of the paid period."""
    found = _at_stripe(context, present)
    if found["status"] not in models.plans.FINAL_STATUSES:
        found = context.stripe.cancel(found["id"], now=now)
    return _updated(context, present, found)


def preview_change(present: Subscription, plan: str) -> Subscription:
    """Return a subscription as it would be after a move to another plan."""
    return replace(present, plan=plan)


def preview_cancel(present: Subscription, *, now: bool) -> Subscription:
    """Return a subscription as it would be after its cancellation."""
    if not now:
        return replace(present, cancel_at_period_end=True)
    return replace(present, status="canceled", ended_at=datetime.now(UTC))


def _at_stripe(context: BillingContext, present: Subscription) -> "Object":
    found = context.stripe.fetch("subscription", present.stripe_id or "")
    if found is None:
        reason = f"Stripe has no subscription {present.stripe_id} of {present.user}"
        raise Conflict(reason=reason, advice=f"dumacle plans sync --user {quoted(present.user)}")
    return found


def _updated(context: BillingContext, present: Subscription, found: "Object") -> Subscription:
    state = applied(context, present.user, found)
    return replace(
        present,
        status=state.status,
        current_period_start=state.period_start,
        current_period_end=state.period_end,
        cancel_at_period_end=state.cancel_at_period_end,
        ended_at=state.ended_at,
    )


def applied(context: BillingContext, user: str, found: "Object") -> SubscriptionState:
    """Apply a subscription that Stripe just returned, unless a worker has claimed it; raises NotMirrored."""
    status = apply.refresh(context, ("subscription", found["id"]))
    if status not in ("applied", None):
        raise NotMirrored(subscription=found["id"], user=user)
    return subscription_state(found)

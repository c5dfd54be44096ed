"""Subscriptions: which plan a user is on. Those changed here are billed by nobody; `selling` changes Stripe's."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy.orm import Session

from dumacle_cli.errors import Conflict, NoSuchSubscription, UsageError
from dumacle_cli.escapes import quoted
from dumacle_cli.ids import parse_id
from dumacle_cli.services import plans, users
from dumacle_cli.store import models, paging
from dumacle_cli.store import subscriptions as store

Status = Literal["active", "trialing", "past_due", "unpaid", "canceled", "incomplete", "incomplete_expired", "paused"]

# One that was never paid, and is incomplete, keeps nobody from buying.
BILLED = ("active", "trialing", "past_due", "unpaid", "paused")


@dataclass(frozen=True, slots=True)
class Subscription:
    """A user's plan, in Stripe's words; one that has no id at Stripe is billed by nobody."""

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
        """Whether Stripe bills it, so that it is changed and canceled there."""
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


def list_(
    session: Session, *, status: str | None, plan: str, user: str, after: str | None, limit: int
) -> paging.Page[Subscription]:
    """Return a page of subscriptions, also of those that ended; raises NotFound."""
    plan_id = plans.get(session, plan).id if plan else None
    user_id = users.get_any(session, user).id if user else None
    found = store.page(session, status=status, plan_id=plan_id, user_id=user_id, after=after, limit=limit)
    return paging.Page([view(row) for row in found.items], found.after)


def show(session: Session, reference: str) -> Subscription:
    """Return the subscription of this id, here or at Stripe, or a user's; raises NotFound or NoSuchSubscription."""
    return _known(_find(session, reference), reference)


def of(session: Session, reference: str) -> Subscription:
    """Return the subscription of a user that has not ended, else his last; raises NotFound or NoSuchSubscription."""
    return _of(session, users.get_any(session, reference))


def _of(session: Session, user: models.User) -> Subscription:
    return _known(store.latest(session, user.id), f"of {user.email}")


def _known(found: store.Found | None, name: str) -> Subscription:
    if found is None:
        raise NoSuchSubscription(name=name)
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


def on_sale(session: Session, name: str) -> models.Plan:
    """Return a plan that can be subscribed to; raises NotFound, or Conflict where it is archived."""
    plan = plans.get(session, name)
    if plan.archived_at:
        raise Conflict(reason=f"plan {name} is archived", advice=f"dumacle plans restore {quoted(name)}")
    return plan


# Those that nobody bills


def give(session: Session, reference: str, plan: str) -> tuple[Subscription, bool]:
    """Put a user on a plan that nobody bills, also in place of another such one.

    Raises NotFound, UsageError where the plan is sold at Stripe, or Conflict where Stripe bills the user's present one.
    """
    user = users.get(session, reference, lock=True)
    _refuse_sold(session, plan)
    changed = switch(session, user, plan)
    return _of(session, user), changed


def move(session: Session, reference: str, plan: str) -> tuple[Subscription, bool]:
    """Move a user from one plan that nobody bills to another; raises as `give`, or NoSuchSubscription."""
    user = users.get(session, reference, lock=True)
    if store.live(session, user.id) is None:
        raise NoSuchSubscription(name=f"of {user.email} that has not ended")
    return give(session, reference, plan)


def _refuse_sold(session: Session, plan: str) -> None:
    if on_sale(session, plan).stripe_price_id:
        raise UsageError(f"plan {plan} is sold at Stripe: give --checkout or --direct", "dumacle plans subscribe")


def stop(session: Session, reference: str) -> tuple[Subscription, bool]:
    """End a user's subscription that nobody bills, at once; raises NotFound, or Conflict where Stripe bills it."""
    user = users.get_any(session, reference, lock=True)
    found = store.live(session, user.id)
    if found:
        _end(session, user, found[0])
    return _of(session, user), found is not None


def switch(session: Session, user: models.User, name: str) -> bool:
    """Put a user on a plan at once: usage carries on, the plan's default pod is granted, other grants stay.

    Returns whether he was not on it before. Raises NotFound, or Conflict where Stripe bills his present one.
    """
    found = store.live(session, user.id)
    if found and found[1] == name and found[0].status in models.plans.ENTITLED_STATUSES:
        return False
    plan = on_sale(session, name)
    if found:
        _end(session, user, found[0])
    store.start(session, [user.id], [plan.id])
    return True


def _end(session: Session, user: models.User, subscription: models.Subscription) -> None:
    if subscription.stripe_subscription_id:
        advice = f"dumacle plans change {quoted(user.email)} PLAN, or dumacle plans cancel {quoted(user.email)}"
        raise Conflict(reason=f"Stripe bills the subscription of {user.email}", advice=advice)
    store.end(session, subscription)

"""Subscriptions: the plan of each user. Unbilled ones are changed in the database, billed ones at Stripe."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy.orm import Session

from dumacle_cli.errors import NotFound, UsageError
from dumacle_cli.ids import parse_id
from dumacle_cli.services import plans, users
from dumacle_cli.services.billing.objects import BILLED
from dumacle_cli.store import models, paging
from dumacle_cli.store import subscriptions as store

Status = Literal["active", "trialing", "past_due", "unpaid", "canceled", "incomplete", "incomplete_expired", "paused"]


@dataclass(frozen=True, slots=True)
class Subscription:
    """A user's plan, with the status names of Stripe; a subscription without `stripe_id` is unbilled.

    It ends at `cancel_at`, after which the user is on `fallback_plan`; `next_plan` follows at the end of the period.
    While `pause_collection` is set, invoices are not paid: until `resumes_at`, or for good. `unknown_status` is what
    Stripe says if this release does not know it; the status before holds. At `end_due_at`, `quotas reset` ends it,
    because Stripe refused to.
    """

    id: int
    user: str
    plan: str
    status: str
    stripe_id: str | None
    current_period_start: datetime | None
    current_period_end: datetime | None
    cancel_at_period_end: bool
    cancel_at: datetime | None
    next_plan: str | None
    fallback_plan: str | None
    trial_end: datetime | None
    pause_collection: str | None
    resumes_at: datetime | None
    quantity: int
    unknown_status: str | None
    end_due_at: datetime | None
    started_at: datetime
    ended_at: datetime | None

    @property
    def is_billed(self) -> bool:
        """Whether Stripe bills the subscription, so that it has to be changed there."""
        return self.stripe_id is not None and self.status not in models.plans.FINAL_STATUSES


def view(found: store.Found) -> Subscription:
    """Convert a row to the result that commands print."""
    row, user, plan, following, fallback = found
    return Subscription(
        id=row.id,
        user=user,
        plan=plan,
        status=row.status,
        stripe_id=row.stripe_subscription_id,
        current_period_start=row.current_period_start,
        current_period_end=row.current_period_end,
        cancel_at_period_end=row.cancel_at_period_end,
        cancel_at=row.cancel_at,
        next_plan=following,
        fallback_plan=fallback,
        trial_end=row.trial_end,
        pause_collection=row.pause_collection,
        resumes_at=row.resumes_at,
        quantity=row.quantity,
        unknown_status=row.unknown_status,
        end_due_at=None if row.status in models.plans.FINAL_STATUSES else row.end_due_at,
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


def billed(session: Session, user_id: int) -> list[str]:
    """Return the ids at Stripe of the subscriptions for which it bills a user, as far as it is known here."""
    return list(store.open_ids(session, user_id, BILLED))


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

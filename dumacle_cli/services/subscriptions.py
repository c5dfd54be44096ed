"""Subscriptions: which plan a user is on. Those started here are billed by nobody; Stripe's are changed at Stripe."""

from sqlalchemy.orm import Session

from dumacle_cli.errors import Conflict
from dumacle_cli.services import plans
from dumacle_cli.store import models
from dumacle_cli.store import subscriptions as store


def on_sale(session: Session, name: str) -> models.Plan:
    """Return a plan that can be subscribed to; raises NotFound, or Conflict where it is archived."""
    plan = plans.get(session, name)
    if plan.archived_at:
        raise Conflict(reason=f"plan {name} is archived", advice=f"dumacle plans restore {name}")
    return plan


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
        reason = f"Stripe bills the subscription of {user.email}"
        raise Conflict(reason=reason, advice="change or cancel it at Stripe")
    store.end(session, subscription)

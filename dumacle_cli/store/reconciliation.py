"""Queries for comparing what is mirrored from Stripe with what is there."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from dumacle_cli.store.models import Customer, StripeObject, Subscription, plans


def states(session: Session, ids: Collection[str]) -> dict[str, dict[str, Any]]:
    """Return the states that were applied last of these objects, less those that are wanted still."""
    query = select(StripeObject.id, StripeObject.state).where(
        StripeObject.id.in_(ids), StripeObject.wanted_at.is_(None)
    )
    return {id_: state for id_, state in session.execute(query) if state is not None}


def customers(session: Session, ids: Collection[str]) -> set[str]:
    """Return which of these customers at Stripe are users here."""
    return set(session.scalars(select(Customer.stripe_customer_id).where(Customer.stripe_customer_id.in_(ids))))


def standing(session: Session, user_id: int | None, after: int, limit: int) -> Sequence[tuple[int, str]]:
    """Return ids, here and at Stripe, of subscriptions that Stripe bills, of all users or of one, behind an id."""
    query = select(Subscription.id, Subscription.stripe_subscription_id).where(
        Subscription.id > after,
        Subscription.stripe_subscription_id.is_not(None),
        Subscription.status.not_in(plans.FINAL_STATUSES),
    )
    if user_id is not None:
        query = query.where(Subscription.user_id == user_id)
    found = session.execute(query.order_by(Subscription.id).limit(limit))
    return [(id_, str(stripe_id)) for id_, stripe_id in found]


def errors(session: Session, ids: Collection[str]) -> dict[str, str]:
    """Return why objects could not be applied."""
    query = select(StripeObject.id, StripeObject.error).where(StripeObject.id.in_(ids))
    return {id_: error for id_, error in session.execute(query) if error}

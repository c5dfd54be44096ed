"""Queries about the mirror: which subscription a user is on, as it is at Stripe."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, or_, select, text
from sqlalchemy import update as sql_update
from sqlalchemy.orm import Session

from dumacle_cli.store.models import Plan, Subscription, User, plans


def owner(session: Session, subscription_id: str) -> int | None:
    """Return the user of a subscription that is mirrored, or None."""
    query = select(Subscription.user_id).where(Subscription.stripe_subscription_id == subscription_id)
    return session.scalars(query).one_or_none()


def lock_user(session: Session, user_id: int) -> bool:
    """Let nobody else apply something of a user until the transaction ends; False where there is no such user."""
    query = select(User.id).where(User.id == user_id).with_for_update(key_share=True)
    return session.scalars(query).one_or_none() is not None


def plan_of(session: Session, prices: Sequence[str], products: Sequence[str]) -> int | None:
    """Return the plan that is sold at one of these prices, or was: a price replaced keeps its product."""
    is_price = func.coalesce(Plan.stripe_price_id.in_(prices), False)
    query = select(Plan.id).where(or_(is_price, Plan.stripe_product_id.in_(products)))
    return session.scalars(query.order_by(is_price.desc(), Plan.id).limit(1)).one_or_none()


def save(session: Session, over: bool, **values: Any) -> None:
    """Write a subscription as it is at Stripe; a new one is set aside until it is chosen; writes nothing twice."""
    session.execute(_SAVE, values | {"over": over})


def end(session: Session, subscription_id: str) -> None:
    """End a subscription that Stripe no longer knows."""
    mine = Subscription.stripe_subscription_id == subscription_id
    ended = {"status": "canceled", "ended_at": func.coalesce(Subscription.ended_at, func.now())}
    session.execute(
        sql_update(Subscription).where(mine, Subscription.status.not_in(plans.FINAL_STATUSES)).values(ended)
    )


def standing(session: Session, user_id: int) -> list[Subscription]:
    """Return the subscriptions of a user that are not over, those that are set aside too."""
    query = select(Subscription).where(
        Subscription.user_id == user_id, Subscription.status.not_in(plans.FINAL_STATUSES)
    )
    return list(session.scalars(query.execution_options(populate_existing=True)))


def choose(session: Session, user_id: int, subscription_id: int | None) -> None:
    """Let a user be on this subscription (the row's id) and no other; one that nobody bills ends for good."""
    session.execute(_SET_ASIDE, {"user": user_id, "chosen": subscription_id})
    chosen = Subscription.id == subscription_id, Subscription.ended_at.is_not(None)
    session.execute(sql_update(Subscription).where(*chosen).values(ended_at=None))


def move_anchor(session: Session, user_id: int, anchor: datetime) -> None:
    """Count a user's quota months from this instant from now on, if they are not already."""
    session.execute(_MOVE_ANCHOR, {"user": user_id, "anchor": anchor})


_SAVE = text("""
    INSERT INTO app.subscriptions AS kept (
        user_id, plan_id, status, stripe_subscription_id, stripe_customer_id, current_period_start, current_period_end,
        cancel_at_period_end, started_at, ended_at
    )
    VALUES (:user_id, :plan_id, :status, :id, :customer, :period_start, :period_end, :cancel_at_period_end,
            :started_at, coalesce(:ended_at, now()))
    ON CONFLICT (stripe_subscription_id) DO UPDATE SET
        plan_id = EXCLUDED.plan_id, status = EXCLUDED.status, stripe_customer_id = EXCLUDED.stripe_customer_id,
        current_period_start = EXCLUDED.current_period_start, current_period_end = EXCLUDED.current_period_end,
        cancel_at_period_end = EXCLUDED.cancel_at_period_end, started_at = EXCLUDED.started_at,
        ended_at = CASE WHEN :over THEN coalesce(:ended_at, kept.ended_at, now()) ELSE kept.ended_at END,
        updated_at = now()
    WHERE (kept.plan_id, kept.status, kept.stripe_customer_id, kept.current_period_start, kept.current_period_end,
           kept.cancel_at_period_end, kept.started_at)
        IS DISTINCT FROM (EXCLUDED.plan_id, EXCLUDED.status, EXCLUDED.stripe_customer_id,
            EXCLUDED.current_period_start, EXCLUDED.current_period_end, EXCLUDED.cancel_at_period_end,
            EXCLUDED.started_at)
""")
_SET_ASIDE = text("""
    UPDATE app.subscriptions
    SET ended_at = now(), updated_at = now(),
        status = CASE WHEN stripe_subscription_id IS NULL THEN 'canceled' ELSE status END
    WHERE user_id = :user AND ended_at IS NULL AND id IS DISTINCT FROM :chosen
""")
_MOVE_ANCHOR = text("""
    INSERT INTO app.quota_anchors (user_id, effective_from, anchor)
    SELECT :user, now(), :anchor WHERE app.quota_anchor(:user, now()) <> :anchor
    ON CONFLICT (user_id, effective_from) DO NOTHING
""")

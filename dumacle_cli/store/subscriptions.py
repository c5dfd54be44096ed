"""Queries about subscriptions, and the grants that come with them."""

from sqlalchemy import BigInteger, cast, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.orm import Session

from dumacle_cli.store.models import Plan, Subscription


def live(session: Session, user_id: int) -> tuple[Subscription, str] | None:
    """Return the subscription of a user that has not ended, with the name of its plan, or None."""
    query = select(Subscription, Plan.name).join(Plan, Plan.id == Subscription.plan_id)
    found = session.execute(query.where(Subscription.user_id == user_id, Subscription.ended_at.is_(None)))
    row = found.one_or_none()
    return (row[0], row[1]) if row else None


def end(session: Session, subscription: Subscription) -> None:
    """End a subscription now."""
    subscription.status, subscription.ended_at = "canceled", func.now()
    session.flush()


def start(session: Session, user_ids: list[int], plan_ids: list[int]) -> None:
    """Start subscriptions that nobody bills, one for each pair, and grant the plans' default pods."""
    rows = (
        func.unnest(cast(user_ids, ARRAY(BigInteger)), cast(plan_ids, ARRAY(BigInteger)))
        .table_valued("user_id", "plan_id")
        .render_derived()
    )
    columns = select(rows.c.user_id, rows.c.plan_id, text("'active'"))
    session.execute(insert(Subscription).from_select(["user_id", "plan_id", "status"], columns))
    session.execute(_GRANT, {"users": user_ids, "plans": plan_ids})


# The first pod becomes the default; one chosen before stays it.
_GRANT = text("""
    INSERT INTO app.pod_grants (pod_id, user_id, is_default)
    SELECT pods.id, given.user_id,
        NOT EXISTS (SELECT FROM app.pod_grants AS has WHERE has.user_id = given.user_id AND has.is_default)
    FROM unnest(CAST(:users AS bigint[]), CAST(:plans AS bigint[])) AS given (user_id, plan_id)
    JOIN app.plans ON plans.id = given.plan_id
    JOIN app.pods ON pods.id = plans.default_pod_id AND pods.deleted_at IS NULL
    ON CONFLICT (pod_id, user_id) DO NOTHING
""")

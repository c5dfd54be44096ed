"""Queries about subscriptions, and the grants that come with them."""

from sqlalchemy import BigInteger, Row, Select, cast, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.orm import Session

from dumacle_cli.store import paging
from dumacle_cli.store.models import Plan, Subscription, User

Found = tuple[Subscription, str, str]
"""A subscription with the e-mail of its user and the name of its plan."""


def live(session: Session, user_id: int) -> tuple[Subscription, str] | None:
    """Return the subscription of a user that has not ended, with the name of its plan, or None."""
    query = select(Subscription, Plan.name).join(Plan, Plan.id == Subscription.plan_id)
    found = session.execute(query.where(Subscription.user_id == user_id, Subscription.ended_at.is_(None)))
    row = found.one_or_none()
    return (row[0], row[1]) if row else None


def find(session: Session, subscription_id: int) -> Found | None:
    """Return the subscription of this id, or None."""
    return _one(session, _joined().where(Subscription.id == subscription_id))


def find_at_stripe(session: Session, stripe_id: str) -> Found | None:
    """Return the subscription that has this id at Stripe, or None."""
    return _one(session, _joined().where(Subscription.stripe_subscription_id == stripe_id))


def latest(session: Session, user_id: int) -> Found | None:
    """Return the subscription of a user that has not ended, else the one that ended last, or None."""
    mine = _joined().where(Subscription.user_id == user_id)
    return _one(session, mine.order_by(Subscription.ended_at.desc().nulls_first(), Subscription.id.desc()).limit(1))


def page(
    session: Session, *, status: str | None, plan_id: int | None, user_id: int | None, after: str | None, limit: int
) -> paging.Page[Found]:
    """Return a page of subscriptions by id, also of those that ended."""
    wanted = ((Subscription.status, status), (Subscription.plan_id, plan_id), (Subscription.user_id, user_id))
    query = _joined().where(*(column == value for column, value in wanted if value is not None))
    found = session.execute(paging.keyset(query, [Subscription.id], after, limit))
    return paging.page([_found(row) for row in found], limit, lambda row: [row[0].id])


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
    grant_pods(session, user_ids, plan_ids)


def grant_pods(session: Session, user_ids: list[int], plan_ids: list[int]) -> None:
    """Grant the default pods of plans to users, one plan each; grants that are there stay as they are."""
    session.execute(_GRANT, {"users": user_ids, "plans": plan_ids})


def _joined() -> Select[Subscription, str, str]:
    joined = select(Subscription, User.email, Plan.name).join(User, User.id == Subscription.user_id)
    return joined.join(Plan, Plan.id == Subscription.plan_id)


def _one(session: Session, query: Select[Subscription, str, str]) -> Found | None:
    row = session.execute(query, execution_options=_FRESH).one_or_none()
    return _found(row) if row else None


def _found(row: Row[Subscription, str, str]) -> Found:
    subscription, email, plan = row
    return subscription, email, plan


_FRESH = {"populate_existing": True}


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

"""Queries about quotas; periods, limits and closings are the functions of store/sql/quotas.sql and closings.sql."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import BigInteger, Row, cast, delete, extract, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from dumacle_cli.store import models, paging

_STANDING = text("""
    SELECT metrics.name AS metric, usage.*, own.user_id IS NOT NULL AS overridden, plans.name AS plan,
        coalesce((SELECT sum(amount) FROM app.quota_grants AS extra
                  WHERE extra.user_id = :user AND extra.metric = metrics.name
                      AND extra.period_start = usage.period_start), 0)::bigint AS granted
    FROM unnest(ARRAY['storage', 'upload', 'transcode']) WITH ORDINALITY AS metrics (name, place)
    CROSS JOIN LATERAL app.quota_usage(:user, metrics.name, now()) AS usage
    LEFT JOIN app.quota_limits AS own ON own.user_id = :user AND own.metric = metrics.name
    LEFT JOIN app.subscriptions ON subscriptions.user_id = :user AND subscriptions.ended_at IS NULL
        AND subscriptions.status IN ('active', 'trialing', 'past_due')
    LEFT JOIN app.plans ON plans.id = subscriptions.plan_id
    ORDER BY metrics.place
""")


def standing(session: Session, user_id: int) -> Sequence[Row[Any]]:
    """Return how each quota of a user stands now, and where its limit comes from."""
    return session.execute(_STANDING, {"user": user_id}).all()


def set_limit(session: Session, user_id: int, metric: str, limit: int | None) -> bool:
    """Override the plan's limit for a user, None meaning unlimited; says whether anything changed."""
    wanted = insert(models.QuotaLimit).values(user_id=user_id, metric=metric, limit=limit)
    changed = wanted.on_conflict_do_update(
        index_elements=[models.QuotaLimit.user_id, models.QuotaLimit.metric],
        set_={"limit": limit},
        where=models.QuotaLimit.limit.is_distinct_from(wanted.excluded.limit),
    )
    return session.execute(changed.returning(models.QuotaLimit.user_id)).first() is not None


def drop_limit(session: Session, user_id: int, metric: str) -> bool:
    """Let the plan's limit hold again for a user; says whether anything changed."""
    mine = (models.QuotaLimit.user_id == user_id, models.QuotaLimit.metric == metric)
    return (
        session.execute(delete(models.QuotaLimit).where(*mine).returning(models.QuotaLimit.user_id)).first() is not None
    )


def grant(session: Session, user_id: int, metric: str, amount: int, reason: str) -> None:
    """Add to a user's limit for the period that is in force now."""
    session.execute(
        text(
            "INSERT INTO app.quota_grants (user_id, metric, amount, reason, period_start) "
            "SELECT :user, :metric, :amount, :reason, period_start FROM app.quota_window(:user, :metric, now())"
        ),
        {"user": user_id, "metric": metric, "amount": amount, "reason": reason},
    )


def history(
    session: Session, user_id: int, *, after: str | None, limit: int
) -> "paging.Page[Row[models.QuotaClosing, str, int]]":
    """Return a page of a user's closed periods, the latest first, with the plan of each."""
    # A token of a page holds numbers and text only, and microseconds are exact.
    began = cast(extract("epoch", models.QuotaClosing.period_start) * 1_000_000, BigInteger)
    query = select(models.QuotaClosing, models.Plan.name.label("plan"), began.label("began"))
    query = query.outerjoin(models.Plan, models.Plan.id == models.QuotaClosing.plan_id).where(
        models.QuotaClosing.user_id == user_id
    )
    ordered = paging.keyset(query, [began, models.QuotaClosing.metric], after, limit, descending=True)
    found = session.execute(ordered).all()
    return paging.page(found, limit, lambda row: [row.began, row.QuotaClosing.metric])


# Closing


def reap_leases(session: Session) -> int:
    """Close the leases whose holder let them run out, because their periods wait for them; returns how many."""
    return int(session.scalars(text("SELECT app.reap_leases(now())")).one())


def close_periods(session: Session, batch: int) -> int:
    """Close at most so many periods that ended, beside others who do the same; returns how many."""
    return int(session.scalars(text("SELECT app.close_quota_periods(now(), :batch)"), {"batch": batch}).one())


def count_ended(session: Session) -> int:
    """Return how many periods ended and could be closed."""
    query = """
        SELECT count(*) FROM app.quota_counters
        WHERE closed_at IS NULL AND metric <> 'storage' AND period_end <= now() AND reserved = 0
    """
    return int(session.scalars(text(query)).one())

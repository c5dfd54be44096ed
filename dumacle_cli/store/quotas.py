"""Queries about quotas; periods, limits and closings are the functions of store/sql/quotas.sql and closings.sql."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Row, cast, delete, extract, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from dumacle_cli.store import functions, models, paging

_STATUS = text("""
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


def status(session: Session, user_id: int) -> Sequence[Row[Any]]:
    """Return usage and limit of each quota of a user in the present period, and where the limit comes from."""
    return session.execute(_STATUS, {"user": user_id}).all()


def set_limit(session: Session, user_id: int, metric: str, limit: int | None) -> bool:
    """Override the plan's limit for a user, None for unlimited; return whether it changed."""
    wanted = insert(models.QuotaLimit).values(user_id=user_id, metric=metric, limit=limit)
    changed = wanted.on_conflict_do_update(
        index_elements=[models.QuotaLimit.user_id, models.QuotaLimit.metric],
        set_={"limit": limit},
        where=models.QuotaLimit.limit.is_distinct_from(wanted.excluded.limit),
    )
    return session.execute(changed.returning(models.QuotaLimit.user_id)).first() is not None


def drop_limit(session: Session, user_id: int, metric: str) -> bool:
    """Remove the override of a user's limit; return whether there was one."""
    override = (models.QuotaLimit.user_id == user_id, models.QuotaLimit.metric == metric)
    deleted = session.execute(delete(models.QuotaLimit).where(*override).returning(models.QuotaLimit.user_id))
    return deleted.first() is not None


def grant(session: Session, user_id: int, metric: str, amount: int, reason: str) -> None:
    """Add to a user's limit in the present period."""
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
    """Return a page of a user's closed periods with the plan of each, the last first."""
    # A page token holds only numbers and text; microseconds are exact.
    began = cast(extract("epoch", models.QuotaClosing.period_start) * 1_000_000, BigInteger)
    query = select(models.QuotaClosing, models.Plan.name.label("plan"), began.label("began"))
    query = query.outerjoin(models.Plan, models.Plan.id == models.QuotaClosing.plan_id).where(
        models.QuotaClosing.user_id == user_id
    )
    ordered = paging.keyset(query, [began, models.QuotaClosing.metric], after, limit, descending=True)
    found = session.execute(ordered).all()
    return paging.page(found, limit, lambda row: [row.began, row.QuotaClosing.metric])


def set_anchor(session: Session, user_id: int, anchor: datetime) -> None:
    """Count a user's quota months from this time, starting now; does nothing if they are counted so already."""
    session.execute(_SET_ANCHOR, {"user": user_id, "anchor": anchor})


_SET_ANCHOR = text("""
    INSERT INTO app.quota_anchors (user_id, effective_from, anchor)
    SELECT :user, now(), :anchor WHERE app.quota_anchor(:user, now()) <> :anchor
    ON CONFLICT (user_id, effective_from) DO NOTHING
""")


# Closing


def reap_leases(session: Session) -> int:
    """Close expired leases, because a period cannot be closed while one is open; return how many."""
    return int(session.scalars(text("SELECT app.reap_leases(now())")).one())


def close_periods(session: Session, batch: int) -> int:
    """Close up to `batch` ended periods, in parallel with other commands; return how many."""
    return int(session.scalars(text("SELECT app.close_quota_periods(now(), :batch)"), {"batch": batch}).one())


def count_ended(session: Session) -> int:
    """Return the number of ended periods that can be closed."""
    query = """
        SELECT count(*) FROM app.quota_counters
        WHERE closed_at IS NULL AND metric <> 'storage' AND period_end <= now() AND reserved = 0
    """
    return int(session.scalars(text(query)).one())


def adjust(session: Session, key: str, user_id: int, metric: str, amount: int, reason: str) -> None:
    """Correct a user's usage of the present period, once per key."""
    given = {"key": key, "user": user_id, "metric": metric, "amount": amount, "reason": reason}
    session.execute(text("SELECT app.adjust_quota(:key, :user, :metric, :amount, :reason)"), given)


_DIFFERENCES = text("""
    SELECT users.email, counter.metric, counter.period_start, counter.used,
        coalesce(sum(entry.delta), 0)::bigint AS booked
    FROM app.quota_counters AS counter JOIN app.users ON users.id = counter.user_id
    LEFT JOIN app.quota_entries AS entry
        ON (entry.user_id, entry.metric, entry.period_start)
            = (counter.user_id, counter.metric, counter.period_start)
    WHERE counter.metric <> 'storage' AND (counter.closed_at IS NULL OR counter.closed_at > :since)
        AND (CAST(:user AS bigint) IS NULL OR counter.user_id = :user)
    GROUP BY users.email, counter.user_id, counter.metric, counter.period_start, counter.used
    HAVING counter.used <> coalesce(sum(entry.delta), 0)
    ORDER BY counter.user_id, counter.metric, counter.period_start
""")


def differences(session: Session, user_id: int | None, since: datetime) -> Sequence[Row[Any]]:
    """Return the monthly counters that differ from the sum of their entries, unless closed before an instant."""
    return session.execute(_DIFFERENCES, {"user": user_id, "since": since}).all()


def count_old_entries(session: Session, before: datetime) -> int:
    """Return how many entries are of periods that were closed before an instant."""
    query = """
        SELECT count(*) FROM app.quota_entries AS entry JOIN app.quota_counters AS counter
            USING (user_id, metric, period_start) WHERE entry.occurred_at < :before AND counter.closed_at < :before
    """
    return int(session.scalars(text(query), {"before": before}).one())


def prune_entries(session: Session, before: datetime, batch: int) -> int:
    """Delete a batch of entries of periods that were closed before an instant; return how many."""
    if not functions.is_there(session, "app.prune_quota_entries(timestamptz,integer)"):
        return 0
    given = {"before": before, "batch": batch}
    return int(session.scalars(text("SELECT app.prune_quota_entries(:before, :batch)"), given).one())

"""Queries about subscriptions, and the pods granted with them.

A user has at most one current subscription: the one without `ended_at`. Open subscriptions, those whose status is not
final, may still change at Stripe.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, Select, func, select, text
from sqlalchemy import update as sql_update
from sqlalchemy.orm import Session, aliased, undefer_group

from dumacle_cli.store import functions, paging
from dumacle_cli.store.models import Plan, Subscription, User, plans

DETAILS = "app.ix_subscriptions_questionable"
"""An index that came with what Stripe says of a subscription beside its status, and of customers."""

ENDED_AHEAD = timedelta(minutes=90)
"""How long before its time Dumacle ends a subscription: its job runs every hour, and Stripe charges at the time."""
MOST_ENDS = 1000
"""How many subscriptions are ended in a run at most."""

Found = tuple[Subscription, str, str, str | None, str | None]
"""A subscription with the e-mail of its user, and the names of its plan, the next one and the fallback."""


def current(session: Session, user_id: int) -> tuple[Subscription, str] | None:
    """Return a user's current subscription with the name of its plan, or None."""
    query = select(Subscription, Plan.name).join(Plan, Plan.id == Subscription.plan_id)
    found = session.execute(query.where(Subscription.user_id == user_id, Subscription.ended_at.is_(None)))
    row = found.one_or_none()
    return (row[0], row[1]) if row else None


def find(session: Session, subscription_id: int) -> Found | None:
    """Return the subscription with this id, or None."""
    return _one(session, _joined().where(Subscription.id == subscription_id))


def find_at_stripe(session: Session, stripe_id: str) -> Found | None:
    """Return the subscription with this id at Stripe, or None."""
    return _one(session, _joined().where(Subscription.stripe_subscription_id == stripe_id))


def latest(session: Session, user_id: int) -> Found | None:
    """Return a user's current subscription, or the one that ended last, or None."""
    of_user = _joined().where(Subscription.user_id == user_id)
    return _one(session, of_user.order_by(Subscription.ended_at.desc().nulls_first(), Subscription.id.desc()).limit(1))


def page(
    session: Session, *, status: str | None, plan_id: int | None, user_id: int | None, after: str | None, limit: int
) -> paging.Page[Found]:
    """Return a page of subscriptions by id, including ended ones."""
    wanted = ((Subscription.status, status), (Subscription.plan_id, plan_id), (Subscription.user_id, user_id))
    query = _joined().where(*(column == value for column, value in wanted if value is not None))
    found = session.execute(paging.keyset(query, [Subscription.id], after, limit))
    return paging.page([_found(row) for row in found], limit, lambda row: [row[0].id])


def end(session: Session, subscription: Subscription) -> None:
    """End a subscription now."""
    subscription.status, subscription.ended_at = "canceled", func.now()
    session.flush()


_START = text("""
    INSERT INTO app.subscriptions (user_id, plan_id, status)
    SELECT user_id, plan_id, 'active'
    FROM unnest(CAST(:users AS bigint[]), CAST(:plans AS bigint[])) AS given (user_id, plan_id)
""")


def start(session: Session, user_ids: list[int], plan_ids: list[int]) -> None:
    """Start an unbilled subscription for each pair of user and plan, and grant the plans' default pods."""
    session.execute(_START, {"users": user_ids, "plans": plan_ids})
    grant_pods(session, user_ids, plan_ids)


def grant_pods(session: Session, user_ids: list[int], plan_ids: list[int]) -> None:
    """Grant each user the default pod of their plan; existing grants are not modified."""
    session.execute(_GRANT, {"users": user_ids, "plans": plan_ids})


# At Stripe


def user_of(session: Session, stripe_id: str) -> int | None:
    """Return the id of the user of the subscription with this id at Stripe, or None."""
    query = select(Subscription.user_id).where(Subscription.stripe_subscription_id == stripe_id)
    return session.scalars(query).one_or_none()


def lock_user(session: Session, user_id: int) -> bool:
    """Lock a user, so that one transaction at a time applies their changes; False if there is no such user."""
    query = select(User.id).where(User.id == user_id).with_for_update(key_share=True)
    return session.scalars(query).one_or_none() is not None


def save(session: Session, has_ended: bool, **values: Any) -> None:
    """Insert or update a subscription from Stripe; a new one is not current, and an unchanged one is not written."""
    session.execute(_SAVE, values | {"has_ended": has_ended})


def end_missing(session: Session, stripe_id: str) -> None:
    """End a subscription that no longer exists at Stripe."""
    is_open = Subscription.stripe_subscription_id == stripe_id, Subscription.status.not_in(plans.FINAL_STATUSES)
    ended = {"status": "canceled", "ended_at": func.coalesce(Subscription.ended_at, func.now())}
    session.execute(sql_update(Subscription).where(*is_open).values(ended))


def open_subscriptions(session: Session, user_id: int) -> list[Subscription]:
    """Return a user's subscriptions, current or not, whose status is not final."""
    query = select(Subscription).where(
        Subscription.user_id == user_id, Subscription.status.not_in(plans.FINAL_STATUSES)
    )
    return list(session.scalars(query, execution_options=_FRESH))


def open_ids(session: Session, user_id: int, statuses: Sequence[str] = ()) -> Sequence[str]:
    """Return the ids at Stripe of a user's open subscriptions there, current or not, of these statuses or of all."""
    query = select(Subscription.stripe_subscription_id).where(
        Subscription.user_id == user_id,
        Subscription.stripe_subscription_id.is_not(None),
        Subscription.status.in_(statuses) if statuses else Subscription.status.not_in(plans.FINAL_STATUSES),
    )
    return [str(id_) for id_ in session.scalars(query.order_by(Subscription.id))]


def open_at_stripe(session: Session, user_id: int | None, after: int, limit: int) -> Sequence[tuple[int, str]]:
    """Return the ids, in Dumacle and at Stripe, of billed open subscriptions after an id, of one user or of all."""
    query = select(Subscription.id, Subscription.stripe_subscription_id).where(
        Subscription.id > after,
        Subscription.stripe_subscription_id.is_not(None),
        Subscription.status.not_in(plans.FINAL_STATUSES),
    )
    if user_id is not None:
        query = query.where(Subscription.user_id == user_id)
    found = session.execute(query.order_by(Subscription.id).limit(limit))
    return [(id_, str(stripe_id)) for id_, stripe_id in found]


def open_of(session: Session, stripe_ids: Sequence[str]) -> set[str]:
    """Return which of these ids at Stripe are subscriptions whose status here is not final."""
    query = select(Subscription.stripe_subscription_id).where(
        Subscription.stripe_subscription_id.in_(stripe_ids), Subscription.status.not_in(plans.FINAL_STATUSES)
    )
    return {str(id_) for id_ in session.scalars(query)}


def siblings_due(session: Session, stripe_ids: Sequence[str]) -> Sequence[str]:
    """Return other subscriptions at Stripe of the same users that are due for a refresh."""
    return session.scalars(_SIBLINGS, {"ids": list(stripe_ids)}).all()


def set_current(session: Session, user_id: int, subscription_id: int | None) -> None:
    """Make a subscription, or None, the user's current one; the replaced one ends, and if unbilled it is canceled."""
    session.execute(_INHERIT_FALLBACK, {"user": user_id, "chosen": subscription_id})
    session.execute(_REPLACE_CURRENT, {"user": user_id, "chosen": subscription_id})
    chosen = Subscription.id == subscription_id, Subscription.ended_at.is_not(None)
    session.execute(sql_update(Subscription).where(*chosen).values(ended_at=None))


def fall_back(session: Session, user_id: int) -> None:
    """Put a user without a plan on the one that was to follow their ended subscription, without billing; once.

    An archived plan, or a deleted user, gets none.
    """
    plan_id = session.scalars(_TAKE_FALLBACK, {"user": user_id}).first()
    if plan_id is not None:
        start(session, [user_id], [plan_id])


def set_fallback(session: Session, stripe_id: str, plan_id: int) -> None:
    """Set the plan that a user is put on, without billing, when this subscription has ended."""
    chosen = sql_update(Subscription).where(Subscription.stripe_subscription_id == stripe_id)
    session.execute(chosen.values(fallback_plan_id=plan_id, updated_at=func.now()))


def set_end_due(session: Session, stripe_id: str, at: datetime | None) -> None:
    """Set when Dumacle has to end a subscription, as Stripe does not do it; None: it is not to end."""
    chosen = Subscription.stripe_subscription_id == stripe_id, Subscription.end_due_at.is_distinct_from(at)
    session.execute(sql_update(Subscription).where(*chosen).values(end_due_at=at, updated_at=func.now()))


def ends_due(session: Session) -> list[tuple[str, str]]:
    """Return the ids at Stripe and the users of open subscriptions that have to be ended now, the oldest first."""
    if not functions.has_column(session, "app.subscriptions", "end_due_at"):
        return []
    query = select(Subscription.stripe_subscription_id, User.email).join(User, User.id == Subscription.user_id)
    due = Subscription.end_due_at < func.now() + ENDED_AHEAD, Subscription.status.not_in(plans.FINAL_STATUSES)
    found = session.execute(query.where(*due).order_by(Subscription.end_due_at, Subscription.id).limit(MOST_ENDS))
    return [(str(id_), user) for id_, user in found]


def questionable(session: Session, user_id: int | None, limit: int) -> Sequence[Row[Any]]:
    """Return open subscriptions at Stripe that somebody has to look at, of one user or of all, by user.

    They are set aside beside another that entitles their user, have a status that is not known, are sold as several
    plans, go on for users who are disabled or deleted, or should have been ended.
    """
    if not functions.has_relation(session, DETAILS):
        return []
    return session.execute(_QUESTIONABLE, {"user": user_id, "limit": limit}).all()


def _joined() -> Select[Subscription, str, str, str | None, str | None]:
    following, fallback = aliased(Plan), aliased(Plan)
    joined = select(Subscription, User.email, Plan.name, following.name, fallback.name)
    joined = joined.join(User, User.id == Subscription.user_id).join(Plan, Plan.id == Subscription.plan_id)
    joined = joined.outerjoin(following, following.id == Subscription.next_plan_id)
    return joined.outerjoin(fallback, fallback.id == Subscription.fallback_plan_id).options(
        undefer_group(plans.DETAILS)
    )


def _one(session: Session, query: Select[Subscription, str, str, str | None, str | None]) -> Found | None:
    row = session.execute(query, execution_options=_FRESH).one_or_none()
    return _found(row) if row else None


def _found(row: Row[Subscription, str, str, str | None, str | None]) -> Found:
    subscription, email, plan, following, fallback = row
    return subscription, email, plan, following, fallback


_FRESH = {"populate_existing": True}


# A pod becomes the user's default pod only if they have none.
_GRANT = text("""
    INSERT INTO app.pod_grants (pod_id, user_id, is_default)
    SELECT pods.id, given.user_id,
        NOT EXISTS (SELECT FROM app.pod_grants AS has WHERE has.user_id = given.user_id AND has.is_default)
    FROM unnest(CAST(:users AS bigint[]), CAST(:plans AS bigint[])) AS given (user_id, plan_id)
    JOIN app.plans ON plans.id = given.plan_id
    JOIN app.pods ON pods.id = plans.default_pod_id AND pods.deleted_at IS NULL
    ON CONFLICT (pod_id, user_id) DO NOTHING
""")
# A status that is not known is kept beside the last known one; a subscription that begins with one is not paid yet.
_SAVE = text("""
    INSERT INTO app.subscriptions AS saved (
        user_id, plan_id, status, unknown_status, stripe_subscription_id, stripe_customer_id, current_period_start,
        current_period_end, cancel_at_period_end, cancel_at, trial_end, pause_collection, resumes_at, quantity,
        plan_items, stripe_schedule_id, next_plan_id, started_at, ended_at
    )
    VALUES (:user_id, :plan_id, coalesce(:status, 'incomplete'), :unknown_status, :id, :customer, :period_start,
            :period_end, :cancel_at_period_end, :cancel_at, :trial_end, :pause_collection, :resumes_at, :quantity,
            :plan_items, :schedule, :next_plan_id, :started_at, coalesce(:ended_at, now()))
    ON CONFLICT (stripe_subscription_id) DO UPDATE SET
        plan_id = EXCLUDED.plan_id, status = coalesce(:status, saved.status), unknown_status = EXCLUDED.unknown_status,
        stripe_customer_id = EXCLUDED.stripe_customer_id, current_period_start = EXCLUDED.current_period_start,
        current_period_end = EXCLUDED.current_period_end, cancel_at_period_end = EXCLUDED.cancel_at_period_end,
        cancel_at = EXCLUDED.cancel_at, trial_end = EXCLUDED.trial_end, pause_collection = EXCLUDED.pause_collection,
        resumes_at = EXCLUDED.resumes_at, quantity = EXCLUDED.quantity, plan_items = EXCLUDED.plan_items,
        stripe_schedule_id = EXCLUDED.stripe_schedule_id, next_plan_id = EXCLUDED.next_plan_id,
        started_at = EXCLUDED.started_at,
        ended_at = CASE WHEN :has_ended THEN coalesce(:ended_at, saved.ended_at, now()) ELSE saved.ended_at END,
        updated_at = now()
    WHERE (saved.plan_id, saved.status, saved.unknown_status, saved.stripe_customer_id, saved.current_period_start,
           saved.current_period_end, saved.cancel_at_period_end, saved.cancel_at, saved.trial_end,
           saved.pause_collection, saved.resumes_at, saved.quantity, saved.plan_items, saved.stripe_schedule_id,
           saved.next_plan_id, saved.started_at)
        IS DISTINCT FROM (EXCLUDED.plan_id, coalesce(:status, saved.status), EXCLUDED.unknown_status,
            EXCLUDED.stripe_customer_id, EXCLUDED.current_period_start, EXCLUDED.current_period_end,
            EXCLUDED.cancel_at_period_end, EXCLUDED.cancel_at, EXCLUDED.trial_end, EXCLUDED.pause_collection,
            EXCLUDED.resumes_at, EXCLUDED.quantity, EXCLUDED.plan_items, EXCLUDED.stripe_schedule_id,
            EXCLUDED.next_plan_id, EXCLUDED.started_at)
""")
_SIBLINGS = text("""
    SELECT object.id FROM app.stripe_objects AS object
    WHERE wanted_at IS NOT NULL AND id <> ALL (:ids) AND id IN (
        SELECT other.stripe_subscription_id FROM app.subscriptions AS this
        JOIN app.subscriptions AS other ON other.user_id = this.user_id
        WHERE this.stripe_subscription_id = ANY (:ids)
    )
    ORDER BY object.id
""")
_REPLACE_CURRENT = text("""
    UPDATE app.subscriptions
    SET ended_at = now(), updated_at = now(),
        status = CASE WHEN stripe_subscription_id IS NULL THEN 'canceled' ELSE status END
    WHERE user_id = :user AND ended_at IS NULL AND id IS DISTINCT FROM :chosen
""")
# What an unbilled plan gives way to leads back to it; so does what takes the place of such a subscription. The plan is
# handed on, not copied: who ends it later is not put on it again by what had it before.
_INHERIT_FALLBACK = text("""
    WITH before AS (
        SELECT id, CASE WHEN stripe_subscription_id IS NULL THEN plan_id ELSE fallback_plan_id END AS plan_id
        FROM app.subscriptions
        WHERE user_id = :user AND id <> :chosen
            AND CASE WHEN stripe_subscription_id IS NULL THEN ended_at IS NULL ELSE fallback_plan_id IS NOT NULL END
        ORDER BY ended_at DESC NULLS FIRST, id DESC LIMIT 1
    ), handed AS (
        UPDATE app.subscriptions AS chosen SET fallback_plan_id = before.plan_id, updated_at = now()
        FROM before
        WHERE chosen.id = :chosen AND chosen.stripe_subscription_id IS NOT NULL AND chosen.fallback_plan_id IS NULL
        RETURNING before.id
    )
    UPDATE app.subscriptions SET fallback_plan_id = NULL, updated_at = now()
    WHERE id IN (SELECT id FROM handed) AND fallback_plan_id IS NOT NULL
""")
_TAKE_FALLBACK = text("""
    WITH taken AS (
        UPDATE app.subscriptions AS ended SET fallback_plan_id = NULL, updated_at = now()
        FROM app.subscriptions AS was, app.plans, app.users
        WHERE was.id = ended.id AND ended.user_id = :user AND ended.status IN ('canceled', 'incomplete_expired')
            AND plans.id = was.fallback_plan_id AND plans.archived_at IS NULL
            AND users.id = :user AND users.deleted_at IS NULL
        RETURNING ended.id, ended.ended_at, was.fallback_plan_id
    )
    SELECT fallback_plan_id FROM taken ORDER BY ended_at DESC, id DESC
""")
_QUESTIONABLE = text("""
    WITH open AS NOT MATERIALIZED (
        SELECT * FROM app.subscriptions
        WHERE stripe_subscription_id IS NOT NULL AND status NOT IN ('canceled', 'incomplete_expired')
            AND (CAST(:user AS bigint) IS NULL OR user_id = :user)
    ), found AS (
        SELECT aside.*, paid.stripe_subscription_id AS beside
        FROM open AS aside JOIN open AS paid ON paid.user_id = aside.user_id AND paid.ended_at IS NULL
        WHERE aside.ended_at IS NOT NULL AND aside.status IN ('active', 'trialing', 'past_due')
            AND paid.status IN ('active', 'trialing', 'past_due')
        UNION
        SELECT open.*, NULL FROM open WHERE unknown_status IS NOT NULL OR plan_items <> 1
        UNION
        SELECT open.*, NULL FROM open JOIN app.users ON users.id = open.user_id
        WHERE (users.status = 'disabled' OR users.deleted_at IS NOT NULL) AND open.status <> 'incomplete'
            AND open.cancel_at IS NULL
        UNION
        SELECT open.*, NULL FROM open WHERE end_due_at < now()
    )
    SELECT found.stripe_subscription_id AS id, found.beside, found.status, found.unknown_status, found.plan_items,
        found.end_due_at, found.end_due_at < now() AS is_overdue, found.user_id, users.email,
        users.deleted_at IS NOT NULL AS is_deleted, users.status = 'disabled' AS is_disabled
    FROM found JOIN app.users ON users.id = found.user_id
    ORDER BY found.user_id, found.id LIMIT :limit
""")

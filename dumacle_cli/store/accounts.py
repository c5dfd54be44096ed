"""Queries about the account at Stripe that plans are sold at; the schema of the previous release has none."""

from dataclasses import dataclass

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from dumacle_cli.store import functions
from dumacle_cli.store.models import BillingAccount

WITNESSES = 5


@dataclass(frozen=True, slots=True)
class Account:
    """The account that everything mirrored belongs to; what is None is not known yet."""

    id: int
    account: str | None
    livemode: bool | None


def are_known(session: Session) -> bool:
    """Return whether the schema has accounts, which that of the previous release lacks."""
    return functions.is_there(session, "app.billing_account()")


def current(session: Session) -> Account | None:
    """Return the account that plans are sold at, or None before the first."""
    if not are_known(session):
        return None
    query = select(BillingAccount).where(BillingAccount.left_at.is_(None))
    found = session.scalars(query, execution_options={"populate_existing": True}).one_or_none()
    return Account(found.id, found.account, found.livemode) if found else None


def bind(session: Session, account: str | None, livemode: bool) -> None:
    """Save account and mode where they are not known yet; raises Conflict if others are."""
    if are_known(session):
        session.execute(select(func.app.bind_billing_account(account, livemode)))


def of_object(session: Session, object_id: str) -> int | None:
    """Return the id of the account that a mirrored object belongs to, or None."""
    found = session.scalar(_OF_OBJECT, {"id": object_id})
    return None if found is None else int(found)


def own(session: Session, object_id: str) -> None:
    """Save that a mirrored object belongs to the account that plans are sold at."""
    session.execute(
        text("UPDATE app.stripe_objects SET account_id = app.billing_account() WHERE id = :id"), {"id": object_id}
    )


def witnesses(session: Session) -> list[tuple[str, str]]:
    """Return kind and id of some objects that the account surely has: products of plans, else the last others."""
    return [(kind, id_) for kind, id_ in session.execute(_WITNESSES, {"limit": WITNESSES})]


def switch(session: Session, known: Account, account: str | None, livemode: bool) -> int:
    """Leave an account for another: nothing of it is sold or current any more; returns how many subscriptions ended."""
    session.execute(_LEAVE, {"id": known.id})
    session.execute(select(func.app.bind_billing_account(account, livemode)))
    for statement in _FORGET:
        session.execute(statement, {"id": known.id})
    return len(session.execute(_END).all())


def left_behind(session: Session, user_id: int) -> list[tuple[str, str]]:
    """Return a user's subscriptions at accounts that were left, which may still be billed there, and those accounts."""
    if not are_known(session):
        return []
    return [(id_, account) for id_, account in session.execute(_LEFT_BEHIND, {"user": user_id})]


_LEFT_BEHIND = text("""
    SELECT s.stripe_subscription_id,
        coalesce(a.account, 'an account') || CASE WHEN a.livemode THEN '' ELSE ' in test mode' END
    FROM app.subscriptions AS s
    JOIN app.stripe_objects AS o ON o.id = s.stripe_subscription_id
    JOIN app.billing_accounts AS a ON a.id = o.account_id AND a.left_at IS NOT NULL
    WHERE s.user_id = :user AND coalesce(o.state ->> 'status', '') NOT IN ('canceled', 'incomplete_expired')
    ORDER BY s.id
""")
# A row written by the previous release has no column of this name.
_OF_OBJECT = text("""
    SELECT CAST(to_jsonb(object) ->> 'account_id' AS bigint) FROM app.stripe_objects AS object WHERE id = :id
""")
_WITNESSES = text("""
    SELECT kind, id FROM (
        (SELECT 'price' AS kind, price_id AS id, 1 AS rank FROM app.plan_prices
         WHERE account_id = app.billing_account() ORDER BY created_at DESC LIMIT :limit)
        UNION ALL
        (SELECT 'subscription', stripe_subscription_id, 2 FROM app.subscriptions
         WHERE stripe_subscription_id IS NOT NULL AND status NOT IN ('canceled', 'incomplete_expired')
         ORDER BY id DESC LIMIT :limit)
        UNION ALL
        (SELECT 'customer', stripe_customer_id, 3 FROM app.customers ORDER BY created_at DESC LIMIT :limit)
    ) AS found ORDER BY rank LIMIT :limit
""")
_LEAVE = text("UPDATE app.billing_accounts SET left_at = now() WHERE id = :id AND left_at IS NULL")
_FORGET = (
    text(
        "UPDATE app.plans SET stripe_product_id = NULL, stripe_price_id = NULL, lookup_key = NULL, updated_at = now() "
        "WHERE stripe_product_id IS NOT NULL OR stripe_price_id IS NOT NULL"
    ),
    text("DELETE FROM app.customers"),
    text("DELETE FROM app.findings"),
    text(
        "UPDATE app.stripe_objects SET wanted_at = NULL, lease_token = NULL, leased_until = NULL "
        "WHERE account_id = :id AND (wanted_at IS NOT NULL OR lease_token IS NOT NULL)"
    ),
)
_END = text("""
    UPDATE app.subscriptions SET status = 'canceled', ended_at = coalesce(ended_at, now()), updated_at = now()
    WHERE stripe_subscription_id IS NOT NULL AND status NOT IN ('canceled', 'incomplete_expired') RETURNING id
""")

"""The mirror: what is at Stripe becomes what is here, in whichever order and however often it is learnt."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Session

from dumacle_cli.errors import NotApplied
from dumacle_cli.ids import parse_id
from dumacle_cli.plain import plain
from dumacle_cli.services.products import tags
from dumacle_cli.store import mirror as store
from dumacle_cli.store import models, queue, stripe, subscriptions

if TYPE_CHECKING:
    from dumacle_cli.clients.billing import Object


@dataclass(frozen=True, slots=True)
class Applied:
    """What applying an object came to: `applied`, `ignored` or `foreign`, a finding, and the state that was applied."""

    status: str
    finding: str | None = None
    state: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Subscription:
    """A subscription at Stripe, less what nobody here needs."""

    id: str
    status: str
    customer: str
    metadata: Mapping[str, str]
    prices: list[str]
    products: list[str]
    period_start: datetime
    period_end: datetime
    cancel_at_period_end: bool
    started_at: datetime
    ended_at: datetime | None
    anchor: datetime

    @property
    def is_over(self) -> bool:
        """Whether it has ended for good."""
        return self.status in models.plans.FINAL_STATUSES


def want(session: Session, targets: list[stripe.Target], livemode: bool | None = None) -> dict[str, int]:
    """Want the present state of objects at Stripe, and wake a worker for them; returns how often each was wanted."""
    wanted = stripe.want(session, targets, livemode)
    queue.wake_stripe(session, list(wanted))
    return wanted


def pointed(kind: str, found: "Object") -> list[stripe.Target]:
    """Return the objects that are to be fetched when this one changed; raises LookupError or TypeError."""
    if kind == "invoice":
        details = (found["parent"] or {}).get("subscription_details") or {}
        ids = {"subscription": details.get("subscription")}
    elif kind == "checkout.session":
        ids = {"subscription": found["subscription"], "customer": found["customer"]}
    else:
        ids = {kind: found["id"]}
    return [(name, _id(value)) for name, value in ids.items() if value]


def apply_pointer(session: Session, kind: str, found: "Object | None") -> Applied:
    """Apply an invoice or a checkout by wanting what it is about."""
    try:
        targets = pointed(kind, found) if found else []
    except (LookupError, TypeError, AttributeError) as fault:
        raise _unexpected(fault) from None
    if targets:
        want(session, targets)
    return Applied("applied" if targets else "ignored")


def apply_customer(session: Session, id_: str, found: "Object | None", installation: str) -> Applied:
    """Remember or forget who a user is at Stripe; raises NotApplied where there is no such user."""
    if found is None:
        stripe.forget_customer(session, id_)
        return Applied("applied")
    user_id = _owner(session, found.get("metadata") or {}, id_, installation)
    if user_id is None:
        return Applied("foreign")
    kept = stripe.keep_customer(session, user_id, id_)
    finding = None if kept == id_ else f"user {user_id} is customer {kept} already"
    return Applied("applied", finding, {"user": user_id})


def apply_subscription(session: Session, id_: str, found: "Object | None", installation: str) -> Applied:
    """Let a user's subscription be as it is at Stripe, and choose which of his is the one that he is on.

    Raises NotApplied where there is no such user or plan, or where Stripe says what nobody foresaw.
    """
    state = read(found) if found else None
    user_id = store.owner(session, id_)
    if user_id is None and state:
        user_id = _owner(session, state.metadata, state.customer, installation)
    if user_id is None:
        return Applied("foreign" if state else "ignored")
    if not store.lock_user(session, user_id):
        raise NotApplied(reason=f"there is no user {user_id}")
    before = _entitlement(store.standing(session, user_id))
    if state:
        _save(session, user_id, state)
    else:
        store.end(session, id_)
    finding = _settle(session, user_id, id_, state, before)
    return Applied("applied", finding, kept(state) if state else None)


def _save(session: Session, user_id: int, state: Subscription) -> None:
    if state.status not in models.plans.SUBSCRIPTION_STATUSES:
        raise NotApplied(reason=f"status {state.status!r} is not known")
    plan_id = store.plan_of(session, state.prices, state.products)
    if plan_id is None:
        raise NotApplied(reason=f"no plan is sold at {', '.join(state.prices)}")
    store.save(
        session,
        state.is_over,
        user_id=user_id,
        plan_id=plan_id,
        status=state.status,
        id=state.id,
        customer=state.customer,
        period_start=state.period_start,
        period_end=state.period_end,
        cancel_at_period_end=state.cancel_at_period_end,
        started_at=state.started_at,
        ended_at=state.ended_at,
    )


def kept(state: Subscription) -> dict[str, Any]:
    """Return what of a state is kept: not what people wrote at Stripe, which may hold a NUL that jsonb refuses."""
    return {name: value for name, value in plain(state).items() if name != "metadata"}


Entitlement = tuple[int, int] | None
"""The row and the plan of the subscription that gives a user his limits."""


def _settle(session: Session, user_id: int, id_: str, state: Subscription | None, before: Entitlement) -> str | None:
    """Choose a user's subscription with what comes with it, and return what somebody should look at."""
    rows = store.standing(session, user_id)
    chosen = min(rows, key=_rank, default=None)
    touched = {row.stripe_subscription_id for row in rows if row is chosen or row.ended_at is None}
    store.choose(session, user_id, chosen.id if chosen else None)
    after = _entitlement(store.standing(session, user_id))
    if after and after != before:
        subscriptions.grant_pods(session, [user_id], [after[1]])
    if chosen and chosen.stripe_subscription_id == id_ and state and after:
        store.move_anchor(session, user_id, state.anchor)
    # The state of another says from when its months count, and its finding may have come or gone with this one.
    if others := sorted(other for other in touched if other and other != id_):
        want(session, [("subscription", other) for other in others])
    paid = sorted(row.stripe_subscription_id for row in rows if row.stripe_subscription_id and _entitles(row))
    return f"user {user_id} pays for {' and '.join(paid)}" if len(paid) > 1 and id_ in paid else None


def _rank(row: models.Subscription) -> tuple[int, datetime, str]:
    """Order a user's subscriptions by which he is on, without regard to which was learnt first."""
    if row.stripe_subscription_id is None:
        place = 2
    elif _entitles(row):
        place = 0
    else:
        # What is unpaid or paused was paid once, and took the place of what nobody bills; what is incomplete never was.
        place = 3 if row.status == "incomplete" else 1
    return place, row.started_at, row.stripe_subscription_id or ""


def _entitles(row: models.Subscription) -> bool:
    return row.status in models.plans.ENTITLED_STATUSES


def _entitlement(rows: list[models.Subscription]) -> Entitlement:
    live = (row for row in rows if row.ended_at is None and _entitles(row))
    return next(((row.id, row.plan_id) for row in live), None)


def _owner(session: Session, metadata: Mapping[str, str], customer: str, installation: str) -> int | None:
    """Return the user for whom this installation made an object, or None where it made none such."""
    if "installation" not in metadata:
        return stripe.customers_user(session, customer)
    if not tags(installation).items() <= metadata.items():
        return None
    user = metadata.get("user", "")
    user_id = parse_id(user)
    if user_id is None or not store.lock_user(session, user_id):
        raise NotApplied(reason=f"there is no user {user!r}")
    return user_id


def read(found: "Object") -> Subscription:
    """Return what a subscription at Stripe says; raises NotApplied where it is not as Stripe describes it."""
    try:
        items = found["items"]["data"]
        return Subscription(
            id=found["id"],
            status=found["status"],
            customer=_id(found["customer"]),
            metadata=found["metadata"] or {},
            prices=[item["price"]["id"] for item in items],
            products=[_id(item["price"]["product"]) for item in items],
            period_start=_instant(items[0]["current_period_start"]),
            period_end=_instant(items[0]["current_period_end"]),
            cancel_at_period_end=found["cancel_at_period_end"],
            started_at=_instant(found["start_date"]),
            ended_at=_instant(found["ended_at"]) if found["ended_at"] else None,
            anchor=_instant(found["billing_cycle_anchor"]),
        )
    except (LookupError, TypeError, ValueError, OverflowError) as fault:
        raise _unexpected(fault) from None


def _unexpected(fault: Exception) -> NotApplied:
    return NotApplied(reason=f"it is not as Stripe describes it ({type(fault).__name__}: {fault})")


def _id(value: Any) -> str:
    """Return the id of what may be expanded."""
    return str(value["id"] if isinstance(value, dict) else value)


def _instant(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)

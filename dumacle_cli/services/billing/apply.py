"""Apply Stripe's objects: fetch the present state of an object that may have changed, and update our rows to match.

The result is the same in whichever order, and however often, changes are learned of. `apply_object` lives longer than
a transaction: none is open during a request to Stripe. A lease fences it: a state is not applied once another worker
has claimed the object. After a kill the lease runs out, and applying the same state again changes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Session

from dumacle_cli.errors import DumacleError, NotApplied, UnknownPrice
from dumacle_cli.ids import parse_id
from dumacle_cli.services.billing import BillingContext, binding, catalog, inbox, objects, review
from dumacle_cli.services.billing.findings import Found, is_own_fault, not_applied, other_customer
from dumacle_cli.services.billing.objects import Item, SubscriptionState
from dumacle_cli.store import findings, models, plans, quotas, subscriptions
from dumacle_cli.store import stripe as store
from dumacle_cli.store.stripe import Claim, Target

if TYPE_CHECKING:
    from dumacle_cli.clients.stripe import Object

# Longer than the client waits for two answers of Stripe, with its retries: subscribing reads first and then charges.
LEASE_S = 180
BACKOFF_S = (60, 300, 1800, 7200, 43_200)


@dataclass(frozen=True, slots=True)
class Applied:
    """The result of applying an object: `applied`, `ignored` or `foreign`, what is wrong, and the state to store."""

    status: str
    found: list[Found] = field(default_factory=list)
    state: dict[str, Any] | None = None

    @property
    def warning(self) -> str | None:
        """What is wrong in a sentence, or None."""
        return "; ".join(each.sentence for each in self.found) or None


# Claim, fetch, apply


def refresh(context: BillingContext, target: Target) -> str | None:
    """Apply an object that was just changed at Stripe; None if a worker has claimed it, which then applies it again."""
    with context.database.session() as session:
        inbox.request_refresh(session, [target], context.stripe.livemode)
    return apply_object(context, target[1])


def apply_object(context: BillingContext, object_id: str) -> str | None:
    """Fetch and apply an object until no refresh of it is requested; return the last status.

    That is `applied`, `ignored`, `foreign`, `parked` (retried later) or `dead` (given up), or None if no refresh was
    requested or another worker has claimed the object. Errors are stored with the object, except database errors.
    """
    status = None
    while claim := _claim(context, object_id):
        status = _apply_claimed(context, claim)
    return status


def _claim(context: BillingContext, object_id: str) -> Claim | None:
    with context.database.session() as session:
        return store.claim(session, object_id, LEASE_S)


def _apply_claimed(context: BillingContext, claim: Claim) -> str:
    try:
        place = binding.place(context, claim)
        found = None if place == "other mode" else context.stripe.fetch(claim.kind, claim.id)
        if found is None and place != "here":
            return _leave(context, claim)
        if claim.kind == "customer" and found:
            _tell_email(context, found)
        with context.database.session() as session:
            if place != "here":
                binding.take_over(session, claim)
            return apply(session, claim, found, context.installation)
    except DumacleError as error:
        with context.database.session() as session:
            return postpone(session, claim, error)


def _leave(context: BillingContext, claim: Claim) -> str:
    """Settle an object of another account or mode without fetching it."""
    with context.database.session() as session:
        store.settle(session, claim, "foreign", None, None)
        findings.replace(session, claim.id, [])
    return "foreign"


def _tell_email(context: BillingContext, customer: "Object") -> None:
    """Give Stripe the new e-mail address and name of a user whose address was changed here."""
    with context.database.session(read_only=True) as session:
        user = store.moved_user(session, customer["id"])
    if user:
        told = (customer["email"] or "").casefold(), customer["name"] or ""
        if told != (user.email.casefold(), user.name):
            context.stripe.update_customer(customer["id"], user.email, user.name)
        with context.database.session() as session:
            store.save_told_email(session, user.id, user.email)


def apply(session: Session, claim: Claim, found: "Object | None", installation: str) -> str:
    """Apply the fetched state of a claimed object, None if Stripe does not have it; return the status.

    That is `applied`, `ignored` or `foreign`. Raises NotApplied, also if another worker has claimed it meanwhile.
    """
    done = _applied(session, claim, found, installation)
    if not store.settle(session, claim, done.status, done.warning, done.state):
        raise NotApplied(reason="another worker has claimed it")
    findings.replace(session, claim.id, done.found)
    return done.status


def _applied(session: Session, claim: Claim, found: "Object | None", installation: str) -> Applied:
    if claim.kind == "subscription":
        return _apply_subscription(session, claim.id, found, installation)
    if claim.kind == "customer":
        return _apply_customer(session, claim.id, found, installation)
    return _apply_reference(session, claim.kind, found)


def postpone(session: Session, claim: Claim, error: DumacleError) -> str:
    """Schedule a retry, or give the object up after the last one; return `parked` or `dead`."""
    # An error that is not the object's, such as Stripe being down or a wrong key, is retried without limit.
    final = is_own_fault(error) and claim.attempts >= len(BACKOFF_S)
    seconds = None if final else BACKOFF_S[min(claim.attempts, len(BACKOFF_S) - 1)]
    store.postpone(session, claim, str(error), seconds)
    findings.add(session, claim.id, not_applied(claim.id, error, given_up=final))
    return "dead" if final else "parked"


# Checkouts, invoices, schedules, customers


def _apply_reference(session: Session, kind: str, found: "Object | None") -> Applied:
    """Apply an invoice, a checkout session or a schedule by requesting a refresh of the objects it refers to."""
    try:
        targets = objects.targets(kind, found) if found else []
    except (LookupError, TypeError, AttributeError) as fault:
        raise objects.unexpected(fault) from None
    if targets:
        inbox.request_refresh(session, targets)
    return Applied("applied" if targets else "ignored")


def _apply_customer(session: Session, id_: str, customer: "Object | None", installation: str) -> Applied:
    """Save or delete the customer of a user; raises NotApplied if there is no such user."""
    if customer is None:
        store.delete_customer(session, id_)
        return Applied("applied")
    user_id = _owner(session, customer.get("metadata") or {}, id_, installation)
    if user_id is None:
        return Applied("foreign")
    saved = store.save_customer(session, user_id, id_)
    found = [] if saved == id_ else [other_customer(user_id, saved)]
    return Applied("applied", found, {"user": user_id})


def _owner(session: Session, metadata: Mapping[str, str], customer: str, installation: str) -> int | None:
    """Return the user whom an object belongs to, or None if it is not of this installation."""
    if "installation" not in metadata:
        return store.user_of_customer(session, customer)
    if not objects.tags(installation).items() <= metadata.items():
        return None
    user = metadata.get("user", "")
    user_id = parse_id(user)
    if user_id is None or not subscriptions.lock_user(session, user_id):
        raise NotApplied(reason=f"there is no user {user!r}")
    return user_id


# Subscriptions


def _apply_subscription(session: Session, id_: str, found: "Object | None", installation: str) -> Applied:
    """Save a subscription, and choose again which of the user's subscriptions is current.

    Raises NotApplied if there is no such user or plan.
    """
    state = objects.subscription_state(found) if found else None
    user_id = subscriptions.user_of(session, id_)
    if user_id is None and state:
        user_id = _owner(session, state.metadata, state.customer, installation)
    if user_id is None:
        return Applied("foreign" if state else "ignored")
    if not subscriptions.lock_user(session, user_id):
        raise NotApplied(reason=f"there is no user {user_id}")
    before = _entitlement(subscriptions.open_subscriptions(session, user_id))
    if found and state:
        _save(session, user_id, state, found)
    else:
        subscriptions.end_missing(session, id_)
    _choose_current(session, user_id, id_, state, before)
    return Applied("applied", review.save(session, user_id).get(id_, []), state.stored() if state else None)


def _save(session: Session, user_id: int, state: SubscriptionState, found: "Object") -> None:
    sold = plan_items(session, state)
    if not sold and catalog.recognised(session, found):
        sold = plan_items(session, state)
    if not sold:
        raise UnknownPrice(state.prices)
    item, plan = sold[0]
    following = [next_ for next_ in plans.sold(session, state.next_prices, ()).values() if next_.id != plan.id]
    subscriptions.save(
        session,
        state.has_ended,
        user_id=user_id,
        plan_id=plan.id,
        status=state.status if state.is_known else None,
        unknown_status=None if state.is_known else state.status,
        id=state.id,
        customer=state.customer,
        period_start=item.period_start,
        period_end=item.period_end,
        cancel_at_period_end=state.cancel_at_period_end,
        cancel_at=state.cancel_at,
        trial_end=state.trial_end,
        pause_collection=state.pause_collection,
        resumes_at=state.resumes_at,
        quantity=item.quantity,
        plan_items=len(sold),
        schedule=state.schedule,
        next_plan_id=following[0].id if following else None,
        started_at=state.started_at,
        ended_at=state.ended_at,
    )


def plan_items(session: Session, state: SubscriptionState) -> list[tuple[Item, models.Plan]]:
    """Return the items of a subscription that are prices of plans, the dearest plan first; the others are add-ons.

    They are recognised by price, then by product: a price that was replaced keeps its product.
    """
    sold = plans.sold(session, state.prices, state.products)
    found = [(item, sold.get(item.price) or sold.get(item.product)) for item in state.items]
    return sorted(
        ((item, plan) for item, plan in found if plan), key=lambda each: (-each[1].price, each[1].id, each[0].id)
    )


Entitlement = tuple[int, int] | None
"""The row and the plan of the subscription that sets a user's limits."""


def _choose_current(
    session: Session, user_id: int, id_: str, state: SubscriptionState | None, before: Entitlement
) -> None:
    """Choose a user's current subscription, or the plan to fall back on; grant its pod, move the quota anchor."""
    rows = subscriptions.open_subscriptions(session, user_id)
    current = min(rows, key=_rank, default=None)
    touched = {row.stripe_subscription_id for row in rows if row is current or row.ended_at is None}
    subscriptions.set_current(session, user_id, current.id if current else None)
    if current is None:
        subscriptions.fall_back(session, user_id)
    after = _entitlement(subscriptions.open_subscriptions(session, user_id))
    if after and after != before:
        subscriptions.grant_pods(session, [user_id], [after[1]])
    if current and current.stripe_subscription_id == id_ and state and after:
        quotas.set_anchor(session, user_id, state.anchor)
    # The anchor is in the state of the other subscription, and its warning may have come or gone with this one.
    if others := sorted(other for other in touched if other and other != id_):
        inbox.request_refresh(session, [("subscription", other) for other in others])


def _rank(row: models.Subscription) -> tuple[int, datetime, str]:
    """Order a user's subscriptions, the current one first, whichever was learned of first."""
    if row.stripe_subscription_id is None:
        rank = 2
    elif _entitles(row):
        rank = 0
    else:
        # An unpaid or paused subscription was paid once and replaced an unbilled one; an incomplete one never was.
        rank = 3 if row.status == "incomplete" else 1
    return rank, row.started_at, row.stripe_subscription_id or ""


def _entitles(row: models.Subscription) -> bool:
    return row.status in models.plans.ENTITLED_STATUSES


def _entitlement(rows: list[models.Subscription]) -> Entitlement:
    entitling = (row for row in rows if row.ended_at is None and _entitles(row))
    return next(((row.id, row.plan_id) for row in entitling), None)

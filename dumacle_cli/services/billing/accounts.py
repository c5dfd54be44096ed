"""Accounts: a user's customer and subscriptions at Stripe, fetched before each act, so that no act believes our rows.

What is fetched here is applied at once where it differs from the rows. No transaction is open during a request.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from dumacle_cli.errors import Conflict
from dumacle_cli.services import users
from dumacle_cli.services.billing import BillingContext, apply, catalog, review
from dumacle_cli.services.billing.objects import Item, SubscriptionState, subscription_state, tags
from dumacle_cli.store import stripe, subscriptions

if TYPE_CHECKING:
    from dumacle_cli.clients.stripe import Object, Tags


@dataclass(frozen=True, slots=True)
class Account:
    """A user, with what is known here of them at Stripe: customer, e-mail address given, open subscriptions.

    `tags` mark objects that are made for them.
    """

    id: int
    email: str
    name: str
    customer: str | None
    told_email: str | None
    open: tuple[str, ...]
    tags: "Tags"

    @property
    def is_known(self) -> bool:
        """Whether Stripe may know the user."""
        return bool(self.customer or self.open)


@dataclass(frozen=True, slots=True)
class PlanItem:
    """An item of a subscription that is the price of a plan.

    `price` is what the plan costs per interval in the currency of the subscription, in minor units; None if it is not
    sold in that one any more.
    """

    item: Item
    plan: str
    price: int | None
    interval: str


@dataclass(frozen=True, slots=True)
class Fetched:
    """A subscription as Stripe just returned it, and its items that are plans, the dearest first."""

    state: SubscriptionState
    plans: list[PlanItem]

    @property
    def plan(self) -> str | None:
        """The plan that it is sold as."""
        return self.plans[0].plan if self.plans else None


def account(session: Session, reference: str, installation: str) -> Account:
    """Return what is known here of a user at Stripe, deleted or not; raises NotFound."""
    user = users.get_any(session, reference)
    customer = stripe.customer_of(session, user.id)
    told = stripe.told_email(session, user.id) if customer else None
    known = tuple(subscriptions.open_ids(session, user.id))
    return Account(user.id, user.email, user.name, customer, told, known, tags(installation, user=str(user.id)))


def owner(session: Session, subscription: str, installation: str) -> Account | None:
    """Return the account that a subscription at Stripe belongs to, or None."""
    user_id = subscriptions.user_of(session, subscription)
    return None if user_id is None else account(session, str(user_id), installation)


def fetch(context: BillingContext, known: Account, *, mirror: bool = True) -> list[Fetched]:
    """Return a user's subscriptions as they are at Stripe now, also ended ones; applied to the rows if `mirror`."""
    found, gone = _subscriptions(context, known)
    states = [subscription_state(each) for each in found]
    if mirror:
        _mirror(context, known, states, gone)
    with context.database.session(read_only=True) as session:
        return [Fetched(state, _plan_items(session, state)) for state in states]


def _subscriptions(context: BillingContext, known: Account) -> "tuple[list[Object], list[stripe.Target]]":
    """Return the subscriptions at Stripe that are a user's, and what is known here and does not exist there."""
    gone: list[stripe.Target] = []
    listed: list[Object] = []
    if known.customer:
        if context.stripe.fetch("customer", known.customer):
            listed = list(context.stripe.subscriptions(known.customer))
        else:
            gone.append(("customer", known.customer))
    for id_ in set(known.open) - {each["id"] for each in listed}:
        each = context.stripe.fetch("subscription", id_)
        listed += [each] if each else []
        gone += [] if each else [("subscription", id_)]
    ours = known.tags.items()
    return [each for each in listed if "installation" not in each["metadata"] or ours <= each["metadata"].items()], gone


def _mirror(
    context: BillingContext, known: Account, states: list[SubscriptionState], gone: "list[stripe.Target]"
) -> None:
    """Apply what differs from the rows; what ended before it was known here stays unknown."""
    with context.database.session(read_only=True) as session:
        stored = stripe.states(session, [state.id for state in states])
    differing = [state for state in states if stored.get(state.id) != state.stored()]
    targets = [("subscription", state.id) for state in differing if not state.has_ended or state.id in known.open]
    for target in [*gone, *targets]:
        apply.refresh(context, target)


def _plan_items(session: Session, state: SubscriptionState) -> list[PlanItem]:
    return [
        PlanItem(item, plan.name, catalog.amounts(session, plan).get(state.currency), plan.interval)
        for item, plan in apply.plan_items(session, state)
    ]


def charged(fetched: list[Fetched]) -> list[Fetched]:
    """Return the subscriptions for which Stripe charges, or will once they are paid or resumed."""
    return [each for each in fetched if each.state.is_billed]


def the_one(known: Account, fetched: list[Fetched], named: str = "") -> Fetched | None:
    """Return the subscription to act on: the named one, or the only one to a plan that is charged; None without one.

    Raises Conflict if a user pays for several, or if it is to no plan or to several.
    """
    if named:
        return next((each for each in fetched if each.state.id == named), None)
    found = charged(fetched)
    to_plans = [each for each in found if each.plans]
    if len(to_plans) > 1:
        first, second = sorted(to_plans, key=lambda each: each.state.started_at)[:2]
        finding = review.double(known.email, first.state.id, second.state.id)
        raise Conflict(reason=finding.sentence, advice=finding.fix)
    if found and not to_plans:
        state = found[0].state
        reason = f"no plan has the price of {state.id} of {known.email}: {', '.join(state.prices)}"
        raise Conflict(reason=reason, advice="dumacle plans push, or act at Stripe's dashboard")
    return to_plans[0] if to_plans else None

"""Changes to billed subscriptions, made at Stripe: another plan, the end, and taking either back.

Each acts on a subscription that was just fetched, and shows and applies what Stripe answered. No transaction is open
during a request to Stripe.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, TypeVar

from sqlalchemy.orm import Session

from dumacle_cli.errors import Conflict, NotMirrored, StripeForbidden, StripeRefused
from dumacle_cli.escapes import quoted
from dumacle_cli.services import plans
from dumacle_cli.services.billing import BillingContext, apply, catalog, due_ends, refunds, subscriptions
from dumacle_cli.services.billing.accounts import Account, Fetched, PlanItem
from dumacle_cli.services.billing.objects import subscription_state
from dumacle_cli.services.billing.subscriptions import Subscription
from dumacle_cli.store import subscriptions as store
from dumacle_cli.units import show_instant

if TYPE_CHECKING:
    from dumacle_cli.clients.stripe import Object
    from dumacle_cli.services.billing.objects import SubscriptionState

S = TypeVar("S", bound=Subscription)
INTERVALS = ("month", "year")
Step = Literal["none", "now", "later", "end"]
"""How a subscription gets to another plan: not at all, at once, at the end of the paid period, or by ending then."""


@dataclass(frozen=True, slots=True)
class WantedPlan:
    """A plan to change to, with its minor units per interval in each currency; without a price it is not at Stripe."""

    id: int
    name: str
    price_id: str | None
    amounts: Mapping[str, int]
    interval: str


@dataclass(frozen=True, slots=True)
class Changed(Subscription):
    """A changed subscription; `prorated` is what Stripe adds to the next invoice, if it was previewed."""

    prorated: str | None
    currency: str | None


def wanted(session: Session, plan: str) -> WantedPlan:
    """Return a plan that may be changed to; raises NotFound, or Conflict if it is archived or was not pushed."""
    found = plans.for_sale(session, plan)
    price = catalog.price_for_sale(session, plan) if found.stripe_price_id else None
    return WantedPlan(found.id, found.name, price, catalog.amounts(session, found), found.interval)


# Another plan


def move(session: Session, reference: str, plan: str) -> tuple[Changed, bool]:
    """Move a user from one unbilled plan to another; raises NotFound, UsageError or Conflict."""
    moved, changed = subscriptions.move(session, reference, plan)
    return unchanged(moved), changed


def unchanged(found: Subscription) -> Changed:
    """Return a subscription that was not changed at Stripe."""
    return Changed(**asdict(found), prorated=None, currency=None)


def step(known: Account, chosen: Fetched, plan: WantedPlan, *, now: bool) -> Step:
    """Return how a subscription gets to a plan; raises Conflict if that cannot be done without losing something."""
    state, user = chosen.state, quoted(known.email)
    if len(chosen.plans) > 1:
        named = " and ".join(each.plan for each in chosen.plans)
        raise Conflict(reason=f"{state.id} of {known.email} is several plans: {named}", advice=_one_item(state.id))
    present = chosen.plans[0]
    if present.plan == plan.name:
        return "none"
    if plan.price_id is None:
        if any(plan.amounts.values()):
            advice = f"dumacle plans push {quoted(plan.name)}"
            raise Conflict(reason=f"plan {plan.name} is not published to Stripe", advice=advice)
        return "end"
    if state.currency not in plan.amounts:
        sold = ", ".join(code.upper() for code in plan.amounts)
        reason = f"{known.email} pays in {state.currency.upper()}, and plan {plan.name} is sold in {sold}"
        raise Conflict(reason=reason, advice=f"dumacle plans cancel {user}, and subscribe again afterwards")
    if state.schedule:
        reason = f"{state.id} of {known.email} is managed by schedule {state.schedule}, which changes it later"
        raise Conflict(reason=reason, advice=f"undo that: dumacle plans resume {user}")
    later = not now and state.status != "trialing" and _is_less(plan, present, state.currency)
    if later and state.cancel_at:
        reason = f"{state.id} of {known.email} ends at {show_instant(state.cancel_at)}"
        raise Conflict(reason=reason, advice=f"undo that: dumacle plans resume {user}")
    return "later" if later else "now"


def _one_item(subscription: str) -> str:
    return f"remove all but one of the items of {subscription} at Stripe, then repeat the command"


def _is_less(plan: WantedPlan, present: PlanItem, currency: str) -> bool:
    """Whether a plan is a downgrade: paid for a shorter time, or cheaper for the same."""
    lengths = INTERVALS.index(plan.interval), INTERVALS.index(present.interval)
    cheaper = present.price is not None and plan.amounts[currency] < present.price
    return lengths[0] < lengths[1] or (lengths[0] == lengths[1] and cheaper)


def preview(context: BillingContext, chosen: Fetched, current: Subscription, plan: WantedPlan, way: Step) -> Changed:
    """Return a subscription as it would be after a change, with what Stripe would add to the next invoice."""
    if way != "now":
        return _foreseen(chosen, current, plan, way)
    invoice = context.stripe.preview_change(chosen.state.id, _item(chosen, plan))
    amount = sum(line["amount"] for line in invoice["lines"]["data"] if _is_proration(line))
    return Changed(
        **asdict(replace(current, plan=plan.name)),
        prorated=refunds.show_amount(amount, invoice["currency"]),
        currency=invoice["currency"].upper(),
    )


def _foreseen(chosen: Fetched, current: Subscription, plan: WantedPlan, way: Step) -> Changed:
    if way == "later":
        current = replace(current, next_plan=plan.name)
    elif way == "end":
        ending = _canceled(current, chosen.state, now=False)
        current = replace(ending, next_plan=None, fallback_plan=plan.name)
    return unchanged(current)


def _is_proration(line: "Object") -> bool:
    parent = line["parent"] or {}
    details = parent.get("subscription_item_details") or parent.get("invoice_item_details") or {}
    return bool(details.get("proration"))


def change(context: BillingContext, chosen: Fetched, current: Subscription, plan: WantedPlan, way: Step) -> Changed:
    """Change a subscription to another plan; raises StripeRefused if nothing was changed.

    An upgrade holds now and is prorated on the next invoice; a downgrade waits for the end of the paid period, as does
    the change to a plan that is not billed. Other items and quantities stay.
    """
    state, due = chosen.state, None
    if way == "end":
        due = _end_later(context, state)
        with context.database.session() as session:
            store.set_fallback(session, state.id, plan.id)
    elif way == "later":
        old, tags = chosen.plans[0].item.price, state.metadata
        context.stripe.change_later(state.id, old, plan.price_id or "", plan.interval, tags, context.operation)
    else:
        context.stripe.change(state.id, _item(chosen, plan), context.operation)
    done = applied(context, current.user, state.id)
    shows = {"now": plan.price_id in done.prices, "later": plan.price_id in done.next_prices}
    _require_done(shows.get(way, bool(done.has_ended or done.cancel_at or due)))
    foreseen = _foreseen(chosen, replace(current, plan=plan.name) if way == "now" else current, plan, way)
    return replace(_as_answered(foreseen, done), end_due_at=due)


def _item(chosen: Fetched, plan: WantedPlan) -> "Object":
    """Return the item of a subscription that is its plan, with the price of another one."""
    item = chosen.plans[0].item
    return {"id": item.id, "price": plan.price_id, "quantity": item.quantity}


# The end, and taking it back


def cancel(context: BillingContext, chosen: Fetched, current: Subscription, *, now: bool) -> Subscription:
    """End a subscription now, or at the end of the paid period; one that has ended already stays so."""
    due = None
    if now and not chosen.state.has_ended:
        context.stripe.cancel(chosen.state.id, now=True)
    elif not now:
        due = _end_later(context, chosen.state)
    done = applied(context, current.user, chosen.state.id)
    _require_done(done.has_ended or bool(not now and (done.cancel_at or due)))
    return replace(_as_answered(replace(current, next_plan=None), done), end_due_at=due)


def _require_done(done: bool) -> None:
    """Believe no success that Stripe's own state does not show; raises StripeRefused."""
    if not done:
        raise StripeRefused(reason="it accepted the request, and the subscription is as before")


def _end_later(context: BillingContext, state: "SubscriptionState") -> datetime | None:
    """Have a subscription end with its period; return when, if Dumacle has to do it because Stripe refused to."""
    if state.schedule:
        # What it would change later does not happen any more, and Stripe refuses to cancel under it.
        try:
            context.stripe.release(state.schedule)
        except (StripeRefused, StripeForbidden):
            return due_ends.put_off(context, state)
    if state.schedule or not (state.cancel_at or state.has_ended):
        mixed = len({item.period_end for item in state.items}) > 1
        context.stripe.cancel(state.id, now=False, mixed=mixed)
    due_ends.call_off(context, state)
    return None


def preview_cancel(current: Subscription, state: "SubscriptionState", *, now: bool) -> Subscription:
    """Return a subscription as it would be after its cancellation."""
    return current if state.has_ended else _canceled(current, state, now=now)


def _canceled(current: Subscription, state: "SubscriptionState", *, now: bool) -> Subscription:
    if now:
        return replace(current, status="canceled", ended_at=datetime.now(UTC))
    end = state.cancel_at or max(item.period_end for item in state.items)
    mixed = len({item.period_end for item in state.items}) > 1
    flag = state.cancel_at_period_end or not (state.cancel_at or mixed)
    return replace(current, cancel_at_period_end=flag, cancel_at=end, end_due_at=None)


def resume(context: BillingContext, chosen: Fetched, current: Subscription) -> tuple[Subscription, bool]:
    """Undo what is to end, change or suspend a subscription; return whether there was something to undo.

    Raises Conflict if it has ended already.
    """
    state = chosen.state
    if state.has_ended:
        reason = f"subscription {state.id} of {current.user} has ended"
        raise Conflict(reason=reason, advice=f"dumacle plans subscribe {quoted(current.user)} {quoted(current.plan)}")
    if current.end_due_at:
        due_ends.call_off(context, state)
        return replace(current, end_due_at=None), True
    if state.schedule:
        context.stripe.release(state.schedule)
    flag, date = state.cancel_at_period_end, bool(state.cancel_at) and not state.schedule
    paused = state.pause_collection is not None
    if flag or date or paused:
        answer = context.stripe.keep(state.id, flag=flag, date=date, paused=paused)
        if answer["cancel_at"]:
            # The other way of writing the end: which one counts depends on the billing mode.
            context.stripe.keep(state.id, flag=not flag, date=not date, paused=False)
    if state.status == "paused":
        context.stripe.unpause(state.id)
    if not (state.schedule or flag or date or paused or state.status == "paused"):
        return current, False
    done = applied(context, current.user, state.id)
    _require_done(not (done.cancel_at or done.schedule or done.pause_collection or done.status == "paused"))
    return replace(_as_answered(current, done), next_plan=None), True


def preview_resume(current: Subscription, state: "SubscriptionState") -> tuple[Subscription, bool]:
    """Return a subscription as it would be after `resume`, and whether that would change it."""
    if current.end_due_at:
        return replace(current, end_due_at=None), True
    status = "active" if state.status == "paused" else current.status
    changed = bool(state.schedule or state.cancel_at or state.pause_collection or state.status == "paused")
    if not changed:
        return current, False
    kept = replace(current, status=status, next_plan=None, cancel_at=None, cancel_at_period_end=False)
    return replace(kept, pause_collection=None, resumes_at=None), True


# What Stripe answered


def _as_answered(current: S, state: "SubscriptionState") -> S:
    """Return what is shown of a subscription, with the values that Stripe answered."""
    return replace(
        current,
        status=state.status if state.is_known else current.status,
        unknown_status=None if state.is_known else state.status,
        cancel_at_period_end=state.cancel_at_period_end,
        cancel_at=state.cancel_at,
        trial_end=state.trial_end,
        pause_collection=state.pause_collection,
        resumes_at=state.resumes_at,
        ended_at=state.ended_at,
    )


def applied(context: BillingContext, user: str, subscription: str) -> "SubscriptionState":
    """Apply a subscription that was just changed, and return its state at Stripe; raises NotMirrored."""
    status = apply.refresh(context, ("subscription", subscription))
    found = context.stripe.fetch("subscription", subscription)
    if status not in ("applied", None) or found is None:
        raise NotMirrored(subscription=subscription, user=user)
    return subscription_state(found)

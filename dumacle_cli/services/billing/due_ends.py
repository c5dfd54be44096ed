"""Ends that Stripe refuses to keep for us: recorded here, and carried out by `quotas reset` when they are due.

Stripe refuses where a subscription schedule manages a subscription, and the key may not release it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from dumacle_cli.errors import DumacleError
from dumacle_cli.services.billing import BillingContext, apply
from dumacle_cli.services.billing.objects import subscription_state
from dumacle_cli.store import subscriptions as store

if TYPE_CHECKING:
    from dumacle_cli.services.billing.objects import SubscriptionState


@dataclass(frozen=True, slots=True)
class Failure:
    """A subscription that could not be ended, and why."""

    subscription: str
    user: str
    error: DumacleError


def put_off(context: BillingContext, state: "SubscriptionState") -> datetime:
    """Record that a subscription has to be ended with its paid period; return when that is."""
    end = state.cancel_at or max(item.period_end for item in state.items)
    with context.database.session() as session:
        store.set_end_due(session, state.id, end)
    return end


def call_off(context: BillingContext, state: "SubscriptionState") -> None:
    """Forget that a subscription has to be ended."""
    with context.database.session() as session:
        store.set_end_due(session, state.id, None)


def carry_out(context: BillingContext) -> Iterator[Failure | None]:
    """End each subscription that is due at Stripe; yield None for each, or why it was not ended."""
    with context.database.session() as session:
        rows = store.ends_due(session)
    for id_, user in rows:
        try:
            _end(context, id_)
            yield None
        except DumacleError as error:
            yield Failure(id_, user, error)


def _end(context: BillingContext, id_: str) -> None:
    found = context.stripe.fetch("subscription", id_)
    if found and not subscription_state(found).has_ended:
        context.stripe.cancel(id_, now=True)
    apply.refresh(context, ("subscription", id_))

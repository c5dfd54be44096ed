"""Stripe's objects: the metadata that marks ours, which objects one refers to, and the state of a subscription."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dumacle_cli.clients.stripe_billing import id_of
from dumacle_cli.errors import NotApplied
from dumacle_cli.plain import plain
from dumacle_cli.store import models

if TYPE_CHECKING:
    from dumacle_cli.clients.stripe import Object, Tags
    from dumacle_cli.store.stripe import Target

APP = "dumacle"

# Not `incomplete`: its first payment never succeeded, so the user may still subscribe.
BILLED = ("active", "trialing", "past_due", "unpaid", "paused")


@dataclass(frozen=True, slots=True)
class Item:
    """One of the things that a subscription charges for: a price, how many of it, and the period that is paid."""

    id: str
    price: str
    product: str
    quantity: int
    period_start: datetime
    period_end: datetime


@dataclass(frozen=True, slots=True)
class SubscriptionState:
    """The state of a subscription at Stripe, reduced to what is used here.

    `cancel_at` is when it ends, whichever way the cancellation was written; `next_prices` are those of the next phase
    of its schedule.
    """

    id: str
    status: str
    customer: str
    metadata: Mapping[str, str]
    currency: str
    items: list[Item]
    cancel_at_period_end: bool
    cancel_at: datetime | None
    trial_end: datetime | None
    pause_collection: str | None
    resumes_at: datetime | None
    schedule: str | None
    next_prices: list[str]
    started_at: datetime
    ended_at: datetime | None
    anchor: datetime

    @property
    def has_ended(self) -> bool:
        """Whether the subscription has ended and cannot be resumed."""
        return self.status in models.plans.FINAL_STATUSES

    @property
    def is_known(self) -> bool:
        """Whether the status is one that this release knows."""
        return self.status in models.plans.SUBSCRIPTION_STATUSES

    @property
    def is_billed(self) -> bool:
        """Whether Stripe charges for it, or will once it is paid or resumed; an unknown status may do so."""
        return self.status in BILLED or not self.is_known

    @property
    def prices(self) -> list[str]:
        """The prices of all items."""
        return [item.price for item in self.items]

    @property
    def products(self) -> list[str]:
        """The products of all items."""
        return [item.product for item in self.items]

    def stored(self) -> dict[str, Any]:
        """Return the state as it is stored: without metadata, which may hold a NUL that jsonb refuses."""
        return {name: value for name, value in plain(self).items() if name != "metadata"}


def tags(installation: str, **more: str) -> "Tags":
    """Return the metadata that marks an object at Stripe as made by this installation."""
    return {"app": APP, "installation": installation} | more


def targets(kind: str, found: "Object") -> "list[Target]":
    """Return the objects to fetch when this object has changed; raises LookupError or TypeError."""
    if kind == "invoice":
        # API versions before 2025-03-31 name it in the invoice itself.
        details = (found["parent"] or {}).get("subscription_details") or {} if "parent" in found else found
        ids = {"subscription": details["subscription"] if details else None}
    elif kind == "checkout.session":
        ids = {"subscription": found["subscription"], "customer": found["customer"]}
    elif kind == "subscription_schedule":
        ids = {"subscription": found["subscription"] or found["released_subscription"]}
    else:
        ids = {kind: found["id"]}
    return [(name, id_of(value)) for name, value in ids.items() if value]


def subscription_state(found: "Object") -> SubscriptionState:
    """Read a subscription as Stripe returned it; raises NotApplied if it lacks a documented field."""
    try:
        items = [_item(item) for item in found["items"]["data"]]
        pause = found["pause_collection"] or {}
        return SubscriptionState(
            id=found["id"],
            status=found["status"],
            customer=id_of(found["customer"]),
            metadata=found["metadata"] or {},
            currency=found["currency"],
            items=items,
            cancel_at_period_end=found["cancel_at_period_end"],
            cancel_at=_cancel_at(found, items),
            trial_end=_instant_or_none(found["trial_end"]),
            pause_collection=pause.get("behavior"),
            resumes_at=_instant_or_none(pause.get("resumes_at")),
            schedule=id_of(found["schedule"]) if found["schedule"] else None,
            next_prices=_next_prices(found["schedule"]),
            started_at=_instant(found["start_date"]),
            ended_at=_instant_or_none(found["ended_at"]),
            anchor=_instant(found["billing_cycle_anchor"]),
        )
    except (LookupError, TypeError, ValueError, OverflowError, OSError, AttributeError) as fault:
        raise unexpected(fault) from None


def _item(found: "Object") -> Item:
    return Item(
        id=found["id"],
        price=found["price"]["id"],
        product=id_of(found["price"]["product"]),
        quantity=found.get("quantity", 1),  # a metered item has none
        period_start=_instant(found["current_period_start"]),
        period_end=_instant(found["current_period_end"]),
    )


def _cancel_at(found: "Object", items: list[Item]) -> datetime | None:
    """Return when a subscription ends: the customer portal writes `cancel_at` in flexible billing, and no flag."""
    if found["cancel_at"]:
        return _instant(found["cancel_at"])
    return max(item.period_end for item in items) if found["cancel_at_period_end"] else None


def _next_prices(schedule: Any) -> list[str]:
    """Return the prices of the phase after the current one, of a schedule that Stripe expanded."""
    if not isinstance(schedule, dict) or not schedule["current_phase"]:
        return []
    end = schedule["current_phase"]["end_date"]
    later = [phase for phase in schedule["phases"] if phase["start_date"] >= end]
    return [id_of(item["price"]) for item in later[0]["items"]] if later else []


def unexpected(fault: Exception) -> NotApplied:
    """Return the error for an object that lacks a documented field."""
    return NotApplied(reason=f"it is not as Stripe documents it ({type(fault).__name__}: {fault})")


def _instant(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _instant_or_none(seconds: int | None) -> datetime | None:
    return _instant(seconds) if seconds else None

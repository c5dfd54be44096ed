"""Stripe's objects: the metadata that marks ours, which objects one refers to, and the state of a subscription."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dumacle_cli.errors import NotApplied
from dumacle_cli.plain import plain
from dumacle_cli.store import models

if TYPE_CHECKING:
    from dumacle_cli.clients.stripe import Object, Tags
    from dumacle_cli.store.stripe import Target

APP = "dumacle"


@dataclass(frozen=True, slots=True)
class SubscriptionState:
    """The state of a subscription at Stripe, reduced to what is used here."""

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
    def has_ended(self) -> bool:
        """Whether the subscription has ended and cannot be resumed."""
        return self.status in models.plans.FINAL_STATUSES

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
    else:
        ids = {kind: found["id"]}
    return [(name, _id(value)) for name, value in ids.items() if value]


def subscription_state(found: "Object") -> SubscriptionState:
    """Read a subscription as Stripe returned it; raises NotApplied if it lacks a documented field."""
    try:
        items = found["items"]["data"]
        return SubscriptionState(
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
        raise unexpected(fault) from None


def unexpected(fault: Exception) -> NotApplied:
    """Return the error for an object that lacks a documented field."""
    return NotApplied(reason=f"it is not as Stripe documents it ({type(fault).__name__}: {fault})")


def _id(value: Any) -> str:
    """Return the id of an object that may be expanded."""
    return str(value["id"] if isinstance(value, dict) else value)


def _instant(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)

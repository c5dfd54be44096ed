"""The inbox: events that Stripe delivered, and refreshes requested of the objects that they are about.

An event is only a hint: a worker fetches the object's present state (see `apply`).
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy.orm import Session

from dumacle_cli.errors import Conflict, DeliveryRefused, NotFound
from dumacle_cli.services.billing import objects
from dumacle_cli.store import models, paging, queue
from dumacle_cli.store import stripe as store

Status = Literal["received", "applied", "ignored", "foreign", "parked", "dead"]

# The prefix of an event's type -> the kind of its object; events of all other types are stored and ignored.
_WATCHED = {
    "customer.subscription.": "subscription",
    "subscription_schedule.": "subscription_schedule",
    "checkout.session.completed": "checkout.session",
    "checkout.session.async_payment_succeeded": "checkout.session",
    "invoice.paid": "invoice",
    "invoice.payment_failed": "invoice",
    "customer.deleted": "customer",
}
EVENTS = (
    *(f"customer.subscription.{name}" for name in ("created", "updated", "deleted", "paused", "resumed")),
    *(f"subscription_schedule.{name}" for name in ("updated", "released", "canceled")),
    *("customer.deleted", "checkout.session.completed", "checkout.session.async_payment_succeeded"),
    *("invoice.paid", "invoice.payment_failed"),
)
"""The types of events that an endpoint should receive."""
_WORD = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True, slots=True)
class Event:
    """An event in the inbox.

    `received`: not applied yet; `ignored`: about nothing that is stored here; `foreign`: of another application;
    `parked`: failed, to be retried; `dead`: given up, until it is delivered again or retried by hand.
    """

    id: str
    type: str
    object_id: str | None
    livemode: bool
    status: str
    deliveries: int
    created_at: datetime
    received_at: datetime
    applied_at: datetime | None
    error: str | None


@dataclass(frozen=True, slots=True)
class EventDetail(Event):
    """An event with the progress of its object, and the body as delivered."""

    attempts: int
    retry_at: datetime | None
    fetched_at: datetime | None
    payload: str | None


# Receiving


def request_refresh(session: Session, targets: list[store.Target], livemode: bool | None = None) -> dict[str, int]:
    """Request a refresh of objects and wake a worker; return the number of requests so far by object id."""
    requested = store.request_refresh(session, targets, livemode)
    queue.wake_stripe(session, list(requested))
    return requested


def receive(session: Session, event: dict[str, Any], body: bytes) -> str:
    """Store a verified delivery, request a refresh of its objects, and wake a worker; return the event's status.

    Only which object changed is taken from the event. Raises DeliveryRefused if its id, type or date is malformed.
    """
    event_id, type_ = _word(event.get("id")), _word(event.get("type"))
    livemode = event.get("livemode") is True
    targets, error = _targets(event, type_)
    status = "dead" if error else "received" if targets else "ignored"
    requested: dict[str, int] = {}
    if targets and store.event_status(session, event_id) in (None, "received", "parked", "dead"):
        requested = request_refresh(session, targets, livemode)
    target = targets[0][1] if targets else None
    return store.save_event(
        session,
        body,
        id=event_id,
        type=type_,
        object_id=target,
        livemode=livemode,
        created_at=_instant(event.get("created")),
        status=status,
        want=requested.get(target) if target else None,
        error=error,
    )


def targets_of(event: dict[str, Any]) -> list[store.Target]:
    """Return the objects that an event says to fetch; none if it does not name them."""
    return _targets(event, str(event.get("type")))[0]


def _targets(event: dict[str, Any], type_: str) -> tuple[list[store.Target], str | None]:
    """Return the objects to fetch for an event, or the error if it does not name them."""
    kinds = (kind for start, kind in _WATCHED.items() if type_.removeprefix("v1.").startswith(start))
    kind = next(kinds, None)
    if kind is None:
        return [], None
    try:
        if event.get("object") == "v2.core.event":
            targets = [(kind, event["related_object"]["id"])]
        else:
            targets = objects.targets(kind, event["data"]["object"])
        return [(name, _word(id_)) for name, id_ in targets], None
    except (LookupError, TypeError, AttributeError, DeliveryRefused):
        return [], "it does not name the object that changed"


def _word(value: Any) -> str:
    if not (isinstance(value, str) and _WORD.fullmatch(value)):
        raise DeliveryRefused(reason="its id or type is malformed")
    return value


def _instant(value: Any) -> datetime:
    """Parse the creation time of an event: seconds since 1970, or ISO 8601 in a thin event."""
    try:
        return datetime.fromisoformat(value) if isinstance(value, str) else datetime.fromtimestamp(value, UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        raise DeliveryRefused(reason="its creation time is malformed") from None


# Reading and retrying


def list_(
    session: Session, *, status: str | None, object_id: str | None, after: str | None, limit: int
) -> paging.Page[Event]:
    """Return a page of events, the last received first."""
    found = store.events_page(session, status=status, object_id=object_id, after=after, limit=limit)
    return paging.Page([_event(event) for event in found.items], found.after)


def show(session: Session, event_id: str) -> EventDetail:
    """Return an event with the progress of its object; raises NotFound."""
    event, target, payload = _find(session, event_id)
    return EventDetail(
        **asdict(_event(event)),
        attempts=target.attempts if target else 0,
        retry_at=target.wanted_at if target and target.attempts else None,
        fetched_at=target.fetched_at if target else None,
        payload=payload.decode("utf-8", "replace") if payload is not None else None,
    )


def retry(session: Session, event_ids: Sequence[str]) -> tuple[list[Event], bool]:
    """Request a refresh of the objects of events; raises NotFound, or Conflict if an event has no object."""
    targets = {event_id: _target(session, event_id) for event_id in sorted(set(event_ids))}
    requested = request_refresh(session, list(set(targets.values())))
    return [
        _event(store.requeue_event(session, event_id, requested[id_])) for event_id, (_, id_) in targets.items()
    ], True


def _target(session: Session, event_id: str) -> store.Target:
    _, target, _ = _find(session, event_id)
    if target is None:
        raise Conflict(
            reason=f"event {event_id} is about no object that is stored here", advice="dumacle webhooks events list"
        )
    return target.kind, target.id


def _find(session: Session, event_id: str) -> store.EventDetail:
    found = store.event_detail(session, event_id) if _WORD.fullmatch(event_id) else None
    if found is None:
        raise NotFound("event", event_id)
    return found


def _event(event: models.StripeEvent) -> Event:
    return Event(
        id=event.id,
        type=event.type,
        object_id=event.object_id,
        livemode=event.livemode,
        status=event.status,
        deliveries=event.deliveries,
        created_at=event.created_at,
        received_at=event.received_at,
        applied_at=event.applied_at,
        error=event.error,
    )

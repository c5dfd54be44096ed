"""The inbox: events that Stripe delivered, and refreshes requested of the objects that they are about.

An event is only a hint: a worker fetches the object's present state (see `apply`).
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy.orm import Session

from dumacle_cli.clients.signatures import Secret
from dumacle_cli.errors import Conflict, DatabaseFault, DeliveryRefused, NotFound, TooMany
from dumacle_cli.services.billing import objects
from dumacle_cli.store import functions, models, paging, queue
from dumacle_cli.store import stripe as store
from dumacle_cli.store.database import Database
from dumacle_cli.store.stripe import Delivery

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
# What an endpoint at Stripe delivers. Without `invoice.created`: Stripe delays invoices while its endpoint is down.
DELIVERED = (
    *(f"customer.subscription.{what}" for what in ("created", "updated", "deleted", "paused", "resumed")),
    *(f"subscription_schedule.{what}" for what in ("updated", "released", "canceled")),
    *(type_ for type_ in _WATCHED if not type_.endswith(".")),
)
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


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many events were deleted, with their bodies."""

    events: int


# Receiving


def request_refresh(session: Session, targets: list[store.Target], livemode: bool | None = None) -> dict[str, int]:
    """Request a refresh of objects and wake a worker; return the number of requests so far by object id."""
    requested = store.request_refresh(session, targets, livemode)
    queue.wake_stripe(session, list(requested))
    return requested


def read(event: dict[str, Any], body: bytes) -> Delivery:
    """Return what is saved of a verified event; raises DeliveryRefused if its id, type or date is malformed.

    Only which object changed is taken from it.
    """
    event_id, type_ = _word(event.get("id")), _word(event.get("type"))
    targets, error = _targets(event, type_)
    created = _instant(event.get("created"))
    return Delivery(event_id, type_, event.get("livemode") is True, created, targets, error, body)


def receive(database: Database, deliveries: Sequence[Delivery], *, notify: bool = True) -> None:
    """Store deliveries in one transaction, request a refresh of their objects, and wake workers, at once or soon."""
    try:
        woken = store.receive(database, deliveries)
    except DatabaseFault as fault:
        if fault.facts["state"] != store.UNDEFINED:
            raise
        with database.session() as session:
            for delivery in deliveries:
                _receive_alone(session, delivery)
    else:
        if woken and notify:
            queue.notify_stripe(database)


def note_secrets(session: Session, secrets: Sequence[Secret]) -> None:
    """Note which secrets a listener knows, and forget those that none has known or used for a day."""
    if functions.is_there(session, store.NOTE_SECRETS):
        store.note_secrets(session, {secret.label: secret.fingerprint for secret in secrets})


def note_use(session: Session, label: str, api_version: str | None) -> None:
    """Note that a secret signed a delivery, with the API version of its snapshot."""
    if functions.is_there(session, store.NOTE_SECRETS):
        store.note_use(session, label, api_version)


def _receive_alone(session: Session, delivery: Delivery) -> None:
    """Store a delivery in the schema of the previous release."""
    requested: dict[str, int] = {}
    status = "dead" if delivery.error else "received" if delivery.targets else "ignored"
    if delivery.targets and store.event_status(session, delivery.id) in (None, "received", "parked", "dead"):
        requested = request_refresh(session, list(delivery.targets), delivery.livemode)
    target = delivery.targets[0][1] if delivery.targets else None
    want = requested.get(target) if target else None
    store.save_event(session, delivery, status=status, object_id=target, want=want)


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


FAILED = ("dead", "parked")
SETTLED = ("applied", "ignored", "foreign")
BATCH = 5000


def count(session: Session, statuses: Sequence[str], type_: str, before: datetime | None, maximum: int | None) -> int:
    """Return how many such events there are; raises TooMany above the maximum."""
    found = store.count_events(session, statuses, type_, before)
    if maximum is not None and found > maximum:
        raise TooMany(noun="event", count=found, maximum=maximum)
    return found


def requeue(
    session: Session, statuses: Sequence[str], type_: str, before: datetime | None, maximum: int | None
) -> tuple[list[Event], bool]:
    """Request a refresh of the objects of all such events, and wake workers; raises TooMany above the maximum."""
    found = count(session, statuses, type_, before, maximum)
    events = store.requeue(session, statuses, type_, before, found)
    queue.wake_stripe(session, sorted({event.object_id for event in events if event.object_id}))
    return [_event(event) for event in events], bool(events)


def prune_batch(session: Session, statuses: Sequence[str], type_: str, before: datetime) -> tuple[int, bool]:
    """Delete a batch of events and their bodies; return how many, 0 if none is left."""
    pruned = store.prune_events(session, statuses, type_, before, BATCH)
    return pruned, pruned > 0


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

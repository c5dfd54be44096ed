"""Webhooks: the inbox of what Stripe delivered."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy.orm import Session

from dumacle_cli.errors import Conflict, DeliveryRefused, NoSuchEvent
from dumacle_cli.services import mirror
from dumacle_cli.store import models, paging
from dumacle_cli.store import stripe as store

Status = Literal["received", "applied", "ignored", "foreign", "parked", "dead"]

# What a type begins with, and the kind of object that it is about; whatever else is delivered is kept and ignored.
_WATCHED = {
    "customer.subscription.": "subscription",
    "checkout.session.completed": "checkout.session",
    "checkout.session.async_payment_succeeded": "checkout.session",
    "invoice.paid": "invoice",
    "invoice.payment_failed": "invoice",
    "customer.deleted": "customer",
}
_WORD = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True, slots=True)
class Event:
    """An event in the inbox.

    `received` waits to be applied, `ignored` is about nothing here, `foreign` is another application's; `parked` could
    not be applied and is tried again, `dead` was given up until it is delivered again or retried.
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
    """An event with the state of its object, and its body as it was delivered."""

    attempts: int
    retry_at: datetime | None
    fetched_at: datetime | None
    payload: str | None


# Receiving


def record(session: Session, event: dict[str, Any], body: bytes) -> str:
    """Keep a delivery that was verified, want what it hints at, and wake a worker; returns its status.

    Nothing of it is believed but which object changed. Raises DeliveryRefused where it names itself as Stripe does not.
    """
    event_id, type_ = _word(event.get("id")), _word(event.get("type"))
    livemode = event.get("livemode") is True
    targets, error = _targets(event, type_)
    status = "dead" if error else "received" if targets else "ignored"
    wanted: dict[str, int] = {}
    if targets and store.status(session, event_id) in (None, "received", "parked", "dead"):
        wanted = mirror.want(session, targets, livemode)
    target = targets[0][1] if targets else None
    return store.keep(
        session,
        body,
        id=event_id,
        type=type_,
        object_id=target,
        livemode=livemode,
        created_at=_instant(event.get("created")),
        status=status,
        want=wanted.get(target) if target else None,
        error=error,
    )


def _targets(event: dict[str, Any], type_: str) -> tuple[list[store.Target], str | None]:
    """Return what an event makes wanted, or why that cannot be told."""
    kinds = (kind for start, kind in _WATCHED.items() if type_.removeprefix("v1.").startswith(start))
    kind = next(kinds, None)
    if kind is None:
        return [], None
    try:
        if event.get("object") == "v2.core.event":
            targets = [(kind, event["related_object"]["id"])]
        else:
            targets = mirror.pointed(kind, event["data"]["object"])
        return [(name, _word(id_)) for name, id_ in targets], None
    except (LookupError, TypeError, AttributeError, DeliveryRefused):
        return [], "it does not say which object changed"


def _word(value: Any) -> str:
    if not (isinstance(value, str) and _WORD.fullmatch(value)):
        raise DeliveryRefused(reason="its id or type is not one of Stripe's")
    return value


def _instant(value: Any) -> datetime:
    """Read when an event was made: seconds, or in a thin one ISO 8601."""
    try:
        return datetime.fromisoformat(value) if isinstance(value, str) else datetime.fromtimestamp(value, UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        raise DeliveryRefused(reason="it does not say when it was made") from None


# Looking


def list_(
    session: Session, *, status: str | None, object_id: str | None, after: str | None, limit: int
) -> paging.Page[Event]:
    """Return a page of events, the latest received first."""
    found = store.page(session, status=status, object_id=object_id, after=after, limit=limit)
    return paging.Page([_shown(event) for event in found.items], found.after)


def show(session: Session, event_id: str) -> EventDetail:
    """Return an event with the state of its object; raises NoSuchEvent."""
    event, target, payload = _found(session, event_id)
    return EventDetail(
        **asdict(_shown(event)),
        attempts=target.attempts if target else 0,
        retry_at=target.wanted_at if target and target.attempts else None,
        fetched_at=target.fetched_at if target else None,
        payload=payload.decode("utf-8", "replace") if payload is not None else None,
    )


def retry(session: Session, event_ids: Sequence[str]) -> tuple[list[Event], bool]:
    """Want the objects of events once more, and wake a worker; raises NoSuchEvent, or Conflict where none is known."""
    targets = {event_id: _retried(session, event_id) for event_id in sorted(set(event_ids))}
    wanted = mirror.want(session, list(set(targets.values())))
    return [_shown(store.rearm(session, event_id, wanted[id_])) for event_id, (_, id_) in targets.items()], True


def _retried(session: Session, event_id: str) -> store.Target:
    _, target, _ = _found(session, event_id)
    if target is None:
        raise Conflict(reason=f"event {event_id} is about nothing here", advice="dumacle webhooks events list")
    return target.kind, target.id


def _found(session: Session, event_id: str) -> store.Detail:
    found = store.detail(session, event_id) if _WORD.fullmatch(event_id) else None
    if found is None:
        raise NoSuchEvent(noun="event", name=event_id)
    return found


def _shown(event: models.StripeEvent) -> Event:
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

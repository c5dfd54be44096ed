"""Queries about Stripe's events, the objects that they are about, and customers.

`want` counts the refreshes requested of an object, `have` those that were applied. To avoid deadlocks, objects are
locked first, by id, then events.
"""

import json
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, func, or_, select, text, true, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from dumacle_cli.store import accounts, functions, paging
from dumacle_cli.store.database import Database
from dumacle_cli.store.models import Customer, StripeEvent, StripeObject, StripePayload, User, WebhookSecret

Target = tuple[str, str]
"""The kind of an object, as Stripe names it, and its id."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A verified delivery: the event's facts, the objects to fetch, or why it names none, and the body."""

    id: str
    type: str
    livemode: bool
    created_at: datetime
    targets: Sequence[Target]
    error: str | None
    body: bytes


EventDetail = tuple[StripeEvent, StripeObject | None, bytes | None]
"""An event with its object and its body."""


NOTE_SECRETS = "app.note_webhook_secrets(text[],text[])"
UNDEFINED = "42883"
"""The SQLSTATE of a function that does not exist."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A lease on an object: until it expires, only the holder of the token may apply the object's state."""

    id: str
    kind: str
    livemode: bool | None
    want: int
    attempts: int
    token: uuid.UUID


# Events


def receive(database: Database, deliveries: Sequence[Delivery]) -> int:
    """Save deliveries with their events, and request refreshes of their objects; return how many objects had no job.

    It is one call of a function, in one round trip. Raises DatabaseFault with UNDEFINED in the previous schema.
    """
    targets = [(each.id, *target) for each in deliveries for target in each.targets]
    given = {
        "ids": [each.id for each in deliveries],
        "types": [each.type for each in deliveries],
        "livemodes": [each.livemode for each in deliveries],
        "created": [each.created_at for each in deliveries],
        "errors": [each.error for each in deliveries],
        "bodies": [each.body for each in deliveries],
        "events": [event for event, _, _ in targets],
        "kinds": [kind for _, kind, _ in targets],
        "objects": [id_ for _, _, id_ in targets],
    }
    return int(database.call(_RECEIVE, given))


def note_secrets(session: Session, fingerprints: Mapping[str, str]) -> None:
    """Note the fingerprint of each secret that a listener knows, by label."""
    given = {"labels": list(fingerprints), "fingerprints": list(fingerprints.values())}
    session.execute(text("SELECT app.note_webhook_secrets(:labels, :fingerprints)"), given)


def sees_webhook_secrets(session: Session) -> bool:
    """Return whether the login may read which secrets listeners know, in a schema that says so."""
    return bool(session.scalar(_SEES_SECRETS))


def webhook_secrets(session: Session) -> list[WebhookSecret]:
    """Return the secrets that listeners know, by label."""
    return list(session.scalars(select(WebhookSecret).order_by(WebhookSecret.label)))


def note_use(session: Session, label: str, api_version: str | None) -> None:
    """Note that a secret signed a delivery."""
    session.execute(text("SELECT app.note_webhook_use(:label, :version)"), {"label": label, "version": api_version})


def event_status(session: Session, event_id: str) -> str | None:
    """Return the status of an event, or None if it was never delivered."""
    return session.scalars(select(StripeEvent.status).where(StripeEvent.id == event_id)).one_or_none()


def save_event(session: Session, delivery: Delivery, *, status: str, object_id: str | None, want: int | None) -> None:
    """Save an event and its body, or count another delivery and requeue a failed one."""
    facts = {
        "id": delivery.id,
        "type": delivery.type,
        "livemode": delivery.livemode,
        "created_at": delivery.created_at,
        "error": delivery.error,
    }
    session.execute(_SAVE_EVENT, facts | {"status": status, "object_id": object_id, "want": want})
    session.execute(_SAVE_BODY, {"id": delivery.id, "body": delivery.body})


def event_detail(session: Session, event_id: str) -> EventDetail | None:
    """Return an event with its object and its body, or None."""
    query = (
        select(StripeEvent, StripeObject, StripePayload.payload)
        .outerjoin(StripeObject, StripeObject.id == StripeEvent.object_id)
        .outerjoin(StripePayload, StripePayload.event_id == StripeEvent.id)
    )
    found = session.execute(query.where(StripeEvent.id == event_id)).one_or_none()
    return (found[0], found[1], found[2]) if found else None


def events_page(
    session: Session, *, status: str | None, object_id: str | None, after: str | None, limit: int
) -> paging.Page[StripeEvent]:
    """Return a page of events, the last received first."""
    query = select(StripeEvent)
    if status:
        query = query.where(StripeEvent.status == status)
    if object_id:
        query = query.where(StripeEvent.object_id == object_id)
    keys = [StripeEvent.received_at, StripeEvent.id]
    found = session.scalars(paging.keyset(query, keys, after, limit, descending=True)).all()
    return paging.page(found, limit, lambda event: [event.received_at.isoformat(), event.id])


def requeue(
    session: Session, statuses: Collection[str], type_: str, before: datetime | None, limit: int
) -> list[StripeEvent]:
    """Set events with an object to be applied again, the oldest first, and return them."""
    given = {"statuses": list(statuses), "type": type_, "before": before, "limit": limit}
    events = select(StripeEvent).from_statement(_REQUEUE)
    return list(session.scalars(events, given, execution_options={"populate_existing": True}))


def count_events(session: Session, statuses: Collection[str], type_: str, before: datetime | None) -> int:
    """Return how many events have one of these statuses and a type that begins so, received before an instant."""
    given = {"statuses": list(statuses), "type": type_, "before": before}
    return int(session.scalars(_COUNT, given).one())


def count_bodies(session: Session, before: datetime) -> int:
    """Return how many bodies of settled events were received before an instant."""
    return int(session.scalars(_COUNT_BODIES, {"before": before}).one())


def prune_events(session: Session, statuses: Collection[str], type_: str, before: datetime, batch: int) -> int:
    """Delete a batch of events that are settled or given up, with their bodies; return how many."""
    if not functions.is_there(session, "app.prune_events(timestamptz,text[],text,integer)"):
        return 0
    given = {"statuses": list(statuses), "type": type_, "before": before, "batch": batch}
    return int(session.scalars(text("SELECT app.prune_events(:before, :statuses, :type, :batch)"), given).one())


def prune_bodies(session: Session, before: datetime, batch: int) -> int:
    """Delete a batch of bodies of settled events; return how many."""
    if not functions.is_there(session, "app.prune_bodies(timestamptz,integer)"):
        return 0
    given = {"before": before, "batch": batch}
    return int(session.scalars(text("SELECT app.prune_bodies(:before, :batch)"), given).one())


def requeue_event(session: Session, event_id: str, want: int) -> StripeEvent:
    """Set an event to be applied again, and return it."""
    waiting = {"status": "received", "want": want, "error": None, "applied_at": None}
    statement = update(StripeEvent).where(StripeEvent.id == event_id).values(waiting).returning(StripeEvent)
    return session.scalars(statement, execution_options={"populate_existing": True}).one()


_SEES_SECRETS = text("SELECT has_table_privilege(to_regclass('app.webhook_secrets'), 'SELECT')")
_RECEIVE = """
    SELECT app.receive_deliveries(
        %(ids)s::text[], %(types)s::text[], %(livemodes)s::boolean[], %(created)s::timestamptz[], %(errors)s::text[],
        %(bodies)b::bytea[], %(events)s::text[], %(kinds)s::text[], %(objects)s::text[])
"""
_SAVE_EVENT = text("""
    INSERT INTO app.stripe_events AS event (id, type, object_id, livemode, created_at, status, want, error)
    VALUES (:id, :type, :object_id, :livemode, :created_at, :status, :want, left(:error, 2000))
    ON CONFLICT (id) DO UPDATE SET deliveries = event.deliveries + 1,
        status = CASE WHEN event.status IN ('parked', 'dead') THEN EXCLUDED.status ELSE event.status END,
        want = CASE WHEN event.status IN ('parked', 'dead') THEN EXCLUDED.want ELSE event.want END,
        error = CASE WHEN event.status IN ('parked', 'dead') THEN EXCLUDED.error ELSE event.error END
""")
_SAVE_BODY = text(
    "INSERT INTO app.stripe_payloads (event_id, payload) VALUES (:id, :body) ON CONFLICT (event_id) DO NOTHING"
)


_CHOSEN = """
    status = ANY (CAST(:statuses AS text[])) AND starts_with(type, :type)
    AND (CAST(:before AS timestamptz) IS NULL OR received_at < :before)
"""
_COUNT = text(f"SELECT count(*) FROM app.stripe_events WHERE {_CHOSEN}")  # noqa: S608
_COUNT_BODIES = text("""
    SELECT count(*) FROM app.stripe_payloads AS body JOIN app.stripe_events AS event ON event.id = body.event_id
    WHERE event.received_at < :before AND event.status IN ('applied', 'ignored', 'foreign')
""")
# The objects are locked first, by id, then the events; what an object is asked for again is the `want` of its events.
_REQUEUE = text(f"""
    WITH chosen AS (
        SELECT id, object_id FROM app.stripe_events WHERE {_CHOSEN} AND object_id IS NOT NULL
        ORDER BY received_at, id LIMIT :limit
    ), asked AS (
        UPDATE app.stripe_objects AS object
        SET want = object.want + 1, wanted_at = clock_timestamp(), attempts = 0
        FROM (
            SELECT id FROM app.stripe_objects WHERE id IN (SELECT object_id FROM chosen) ORDER BY id FOR NO KEY UPDATE
        ) AS locked
        WHERE object.id = locked.id RETURNING object.id, object.want
    )
    UPDATE app.stripe_events AS event SET status = 'received', want = asked.want, error = NULL, applied_at = NULL
    FROM chosen JOIN asked ON asked.id = chosen.object_id WHERE event.id = chosen.id RETURNING event.*
""")  # noqa: S608


# Objects


def request_refresh(session: Session, targets: Collection[Target], livemode: bool | None) -> dict[str, int]:
    """Request a refresh of objects, given up or not; return the number of requests so far by object id."""
    kinds, ids = [kind for kind, _ in targets], [id_ for _, id_ in targets]
    found = session.execute(_REQUEST_REFRESH, {"kinds": kinds, "ids": ids, "livemode": livemode})
    return {row.id: row.want for row in found}


def due(session: Session, limit: int) -> list[str]:
    """Return the objects that are due for a refresh and not claimed, the longest due first."""
    return list(session.scalars(_DUE, {"limit": limit}))


def claim(session: Session, object_id: str, seconds: int) -> Claim | None:
    """Claim an object for so many seconds, or return None if it is not due or already claimed."""
    found = session.execute(_CLAIM, {"id": object_id, "seconds": seconds}).one_or_none()
    return Claim(*found) if found else None


def settle(session: Session, claim: Claim, status: str, warning: str | None, state: dict[str, Any] | None) -> bool:
    """Set a claimed object and its events up to the claim as applied; False if another worker has claimed it."""
    given = {"id": claim.id, "token": claim.token, "want": claim.want, "error": warning}
    if session.execute(_SETTLE, given | {"state": json.dumps(state)}).first() is None:
        return False
    session.execute(_SETTLE_EVENTS, {"id": claim.id, "want": claim.want, "status": status, "error": warning})
    return True


def postpone(session: Session, claim: Claim, error: str, seconds: int | None) -> None:
    """Release a claimed object, to be retried in so many seconds or never (None); does nothing without the lease."""
    given = {"id": claim.id, "token": claim.token, "want": claim.want, "error": error, "seconds": seconds}
    if session.execute(_POSTPONE, given).first():
        status = "dead" if seconds is None else "parked"
        session.execute(_POSTPONE_EVENTS, {"id": claim.id, "want": claim.want, "status": status, "error": error})


def states(session: Session, ids: Collection[str]) -> dict[str, dict[str, Any]]:
    """Return the last applied states of objects, without those that are due for a refresh."""
    query = select(StripeObject.id, StripeObject.state).where(
        StripeObject.id.in_(ids), StripeObject.wanted_at.is_(None)
    )
    return {id_: state for id_, state in session.execute(query) if state is not None}


def errors(session: Session, ids: Collection[str]) -> dict[str, str]:
    """Return the errors of objects that could not be applied."""
    query = select(StripeObject.id, StripeObject.error).where(StripeObject.id.in_(ids))
    return {id_: error for id_, error in session.execute(query) if error}


def held(session: Session, ids: Collection[str]) -> dict[str, datetime]:
    """Return the objects that are due for a refresh and that another worker has claimed, with the end of its lease."""
    query = select(StripeObject.id, StripeObject.leased_until).where(
        StripeObject.id.in_(ids), StripeObject.wanted_at.is_not(None), StripeObject.leased_until > func.now()
    )
    return {id_: until for id_, until in session.execute(query) if until}


def not_applied(session: Session) -> list[Target]:
    """Return the objects that could not be applied, given up or not."""
    given_up = StripeObject.wanted_at.is_(None), StripeObject.have < StripeObject.want
    query = select(StripeObject.kind, StripeObject.id).where(or_(StripeObject.attempts > 0, and_(*given_up)))
    return [(kind, id_) for kind, id_ in session.execute(query.where(is_current(session)))]


def wanted_subscriptions(session: Session) -> list[str]:
    """Return the subscriptions that are due for a refresh and were not tried in vain."""
    query = select(StripeObject.id).where(
        StripeObject.kind == "subscription", StripeObject.wanted_at.is_not(None), StripeObject.attempts == 0
    )
    return list(session.scalars(query.where(is_current(session))))


def is_current(session: Session) -> ColumnElement[bool]:
    """Return the condition that an object is of the account that plans are sold at."""
    if not accounts.are_known(session):
        return true()
    return StripeObject.account_id == func.app.billing_account()


_REQUEST_REFRESH = text("""
    INSERT INTO app.stripe_objects AS object (id, kind, livemode, want, wanted_at)
    SELECT id, kind, :livemode, 1, clock_timestamp()
    FROM unnest(CAST(:ids AS text[]), CAST(:kinds AS text[])) AS asked (id, kind) ORDER BY id
    ON CONFLICT (id) DO UPDATE SET want = object.want + 1, wanted_at = clock_timestamp(), attempts = 0,
        livemode = coalesce(object.livemode, EXCLUDED.livemode)
    RETURNING id, want
""")
_DUE = text("""
    SELECT id FROM app.stripe_objects
    WHERE wanted_at <= clock_timestamp() AND (leased_until IS NULL OR leased_until < clock_timestamp())
    ORDER BY wanted_at LIMIT :limit
""")
_CLAIM = text("""
    UPDATE app.stripe_objects
    SET lease_token = gen_random_uuid(), leased_until = clock_timestamp() + make_interval(secs => :seconds)
    WHERE id = :id AND wanted_at <= clock_timestamp() AND (leased_until IS NULL OR leased_until < clock_timestamp())
    RETURNING id, kind, livemode, want, attempts, lease_token
""")
_SETTLE = text("""
    UPDATE app.stripe_objects
    SET have = :want, lease_token = NULL, leased_until = NULL, attempts = 0,
        error = left(:error, 2000), fetched_at = now(),
        state = CAST(:state AS jsonb), wanted_at = CASE WHEN want > :want THEN wanted_at END
    WHERE id = :id AND lease_token = :token RETURNING id
""")
_SETTLE_EVENTS = text("""
    UPDATE app.stripe_events SET status = :status, error = left(:error, 2000), applied_at = now()
    WHERE object_id = :id AND status IN ('received', 'parked', 'dead') AND want <= :want
""")
_POSTPONE = text("""
    UPDATE app.stripe_objects
    SET lease_token = NULL, leased_until = NULL, attempts = attempts + 1, error = left(:error, 2000),
        wanted_at = CASE WHEN want > :want THEN wanted_at
                         ELSE clock_timestamp() + make_interval(secs => CAST(:seconds AS double precision)) END
    WHERE id = :id AND lease_token = :token RETURNING id
""")
_POSTPONE_EVENTS = text("""
    UPDATE app.stripe_events SET status = :status, error = left(:error, 2000)
    WHERE object_id = :id AND status IN ('received', 'parked') AND want <= :want
""")


# Customers


def customer_of(session: Session, user_id: int) -> str | None:
    """Return the id of a user's customer at Stripe, or None."""
    return session.scalars(select(Customer.stripe_customer_id).where(Customer.user_id == user_id)).one_or_none()


def told_email(session: Session, user_id: int) -> str | None:
    """Return the e-mail address that Stripe was last given for a user, or None."""
    return session.scalars(select(Customer.email).where(Customer.user_id == user_id)).one_or_none()


def save_customer(session: Session, user_id: int, customer_id: str, email: str | None = None) -> str:
    """Save the customer of a user unless they have one, and the address that Stripe was given; return the saved id."""
    row = insert(Customer).values(user_id=user_id, stripe_customer_id=customer_id, email=email)
    session.execute(row.on_conflict_do_nothing(index_elements=[Customer.user_id]))
    return session.scalars(select(Customer.stripe_customer_id).where(Customer.user_id == user_id)).one()


def save_told_email(session: Session, user_id: int, email: str) -> None:
    """Save the e-mail address that Stripe was given for a user."""
    session.execute(update(Customer).where(Customer.user_id == user_id).values(email=email))


def forget_told_email(session: Session, user_id: int) -> None:
    """Note that Stripe has to be given the e-mail address and name of a user again."""
    session.execute(update(Customer).where(Customer.user_id == user_id).values(email=None))


def moved_user(session: Session, customer_id: str) -> User | None:
    """Return the user of a customer if their e-mail address is not the one that Stripe was last given."""
    moved = select(User).join(Customer, Customer.user_id == User.id)
    moved = moved.where(Customer.stripe_customer_id == customer_id, Customer.email.is_distinct_from(User.email))
    return session.scalars(moved.where(User.deleted_at.is_(None))).one_or_none()


def moved_customers(session: Session, user_id: int | None, after: int, limit: int) -> list[tuple[int, str]]:
    """Return users after an id, or one, with their customers, whose e-mail address is not the one Stripe was given."""
    moved = select(Customer.user_id, Customer.stripe_customer_id).join(User, User.id == Customer.user_id)
    moved = moved.where(
        Customer.user_id > after, User.deleted_at.is_(None), Customer.email.is_distinct_from(User.email)
    )
    if user_id is not None:
        moved = moved.where(Customer.user_id == user_id)
    return [(row[0], row[1]) for row in session.execute(moved.order_by(Customer.user_id).limit(limit))]


def delete_customer(session: Session, customer_id: str) -> None:
    """Delete a customer that no longer exists at Stripe."""
    session.execute(delete(Customer).where(Customer.stripe_customer_id == customer_id))


def has_customers(session: Session) -> bool:
    """Return whether any user has a customer at Stripe."""
    return session.scalars(select(Customer.user_id).limit(1)).one_or_none() is not None


def known_customers(session: Session, ids: Collection[str]) -> set[str]:
    """Return which of these ids at Stripe are customers of users here."""
    return set(session.scalars(select(Customer.stripe_customer_id).where(Customer.stripe_customer_id.in_(ids))))


def all_customers(session: Session) -> list[str]:
    """Return the ids at Stripe of all customers."""
    return list(session.scalars(select(Customer.stripe_customer_id).order_by(Customer.user_id)))


def user_of_customer(session: Session, customer_id: str) -> int | None:
    """Return the user of a customer, or None."""
    return session.scalars(select(Customer.user_id).where(Customer.stripe_customer_id == customer_id)).one_or_none()

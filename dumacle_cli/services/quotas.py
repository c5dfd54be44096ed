"""Quotas: what a user may use per month or at a time, and what they have used."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sqlalchemy.orm import Session

from dumacle_cli.errors import InvalidValue
from dumacle_cli.services import users
from dumacle_cli.store import logins, operations, paging, stripe, subscriptions
from dumacle_cli.store import quotas as store

Metric = Literal["storage", "upload", "transcode"]
Unit = Literal["bytes", "seconds"]
Limit = int | None | Literal["plan"]
"""Bytes or seconds, None for unlimited, or `plan` for the plan's limit."""

UNITS: dict[str, Unit] = {"storage": "bytes", "upload": "bytes", "transcode": "seconds"}
BATCH = 5000
KEPT = timedelta(days=90)
BODIES_KEPT = timedelta(days=30)
"""Stripe itself lists events for 30 days."""
SETTLED = ("applied", "ignored", "foreign")


@dataclass(frozen=True, slots=True)
class Quota:
    """The status of a quota in its present period; without a limit it is unlimited, and storage has no period end.

    `source` is where the limit comes from: `override`, `plan NAME` or `none`; the limit includes `granted`.
    """

    metric: Metric
    unit: Unit
    limit: int | None
    used: int
    reserved: int
    left: int | None
    granted: int
    period_start: datetime
    period_end: datetime | None
    source: str


@dataclass(frozen=True, slots=True)
class Closing:
    """The usage and limit of a closed period."""

    metric: Metric
    unit: Unit
    period_start: datetime
    period_end: datetime
    used: int
    limit: int | None
    plan: str | None
    closed_at: datetime


@dataclass(frozen=True, slots=True)
class Reset:
    """The number of periods closed, expired leases released, and expired session logins dropped.

    `ended` is the number of subscriptions that were due to end and that Stripe had refused to end by itself.
    `operations`, `entries`, `events` and `bodies` are the numbers of old records that were pruned: of operations (30
    days), of quota entries and of Stripe's events (90 days), and of the bodies of events (30 days).
    """

    closed: int
    leases: int
    sessions: int
    operations: int
    entries: int
    events: int
    bodies: int
    ended: int


NOTHING = Reset(0, 0, 0, 0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Difference:
    """A counter that differs from the ledger: `used` is the counter, `booked` the sum of its entries."""

    user: str
    metric: Metric
    unit: Unit
    period_start: datetime
    used: int
    booked: int


def show(session: Session, reference: str) -> list[Quota]:
    """Return the status of a user's quotas; raises NotFound."""
    return [_quota(row) for row in store.status(session, users.get(session, reference).id)]


def _quota(row: Any) -> Quota:
    left = None if row.allowed is None else max(row.allowed - row.used - row.reserved, 0)
    source = "override" if row.overridden else f"plan {row.plan}" if row.plan else "none"
    return Quota(
        metric=row.metric,
        unit=UNITS[row.metric],
        limit=row.allowed,
        used=row.used,
        reserved=row.reserved,
        left=left,
        granted=row.granted,
        period_start=row.period_start,
        period_end=row.period_end,
        source=source,
    )


def set_(session: Session, reference: str, limits: Mapping[Metric, Limit]) -> tuple[list[Quota], bool]:
    """Override a user's limits, or restore their plan's limits; effective at once. Raises NotFound."""
    user = users.get(session, reference)
    changes = [_set(session, user.id, metric, limit) for metric, limit in limits.items()]
    return show(session, reference), any(changes)


def _set(session: Session, user_id: int, metric: Metric, limit: Limit) -> bool:
    if limit == "plan":
        return store.drop_limit(session, user_id, metric)
    return store.set_limit(session, user_id, metric, limit)


def grant(
    session: Session, reference: str, amounts: Mapping[Metric, int], *, reason: str = ""
) -> tuple[list[Quota], bool]:
    """Add to a user's monthly limits for the present period; raises NotFound or InvalidValue."""
    user = users.get(session, reference)
    for metric, amount in amounts.items():
        if amount <= 0:
            raise InvalidValue(name=metric, value=str(amount), reason="a grant must be greater than 0")
        store.grant(session, user.id, metric, amount, reason)
    return show(session, reference), True


def history(session: Session, reference: str, *, after: str | None, limit: int) -> paging.Page[Closing]:
    """Return a page of a user's closed periods, newest first; raises NotFound."""
    found = store.history(session, users.get(session, reference).id, after=after, limit=limit)
    return paging.Page([_closing(row.QuotaClosing, row.plan) for row in found.items], found.after)


def _closing(row: Any, plan: str | None) -> Closing:
    unit, span = UNITS[row.metric], (row.period_start, row.period_end)
    return Closing(row.metric, unit, *span, row.used, row.limit, plan, row.closed_at)


# Closing ended periods: each step is a transaction of its own, so that no row is locked for long


def reap(session: Session) -> tuple[int, bool]:
    """Release expired leases, because a period is closed only after its leases; return how many."""
    reaped = store.reap_leases(session)
    return reaped, reaped > 0


def sweep(session: Session) -> tuple[int, bool]:
    """Drop expired session logins, as part of the job that runs most often; return how many."""
    swept = logins.sweep(session)
    return swept, swept > 0


def prune_batch(session: Session) -> tuple[int, bool]:
    """Delete a batch of operation records older than 30 days; return how many, 0 if none is left."""
    pruned = operations.prune(session, BATCH)
    return pruned, pruned > 0


def prune_entries_batch(session: Session) -> tuple[int, bool]:
    """Delete a batch of entries of periods that were closed long ago; return how many, 0 if none is left."""
    pruned = store.prune_entries(session, datetime.now(UTC) - KEPT, BATCH)
    return pruned, pruned > 0


def prune_events_batch(session: Session) -> tuple[int, bool]:
    """Delete a batch of Stripe's events that were settled long ago; return how many, 0 if none is left."""
    pruned = stripe.prune_events(session, SETTLED, "", datetime.now(UTC) - KEPT, BATCH)
    return pruned, pruned > 0


def prune_bodies_batch(session: Session) -> tuple[int, bool]:
    """Delete a batch of bodies of settled events; return how many, 0 if none is left."""
    pruned = stripe.prune_bodies(session, datetime.now(UTC) - BODIES_KEPT, BATCH)
    return pruned, pruned > 0


def close_batch(session: Session) -> tuple[int, bool]:
    """Close a batch of ended periods, missed months included; return how many, 0 if none is left."""
    closed = store.close_periods(session, BATCH)
    return closed, closed > 0


def preview(session: Session) -> tuple[Reset, bool]:
    """Release expired leases and count what a reset would close; the caller rolls this back."""
    reaped = store.reap_leases(session)
    now = datetime.now(UTC)
    found = Reset(
        store.count_ended(session),
        reaped,
        logins.count_expired(session),
        operations.count_old(session),
        store.count_old_entries(session, now - KEPT),
        stripe.count_events(session, SETTLED, "", now - KEPT),
        stripe.count_bodies(session, now - BODIES_KEPT),
        len(subscriptions.ends_due(session)),
    )
    return found, found != NOTHING


# Correcting and verifying


def adjust(
    session: Session, reference: str, amounts: Mapping[Metric, int], *, operation: str, reason: str = ""
) -> tuple[list[Quota], bool]:
    """Correct a user's usage of the present period, negative amounts give back; raises NotFound or Conflict."""
    user = users.get(session, reference)
    for metric, amount in amounts.items():
        store.adjust(session, f"adjusted:{user.id}:{metric}:{operation}", user.id, metric, amount, reason)
    return show(session, reference), any(amounts.values())


def verify(session: Session, reference: str | None) -> list[Difference]:
    """Return the counters that differ from the sum of their entries, of one user or of all; raises NotFound."""
    user_id = users.get(session, reference).id if reference else None
    found = store.differences(session, user_id, datetime.now(UTC) - KEPT)
    return [
        Difference(row.email, row.metric, UNITS[row.metric], row.period_start, row.used, row.booked) for row in found
    ]

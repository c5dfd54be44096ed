"""Quota periods: window n of an anchor is [anchor + n months, anchor + (n + 1) months) in UTC, clamped at month ends.

The same arithmetic as `app.quota_period_start` and `app.quota_period_end` in store/sql/quotas.sql.
"""

from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Period:
    """A half-open span of time: `start` belongs to it, `end` is the start of the next."""

    start: datetime
    end: datetime


def period(anchor: datetime, at: datetime) -> Period:
    """Return the period of an anchor that holds the instant, which may lie before it; both aware, the result in UTC."""
    anchor, at = anchor.astimezone(UTC), at.astimezone(UTC)
    months = (at.year - anchor.year) * 12 + at.month - anchor.month
    if _after(anchor, months) > at:
        months -= 1
    return Period(_after(anchor, months), _after(anchor, months + 1))


def _after(anchor: datetime, months: int) -> datetime:
    years, month = divmod(anchor.month - 1 + months, 12)
    year = anchor.year + years
    # From the anchor each time: going on from a clamped day would stay at the 28th for ever.
    return anchor.replace(year=year, month=month + 1, day=min(anchor.day, monthrange(year, month + 1)[1]))

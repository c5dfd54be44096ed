"""Quota periods, as PostgreSQL computes them: against examples, and against python-dateutil in many time zones."""

import os
import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest
from dateutil.relativedelta import relativedelta
from sqlalchemy import text
from sqlalchemy.orm import Session

from dumacle_cli.store.database import Database

pytestmark = pytest.mark.integration

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
ZONES = ("UTC", "America/New_York", "Pacific/Apia", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe")
CASES = int(os.environ.get("PERIOD_CASES", "200000"))
Period = tuple[int, int]
"""Start and end, in microseconds since the epoch."""


def at(instant: str) -> datetime:
    return datetime.fromisoformat(instant).replace(tzinfo=UTC)


EXAMPLES = [
    ("1970-01-01", "2026-02-14T10:00", "2026-02-01", "2026-03-01"),
    ("2026-01-31", "2026-02-27T23:59", "2026-01-31", "2026-02-28"),
    ("2026-01-31", "2026-02-28", "2026-02-28", "2026-03-31"),
    ("2024-01-31", "2024-02-29", "2024-02-29", "2024-03-31"),
    ("2024-02-29T06:00", "2025-02-28T05:59", "2025-01-29T06:00", "2025-02-28T06:00"),
    ("2026-03-31T12:00", "2026-01-15", "2025-12-31T12:00", "2026-01-31T12:00"),
    ("2026-05-10", "2026-05-10", "2026-05-10", "2026-06-10"),
    ("2026-05-10", "2026-05-09T23:59:59.999999", "2026-04-10", "2026-05-10"),
    ("2025-12-31", "2026-12-31", "2026-12-31", "2027-01-31"),
]


def test_examples(session: Session) -> None:
    found = _periods(session, "UTC", [(at(anchor), at(instant)) for anchor, instant, _, _ in EXAMPLES])
    assert found == [(_micros(at(start)), _micros(at(end))) for _, _, start, end in EXAMPLES]


def test_periods_agree_with_dateutil_in_any_time_zone(database: Database) -> None:
    cases = list(_cases(random.Random(20261123)))
    for number, zone in enumerate(ZONES):
        part = cases[number :: len(ZONES)]
        with database.session() as session:
            found = _periods(session, zone, part)
        for (anchor, instant), (start, end) in zip(part, found, strict=True):
            begins = EPOCH + MICROSECOND * start
            months = (begins.year - anchor.year) * 12 + begins.month - anchor.month
            assert start == _micros(anchor + relativedelta(months=months)), (zone, anchor, instant)
            assert end == _micros(anchor + relativedelta(months=months + 1)), (zone, anchor, instant)
            assert start <= _micros(instant) < end, (zone, anchor, instant)


def test_periods_follow_each_other_without_gap_or_overlap(session: Session) -> None:
    cases = list(_cases(random.Random(1)))[:10_000]
    anchors = [anchor for anchor, _ in cases]

    def periods(instants: Iterable[int]) -> list[Period]:
        moments = (EPOCH + MICROSECOND * instant for instant in instants)
        return _periods(session, "UTC", list(zip(anchors, moments, strict=True)))

    found = periods(_micros(instant) for _, instant in cases)
    assert [start for start, _ in periods(end for _, end in found)] == [end for _, end in found]
    assert [end for _, end in periods(start - 1 for start, _ in found)] == [start for start, _ in found]
    assert periods(start for start, _ in found) == found == periods(end - 1 for _, end in found)


def _cases(chance: random.Random) -> Iterable[tuple[datetime, datetime]]:
    """Anchors and instants of 1950 to 2090: many at ends of months, many within a microsecond of a boundary."""
    first, last = _micros(at("1950-01-01")), _micros(at("2090-01-01"))
    for _ in range(CASES):
        anchor = EPOCH + MICROSECOND * chance.randrange(first, last)
        if chance.random() < 0.4:
            day = chance.choice((28, 29, 30, 31))
            anchor = anchor.replace(month=chance.choice((1, 3, 5, 7, 8, 10, 12)), day=day)
        instant = EPOCH + MICROSECOND * chance.randrange(first, last)
        if chance.random() < 0.3:
            clamped = anchor + relativedelta(months=chance.randrange(-600, 600))
            instant = clamped + MICROSECOND * chance.choice((-1, 0, 1))
        yield anchor, instant


def _periods(session: Session, zone: str, cases: list[tuple[datetime, datetime]]) -> list[Period]:
    """Return the period of each anchor that holds the instant, computed in a session of this time zone."""
    query = text("""
        SELECT (extract(epoch FROM app.quota_period_start(anchor, instant)) * 1000000)::bigint,
            (extract(epoch FROM app.quota_period_end(anchor, instant)) * 1000000)::bigint
        FROM (SELECT timestamptz 'epoch' + interval '1 microsecond' * a AS anchor,
                  timestamptz 'epoch' + interval '1 microsecond' * i AS instant, place
              FROM unnest(CAST(:anchors AS bigint[]), CAST(:instants AS bigint[])) WITH ORDINALITY AS u (a, i, place)
             ) AS given
        ORDER BY place
    """)
    anchors = [_micros(anchor) for anchor, _ in cases]
    instants = [_micros(instant) for _, instant in cases]
    session.execute(text("SELECT set_config('TimeZone', :zone, true)"), {"zone": zone})
    return [(start, end) for start, end in session.execute(query, {"anchors": anchors, "instants": instants})]


def _micros(instant: datetime) -> int:
    return (instant - EPOCH) // MICROSECOND

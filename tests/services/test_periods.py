"""Quota periods: Python against examples, against python-dateutil, and against PostgreSQL in many time zones."""

import os
import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone

import pytest
from dateutil.relativedelta import relativedelta
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from dumacle_cli.services.periods import Period, period
from dumacle_cli.store.database import Database

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
ZONES = ("UTC", "America/New_York", "Pacific/Apia", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe")
CASES = int(os.environ.get("PERIOD_CASES", "200000"))


def at(instant: str) -> datetime:
    return datetime.fromisoformat(instant).replace(tzinfo=UTC)


@pytest.mark.unit
@pytest.mark.parametrize(
    ("anchor", "instant", "start", "end"),
    [
        ("1970-01-01", "2026-02-14T10:00", "2026-02-01", "2026-03-01"),
        ("2026-01-31", "2026-02-27T23:59", "2026-01-31", "2026-02-28"),
        ("2026-01-31", "2026-02-28", "2026-02-28", "2026-03-31"),
        ("2024-01-31", "2024-02-29", "2024-02-29", "2024-03-31"),
        ("2024-02-29T06:00", "2025-02-28T05:59", "2025-01-29T06:00", "2025-02-28T06:00"),
        ("2026-03-31T12:00", "2026-01-15", "2025-12-31T12:00", "2026-01-31T12:00"),
        ("2026-05-10", "2026-05-10", "2026-05-10", "2026-06-10"),
        ("2026-05-10", "2026-05-09T23:59:59.999999", "2026-04-10", "2026-05-10"),
        ("2025-12-31", "2026-12-31", "2026-12-31", "2027-01-31"),
    ],
)
def test_examples(anchor: str, instant: str, start: str, end: str) -> None:
    assert period(at(anchor), at(instant)) == Period(at(start), at(end))


@pytest.mark.unit
def test_other_time_zones_are_the_same_instants() -> None:
    tokyo = timezone(timedelta(hours=9))
    anchor, instant = at("2026-01-31T20:00"), at("2026-02-28T19:59:59")
    found = period(anchor.astimezone(tokyo), instant.astimezone(tokyo))
    assert found == period(anchor, instant)
    assert (found.start.tzinfo, found.end.tzinfo) == (UTC, UTC)


INSTANTS = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))


@pytest.mark.unit
@given(INSTANTS, INSTANTS)
def test_periods_follow_each_other_without_gap_or_overlap(anchor: datetime, instant: datetime) -> None:
    here = period(anchor, instant)
    assert here.start <= instant < here.end
    assert period(anchor, here.end).start == here.end
    assert period(anchor, here.start - MICROSECOND).end == here.start
    assert period(anchor, here.start) == here == period(anchor, here.end - MICROSECOND)


@pytest.mark.integration
def test_python_postgres_and_dateutil_agree_in_any_time_zone(database: Database) -> None:
    cases = list(_cases(random.Random(20261123)))
    for number, zone in enumerate(ZONES):
        part = cases[number :: len(ZONES)]
        for (anchor, instant), stored in zip(part, _in_postgres(database, zone, part), strict=True):
            found = period(anchor, instant)
            assert (_micros(found.start), _micros(found.end)) == stored, (zone, anchor, instant)
            months = (found.start.year - anchor.year) * 12 + found.start.month - anchor.month
            assert found.start == anchor + relativedelta(months=months), (anchor, instant)
            assert found.end == anchor + relativedelta(months=months + 1), (anchor, instant)
            assert found.start <= instant < found.end


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


def _in_postgres(database: Database, zone: str, cases: list[tuple[datetime, datetime]]) -> list[tuple[int, int]]:
    """The same periods as PostgreSQL computes them, in microseconds since the epoch."""
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
    with database.session() as session:
        session.execute(text("SELECT set_config('TimeZone', :zone, true)"), {"zone": zone})
        return [tuple(row) for row in session.execute(query, {"anchors": anchors, "instants": instants})]


def _micros(instant: datetime) -> int:
    return (instant - EPOCH) // MICROSECOND

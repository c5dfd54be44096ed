"""Periods, quotas, leases and closings, as PostgreSQL computes them."""

import os
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from dateutil.relativedelta import relativedelta
from sqlalchemy import URL, Connection, NullPool, Row, create_engine, text

pytestmark = pytest.mark.integration

ZONES = ("UTC", "America/New_York", "Asia/Kathmandu", "Pacific/Chatham")
NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
TICK = timedelta(microseconds=1)
CONSUMERS = 6
CONSUMED = int(os.environ.get("DUMACLE_TEST_CONSUMED", "60"))
"""How many keys each consumer sends."""


def ask(connection: Connection, question: str, **facts: object) -> Row[Any]:
    """The one row of a query, committed."""
    row = connection.execute(text(question), facts).one()
    connection.commit()
    return row


def tell(connection: Connection, statement: str, **facts: object) -> None:
    connection.execute(text(statement), facts)
    connection.commit()


def make_user(connection: Connection, email: str = "ada@example.com") -> int:
    return int(ask(connection, "INSERT INTO app.users (email) VALUES (:email) RETURNING id", email=email)[0])


def make_pod(connection: Connection, capacity: int) -> int:
    return int(
        ask(
            connection,
            "INSERT INTO app.pods (name, capacity, primary_provider, bucket)"
            " VALUES ('pod' || :capacity, :capacity, 'local', 'b') RETURNING id",
            capacity=capacity,
        )[0]
    )


def limit(connection: Connection, user: int, metric: str, value: int | None) -> None:
    tell(
        connection,
        "INSERT INTO app.quota_limits VALUES (:user, :metric, :value)"
        ' ON CONFLICT (user_id, metric) DO UPDATE SET "limit" = excluded."limit"',
        user=user,
        metric=metric,
        value=value,
    )


def anchor(connection: Connection, user: int, since: datetime, day: datetime) -> None:
    tell(connection, "INSERT INTO app.quota_anchors VALUES (:user, :since, :day)", user=user, since=since, day=day)


def consume(connection: Connection, key: str, user: int, delta: int, at: datetime = NOW) -> Row[Any]:
    question = "SELECT * FROM app.consume_quota(:key, :user, 'upload', :delta, :at)"
    return ask(connection, question, key=key, user=user, delta=delta, at=at)


def usage(connection: Connection, user: int, metric: str = "upload", at: datetime = NOW) -> Row[Any]:
    return ask(connection, "SELECT * FROM app.quota_usage(:user, :metric, :at)", user=user, metric=metric, at=at)


def take(connection: Connection, pod: int, user: int, wanted: int, least: int = 1, at: datetime = NOW) -> Row[Any]:
    question = "SELECT * FROM app.take_lease(:pod, :user, NULL, :wanted, :least, 60, :at)"
    return ask(connection, question, pod=pod, user=user, wanted=wanted, least=least, at=at)


def spend(connection: Connection, lease: int, size: int) -> None:
    tell(connection, "UPDATE app.leases SET spent = spent + :size WHERE id = :lease", lease=lease, size=size)


def close(connection: Connection, lease: int) -> int:
    return int(ask(connection, "SELECT app.close_lease(:lease)", lease=lease)[0])


def pod_state(connection: Connection, pod: int) -> tuple[int, int]:
    used, reserved = ask(connection, "SELECT used, reserved FROM app.pods WHERE id = :pod", pod=pod)
    return used, reserved


def at_once(url: URL, work: list[Callable[[Connection], Any]]) -> list[Any]:
    """Each piece of work on a connection and in a thread of its own, started together."""
    engine = create_engine(url, poolclass=NullPool)
    start = threading.Barrier(len(work))

    def one(piece: Callable[[Connection], Any]) -> Any:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
            connection.commit()
            start.wait()
            return piece(connection)

    with ThreadPoolExecutor(len(work)) as pool:
        return list(pool.map(one, work))


def window(day: datetime, at: datetime) -> tuple[datetime, datetime]:
    """What an independent library makes of the rule: walk from the anchor until the window holds the instant."""
    months = (at.year - day.year) * 12 + at.month - day.month
    while day + relativedelta(months=months) > at:
        months -= 1
    while day + relativedelta(months=months + 1) <= at:
        months += 1
    return day + relativedelta(months=months), day + relativedelta(months=months + 1)


def draw(dice: random.Random) -> tuple[datetime, datetime]:
    """An anchor, often at a month's end, and an instant, often beside a boundary, sometimes long before the anchor."""
    day = datetime(2000, 1, 1, tzinfo=UTC) + timedelta(microseconds=dice.randrange(30 * 365 * 86_400 * 1_000_000))
    if dice.random() < 0.4:
        day = (day + relativedelta(day=31)) - timedelta(days=dice.randrange(3))
    at = day + relativedelta(months=dice.randrange(-300, 300))
    if dice.random() < 0.5:
        return day, at + dice.choice((-TICK, timedelta(), TICK))
    return day, at + timedelta(microseconds=dice.randrange(40 * 86_400 * 1_000_000))


@pytest.mark.parametrize("zone", ZONES)
def test_periods_agree_with_another_library(zone: str, migrated: Connection) -> None:
    dice = random.Random(f"dumacle {zone}")
    cases = [draw(dice) for _ in range(3000)]
    migrated.execute(text("SELECT set_config('TimeZone', :zone, false)"), {"zone": zone})
    found = migrated.execute(
        text(
            "SELECT app.quota_period_start(anchor, at), app.quota_period_end(anchor, at)"
            " FROM unnest(CAST(:anchors AS timestamptz[]), CAST(:ats AS timestamptz[])) WITH ORDINALITY"
            " AS cases (anchor, at, n) ORDER BY n"
        ),
        {"anchors": [day for day, _ in cases], "ats": [at for _, at in cases]},
    ).all()
    # In UTC, because Python never finds an instant of a repeated hour equal to one of another zone.
    answers = [(start.astimezone(UTC), end.astimezone(UTC)) for start, end in found]
    wrong = [case for case, answer in zip(cases, answers, strict=True) if answer != window(*case)]
    assert wrong == []


def test_without_an_anchor_months_are_calendar_months(migrated: Connection) -> None:
    row = usage(migrated, make_user(migrated))
    assert (row.period_start, row.period_end) == (datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC))


def test_storage_has_one_period(migrated: Connection) -> None:
    row = usage(migrated, make_user(migrated), "storage")
    assert (row.period_start, row.period_end) == (datetime(1970, 1, 1, tzinfo=UTC), None)


def test_limit_comes_from_override_or_plan_or_is_nothing(migrated: Connection) -> None:
    user = make_user(migrated)
    assert usage(migrated, user).allowed == 0
    tell(
        migrated,
        "INSERT INTO app.plans (name, price, currency, \"interval\", upload_limit) VALUES ('p', 1, 'eur', 'month', 70)",
    )
    for status, allowed in {"past_due": 70, "active": 70, "unpaid": 0}.items():
        tell(migrated, "DELETE FROM app.subscriptions")
        tell(
            migrated,
            "INSERT INTO app.subscriptions (user_id, plan_id, status) SELECT :u, id, :s FROM app.plans",
            u=user,
            s=status,
        )
        assert usage(migrated, user).allowed == allowed
    limit(migrated, user, "upload", 30)
    tell(
        migrated,
        "INSERT INTO app.quota_grants (user_id, metric, period_start, amount) VALUES (:u, 'upload', '2026-03-01Z', 5)",
        u=user,
    )
    assert usage(migrated, user).allowed == 35
    assert usage(migrated, user, at=NOW + relativedelta(months=1)).allowed == 30
    limit(migrated, user, "upload", None)
    assert usage(migrated, user).allowed is None


def test_consuming_takes_effect_once_and_never_passes_the_limit(migrated: Connection, pg_url: URL) -> None:
    user, allowed = make_user(migrated), CONSUMED * 33
    limit(migrated, user, "upload", allowed)
    fitting = allowed // 47

    def work(connection: Connection) -> int:
        keys = range(CONSUMED)
        shuffled = random.Random(threading.get_ident()).sample(keys, len(keys))
        return sum(consume(connection, f"key-{key}", user, 47).in_use > allowed for key in shuffled)

    assert sum(at_once(pg_url, [work] * CONSUMERS)) == 0
    assert usage(migrated, user).used == fitting * 47
    entries = ask(migrated, "SELECT count(*), count(DISTINCT id), sum(delta) FROM app.quota_entries")
    assert tuple(entries) == (fitting, fitting, fitting * 47)
    refused = consume(migrated, "one more", user, 47)
    assert (refused.accepted, refused.in_use, refused.allowed) == (False, fitting * 47, allowed)
    assert consume(migrated, "a smaller one", user, allowed - fitting * 47).accepted


def test_a_new_month_starts_at_nothing_without_a_write(migrated: Connection) -> None:
    user = make_user(migrated)
    limit(migrated, user, "upload", 10)
    assert consume(migrated, "a", user, 10).accepted
    assert not consume(migrated, "b", user, 1).accepted
    assert usage(migrated, user, at=datetime(2026, 3, 31, 23, 59, 59, 999999, tzinfo=UTC)).used == 10
    assert usage(migrated, user, at=datetime(2026, 4, 1, tzinfo=UTC)).used == 0


def test_moving_the_anchor_is_no_reset(migrated: Connection) -> None:
    user = make_user(migrated)
    limit(migrated, user, "upload", None)
    consume(migrated, "a", user, 10)
    since = datetime(2026, 3, 12, tzinfo=UTC)
    anchor(migrated, user, since, datetime(2026, 1, 20, tzinfo=UTC))
    later = datetime(2026, 3, 13, tzinfo=UTC)
    row = usage(migrated, user, at=later)
    assert (row.period_start, row.period_end, row.used) == (since, datetime(2026, 3, 20, tzinfo=UTC), 10)
    consume(migrated, "b", user, 5, later)
    assert usage(migrated, user, at=later).used == 15
    assert usage(migrated, user, at=NOW).period_end == since
    assert usage(migrated, user, at=datetime(2026, 3, 20, tzinfo=UTC)).used == 0
    total = ask(migrated, "SELECT sum(delta) FROM app.quota_entries WHERE period_start = :since", since=since)
    assert total[0] == 15


def test_a_new_subscription_starts_at_nothing(migrated: Connection) -> None:
    user = make_user(migrated)
    limit(migrated, user, "upload", None)
    consume(migrated, "a", user, 10)
    since = datetime(2026, 3, 12, tzinfo=UTC)
    anchor(migrated, user, since, since)
    assert usage(migrated, user, at=since).used == 0


def test_a_lease_is_taken_spent_and_closed_once(migrated: Connection) -> None:
    user, pod = make_user(migrated), make_pod(migrated, 10_000)
    limit(migrated, user, "storage", None)
    limit(migrated, user, "upload", 5_000)
    lease = take(migrated, pod, user, 1_000)
    assert (lease.granted, lease.refused_by, lease.free) == (1_000, None, 5_000)
    assert pod_state(migrated, pod) == (0, 1_000)
    assert usage(migrated, user).reserved == usage(migrated, user, "storage").reserved == 1_000
    spend(migrated, lease.lease_id, 300)
    assert close(migrated, lease.lease_id) == 700
    assert close(migrated, lease.lease_id) == 0
    assert pod_state(migrated, pod) == (300, 0)
    for metric in ("storage", "upload"):
        row = usage(migrated, user, metric)
        assert (row.used, row.reserved) == (300, 0)
    tell(migrated, "SELECT app.release_storage(:pod, :user, 200)", pod=pod, user=user)
    assert pod_state(migrated, pod) == (100, 0)
    assert (usage(migrated, user).used, usage(migrated, user, "storage").used) == (300, 100)


def test_a_trimmed_lease_gives_back_what_no_file_needs(migrated: Connection) -> None:
    user, pod = make_user(migrated), make_pod(migrated, 10_000)
    limit(migrated, user, "storage", None)
    limit(migrated, user, "upload", None)
    lease = take(migrated, pod, user, 1_000).lease_id
    spend(migrated, lease, 300)
    for size, kept in {400: 400, 100: 300, 900: 300}.items():
        tell(migrated, "SELECT app.trim_lease(:lease, :size)", lease=lease, size=size)
        assert pod_state(migrated, pod) == (0, kept)
        assert usage(migrated, user).reserved == usage(migrated, user, "storage").reserved == kept
    assert close(migrated, lease) == 0
    tell(migrated, "SELECT app.trim_lease(:lease, 0)", lease=lease)
    assert pod_state(migrated, pod) == (300, 0)


@pytest.mark.parametrize(("tight", "free"), [("pod", 70), ("storage", 60), ("upload", 50)])
def test_a_lease_says_what_refused_it(tight: str, free: int, migrated: Connection) -> None:
    user, pod = make_user(migrated), make_pod(migrated, 70)
    for metric, value in {"storage": 60, "upload": 50}.items():
        limit(migrated, user, metric, value if metric == tight else 1_000)
    refused = take(migrated, pod, user, 80, least=free + 1)
    assert tuple(refused) == (None, 0, tight, free)
    assert take(migrated, pod, user, 80, least=free).granted == free
    assert take(migrated, pod, user, 0, least=0).refused_by is None


def test_a_deleted_pod_takes_nothing(migrated: Connection) -> None:
    user, pod = make_user(migrated), make_pod(migrated, 70)
    limit(migrated, user, "storage", None)
    limit(migrated, user, "upload", None)
    tell(migrated, "UPDATE app.pods SET deleted_at = now()")
    assert take(migrated, pod, user, 0, least=0).refused_by == "pod"


def test_leases_shrink_near_the_limit(migrated: Connection) -> None:
    user, pod = make_user(migrated), make_pod(migrated, 1_000)
    limit(migrated, user, "storage", None)
    limit(migrated, user, "upload", None)
    granted = [take(migrated, pod, user, 600, least=100).granted for _ in range(8)]
    assert granted == [250, 187, 140, 105, 100, 100, 100, 0]


def test_what_ran_out_is_reaped_into_its_own_period(migrated: Connection) -> None:
    user, pod = make_user(migrated), make_pod(migrated, 1_000)
    limit(migrated, user, "storage", None)
    limit(migrated, user, "upload", None)
    end = datetime(2026, 4, 1, tzinfo=UTC)
    lease = take(migrated, pod, user, 100, at=end - TICK)
    spend(migrated, lease.lease_id, 40)
    reap = "SELECT app.reap_leases(:at)"
    closing = "SELECT app.close_quota_periods(:at, 10)"
    assert ask(migrated, reap, at=end)[0] == 0
    assert ask(migrated, closing, at=end)[0] == 0
    assert ask(migrated, reap, at=end + timedelta(minutes=1))[0] == 1
    assert ask(migrated, reap, at=end + timedelta(minutes=1))[0] == 0
    assert usage(migrated, user, at=end - TICK).used == 40
    assert usage(migrated, user, at=end).used == 0
    assert pod_state(migrated, pod) == (40, 0)
    assert ask(migrated, closing, at=end)[0] == 1


def test_many_uploaders_never_exceed_the_capacity(migrated: Connection, pg_url: URL) -> None:
    capacity = 100_000
    pod = make_pod(migrated, capacity)
    users = [make_user(migrated, f"user{number}@example.com") for number in range(4)]
    for user in users:
        limit(migrated, user, "storage", 40_000)
        limit(migrated, user, "upload", None)

    def upload(user: int, seed: int) -> Callable[[Connection], int]:
        dice = random.Random(seed)

        def work(connection: Connection) -> int:
            stored = 0
            for _ in range(25):
                lease = take(connection, pod, user, 1_500, least=200)
                if lease.refused_by:
                    continue
                size = dice.randrange(lease.granted + 1)
                spend(connection, lease.lease_id, size)
                if dice.random() < 0.9:
                    close(connection, lease.lease_id)
                stored += size
            return stored

        return work

    def reap(connection: Connection) -> int:
        for _ in range(10):
            ask(connection, "SELECT app.reap_leases(:at)", at=NOW + timedelta(seconds=1))
        return 0

    stored = at_once(pg_url, [*(upload(users[n % 4], n) for n in range(16)), reap])
    ask(migrated, "SELECT app.reap_leases(:at)", at=NOW + timedelta(hours=1))
    assert pod_state(migrated, pod) == (sum(stored), 0)
    assert 0 < sum(stored) <= capacity
    for number, user in enumerate(users):
        row = usage(migrated, user, "storage")
        assert (row.used, row.reserved) == (sum(stored[number:16:4]), 0)
        assert row.used <= 40_000
    ledger = ask(migrated, "SELECT sum(delta) FROM app.quota_entries WHERE metric = 'upload'")
    assert ledger[0] == sum(stored)


def test_uploaders_of_several_pods_and_the_reaper_never_deadlock(migrated: Connection, pg_url: URL) -> None:
    pods = [make_pod(migrated, 10_000_000 + number) for number in range(3)]
    users = [make_user(migrated, f"user{number}@example.com") for number in range(3)]
    for user in users:
        limit(migrated, user, "storage", None)
        limit(migrated, user, "upload", None)

    def work(connection: Connection) -> None:
        dice = random.Random(threading.get_ident())
        for _ in range(40):
            take(connection, dice.choice(pods), dice.choice(users), 10)
            if dice.random() < 0.3:
                ask(connection, "SELECT app.reap_leases(:at)", at=NOW + timedelta(hours=1))

    at_once(pg_url, [work] * 8)
    ask(migrated, "SELECT app.reap_leases(:at)", at=NOW + timedelta(hours=1))
    assert {pod_state(migrated, pod) for pod in pods} == {(0, 0)}


def test_four_at_once_close_four_missed_months_once(migrated: Connection, pg_url: URL) -> None:
    users = [make_user(migrated, f"user{number}@example.com") for number in range(60)]
    months = [datetime(2025, month, 15, tzinfo=UTC) for month in (9, 10, 11, 12)]
    for user in users:
        limit(migrated, user, "upload", 500)
        if user % 2:
            anchor(migrated, user, datetime(2025, 1, 31, tzinfo=UTC), datetime(2025, 1, 31, tzinfo=UTC))
    tell(
        migrated,
        "SELECT app.consume_quota(format('%s/%s', u.id, m), u.id, 'upload', u.id, m)"
        " FROM app.users AS u, unnest(CAST(:months AS timestamptz[])) AS m WHERE u.id > :idle",
        months=[*months, NOW],
        idle=users[9],
    )
    question = "SELECT app.close_quota_periods(:at, 7)"

    def work(connection: Connection) -> int:
        return sum(iter(lambda: int(ask(connection, question, at=NOW)[0]), 0))

    assert sum(at_once(pg_url, [work] * 4)) == 50 * 4
    assert ask(migrated, question, at=NOW)[0] == 0
    rows = migrated.execute(
        text('SELECT user_id, period_start, period_end, used, "limit" FROM app.quota_closings')
    ).all()
    assert len(rows) == len({(row.user_id, row.period_start) for row in rows}) == 200
    for row in rows:
        day = datetime(2025, 1, 31, tzinfo=UTC) if row.user_id % 2 else datetime(1970, 1, 1, tzinfo=UTC)
        assert (row.period_start, row.period_end) == window(day, row.period_start)
        assert (row.used, row.limit) == (row.user_id, 500)


def test_what_comes_after_the_closing_belongs_to_the_present(migrated: Connection) -> None:
    user = make_user(migrated)
    limit(migrated, user, "upload", None)
    old = datetime(2025, 9, 15, tzinfo=UTC)
    consume(migrated, "in time", user, 3, old)
    ask(migrated, "SELECT app.close_quota_periods(:at, 10)", at=NOW)
    consume(migrated, "late", user, 4, old)
    assert usage(migrated, user, at=old).used == 3
    present = ask(migrated, "SELECT used FROM app.quota_usage(:user, 'upload', now())", user=user)
    assert present[0] == 4

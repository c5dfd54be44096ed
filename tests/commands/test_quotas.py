"""`dumacle quotas` through the only door."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text

from dumacle_cli.store.database import Database
from tests.factories import make_user

pytestmark = pytest.mark.integration

Run = Callable[..., Any]
JSON = ("-o", "json")
GIB = 1024**3
NONE = dict.fromkeys(("closed", "leases", "sessions", "operations", "entries", "events", "bodies", "ended"), 0)


@pytest.fixture(autouse=True)
def months(database: Database) -> None:
    """ada, who uploaded in four months that ended, and in this one."""
    with database.session() as session:
        user = make_user(session, "ada@example.com")
        session.execute(
            text("""
                INSERT INTO app.quota_counters (user_id, metric, period_start, period_end, used)
                SELECT :user, 'upload', start, start + interval '1 month', 1073741824
                FROM generate_series(0, 4) AS n
                CROSS JOIN LATERAL (SELECT date_trunc('month', now()) - make_interval(months => n) AS start) AS months
            """),
            {"user": user.id},
        )


def test_set_and_show(run: Run) -> None:
    asked = ("quotas", "set", "ada@example.com", "--storage", "1TiB", "--upload", "unlimited")
    changed = run(*asked, "--transcode-minutes", "90", *JSON).json
    assert [(row["limit"], row["source"]) for row in changed["data"]] == [
        (1024 * GIB, "override"),
        (None, "override"),
        (90 * 60, "override"),
    ]
    assert changed["changed"] is True
    table = run("quotas", "show", "ada@example.com").out.splitlines()
    assert [line.split()[0] for line in table] == ["metric", "storage", "upload", "transcode"]
    assert ("1.00 TiB" in table[1], "unlimited" in table[2], "1h 30m" in table[3]) == (True, True, True)
    back = run("quotas", "set", "ada@example.com", "--storage", "plan", *JSON).data
    assert (back[0]["limit"], back[0]["source"]) == (0, "none")


@pytest.mark.parametrize(
    "typed",
    [
        ("set",),
        ("set", "--upload", "lots"),
        ("set", "--transcode-minutes", "1.5"),
        ("grant",),
        ("grant", "--upload", "0"),
        ("grant", "--upload", "plan"),
    ],
)
def test_what_cannot_be_asked_for(run: Run, typed: tuple[str, ...]) -> None:
    run("quotas", typed[0], "ada@example.com", *typed[1:], expect=2)


def test_a_grant_takes_effect_once_for_one_operation(run: Run) -> None:
    run("quotas", "set", "ada@example.com", "--upload", "1GiB")
    asked = ("quotas", "grant", "ada@example.com", "--upload", "5GiB", "--op-id", "wedding")
    assert [run(*asked, *JSON).json["changed"] for _ in range(2)] == [True, False]
    assert "6.00 GiB" in run(*asked).out
    upload = run("quotas", "show", "ada@example.com", *JSON).data[1]
    assert (upload["limit"], upload["granted"], upload["used"], upload["left"]) == (6 * GIB, 5 * GIB, GIB, 5 * GIB)


def test_reset_does_what_its_dry_run_foresaw_and_then_nothing(run: Run) -> None:
    results = [run("quotas", "reset", *more, *JSON).json for more in (("--dry-run",), (), (), ("--dry-run",))]
    assert [(result["data"], result["changed"]) for result in results] == [
        (NONE | {"closed": 4}, True),
        (NONE | {"closed": 4}, True),
        (NONE | {"closed": 0}, False),
        (NONE | {"closed": 0}, False),
    ]


def test_repeating_the_operation_of_a_reset_tells_what_it_did(run: Run) -> None:
    results = [run("quotas", "reset", "--op-id", "night", *JSON).json for _ in range(2)]
    assert [(result["data"]["closed"], result["changed"]) for result in results] == [(4, True), (4, False)]


def test_old_operations_are_pruned(run: Run, database: Database) -> None:
    old = "UPDATE app.operations SET created_at = now() - interval '31 days' WHERE id = 'old'"
    with database.session() as session:
        for name in ("old", "young"):
            session.execute(
                text("INSERT INTO app.operations (id, command, fingerprint) VALUES (:id, 'c', 'f')"), {"id": name}
            )
        session.execute(text(old))
    results = [run("quotas", "reset", *more, *JSON).data["operations"] for more in (("--dry-run",), (), ())]
    with database.session() as session:
        left = session.scalars(text("SELECT id FROM app.operations WHERE id IN ('old', 'young')")).all()
    assert (results, left) == ([1, 1, 0], ["young"])


def test_history_pages(run: Run) -> None:
    run("quotas", "reset", "--quiet")
    first = run("quotas", "history", "ada@example.com", "--limit", "3", *JSON).json
    rest = run("quotas", "history", "ada@example.com", "--after", first["next"], *JSON).json
    assert (len(first["data"]), len(rest["data"]), rest["next"]) == (3, 1, None)
    assert len(run("quotas", "history", "ada@example.com", "--all", "-o", "jsonl").out.splitlines()) == 4
    assert run("quotas", "history", "ada@example.com").out.count("1.00 GiB") == 4


def test_adjusting_gives_back_or_adds_once_and_the_ledger_agrees(run: Run, database: Database) -> None:
    with database.session() as session:
        session.execute(
            text("""
                INSERT INTO app.quota_entries (id, user_id, metric, period_start, delta, occurred_at)
                SELECT 'e' || period_start, user_id, metric, period_start, used, period_start FROM app.quota_counters
            """)
        )
    assert run("quotas", "verify", *JSON).data == []
    asked = ("quotas", "adjust", "ada@example.com", "--upload", "-512MiB", "--reason", "failed import", "--op-id", "a")
    assert [run(*asked, *JSON).json["changed"] for _ in range(2)] == [True, False]
    run("quotas", "adjust", "ada@example.com", "--upload", "256MiB", "--transcode-minutes", "2")
    used = [row["used"] for row in run("quotas", "show", "ada@example.com", *JSON).data]
    assert used == [0, GIB * 3 // 4, 120]
    failed = run("quotas", "adjust", "ada@example.com", "--upload", "-5GiB", *JSON, expect=7)
    assert failed.error["message"].endswith("less was used than is given back")
    assert run("quotas", "verify", "ada@example.com", *JSON).data == []
    with database.session() as session:
        assert session.scalar(text("SELECT reason FROM app.quota_entries WHERE delta < 0")) == "failed import"


def test_verify_tells_where_a_counter_and_its_ledger_differ(run: Run, database: Database) -> None:
    with database.session() as session:
        session.execute(text("UPDATE app.quota_counters SET closed_at = now() WHERE period_end <= now()"))
        old = "UPDATE app.quota_counters SET closed_at = now() - interval '91 days' WHERE period_start IN"
        session.execute(text(f"{old} (SELECT min(period_start) FROM app.quota_counters)"))
    found = run("quotas", "verify", *JSON, expect=12).data
    assert [(row["user"], row["used"], row["booked"]) for row in found] == [("ada@example.com", GIB, 0)] * 4
    assert "1.00 GiB" in run("quotas", "verify", "ada@example.com", expect=12).out


def test_old_entries_events_and_bodies_are_pruned(run: Run, database: Database) -> None:
    with database.session() as session:
        for statement in PLANTED.split(";"):
            session.execute(text(statement))
    reset = ("quotas", "reset", *JSON)
    results = [run(*reset, *more).data for more in (("--dry-run",), (), ())]
    pruned = NONE | {"closed": 4, "entries": 1, "events": 1, "bodies": 2}
    assert results == [pruned, pruned | {"bodies": 1}, NONE]
    with database.session() as session:
        assert session.scalars(text("SELECT id FROM app.quota_entries ORDER BY id")).all() == ["young"]
        assert session.scalars(text("SELECT id FROM app.stripe_events ORDER BY id")).all() == ["days", "due", "month"]
        assert session.scalars(text("SELECT event_id FROM app.stripe_payloads ORDER BY 1")).all() == ["days", "due"]


PLANTED = """
    INSERT INTO app.quota_counters (user_id, metric, period_start, period_end, used, closed_at)
    SELECT user_id, 'transcode', now() - interval '200 days', now() - interval '170 days', 1,
        now() - interval '100 days'
    FROM app.quota_counters LIMIT 1;
    INSERT INTO app.quota_entries (id, user_id, metric, period_start, delta, occurred_at)
    SELECT name, user_id, metric, period_start, 1, period_start + days FROM app.quota_counters
    CROSS JOIN (VALUES ('old', interval '1 day'), ('young', interval '150 days')) AS entry (name, days)
    WHERE metric = 'transcode';
    INSERT INTO app.stripe_events (id, type, created_at, received_at, status)
    SELECT id, 'invoice.paid', now(), now() - days, status FROM (VALUES
        ('old', interval '91 days', 'applied'), ('due', interval '91 days', 'parked'),
        ('month', interval '31 days', 'ignored'), ('days', interval '29 days', 'applied')) AS event (id, days, status);
    INSERT INTO app.stripe_payloads SELECT id, 'x' FROM app.stripe_events
"""

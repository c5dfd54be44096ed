"""Quotas: where limits come from, grants, standing, history, and closing by several at once."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from dumacle_cli.errors import InvalidValue, NotFound
from dumacle_cli.services import quotas
from dumacle_cli.store.database import Database
from tests.factories import make_plan, make_pod, make_subscription, make_user

pytestmark = pytest.mark.integration

USERS = 5000
MONTHS = 4


def test_limits_come_from_nothing_plan_or_override(database: Database) -> None:
    with database.session() as session:
        user = make_user(session, "ada@example.com")
        assert _limits(session) == {"storage": (0, "none"), "upload": (0, "none"), "transcode": (0, "none")}
        plan = make_plan(session, "starter", storage_limit=1000, upload_limit=200)
        make_subscription(session, user, plan)
        expected = {
            "storage": (1000, "plan starter"),
            "upload": (200, "plan starter"),
            "transcode": (None, "plan starter"),
        }
        assert _limits(session) == expected
        shown, changed = quotas.set_(session, user.email, {"storage": 5000, "upload": None})
        assert changed
        assert shown == quotas.show(session, str(user.id))
        assert _limits(session) == expected | {"storage": (5000, "override"), "upload": (None, "override")}
        assert not quotas.set_(session, user.email, {"storage": 5000, "upload": None})[1]
        assert quotas.set_(session, user.email, {"upload": "plan", "storage": 5000})[1]
        assert _limits(session) == expected | {"storage": (5000, "override")}
        assert not quotas.set_(session, user.email, {"upload": "plan"})[1]


def test_grants_add_to_this_period_only(database: Database) -> None:
    with database.session() as session:
        user = make_user(session, "ada@example.com")
        quotas.set_(session, user.email, {"upload": 100, "transcode": 60})
        for _ in range(2):
            shown, changed = quotas.grant(session, user.email, {"upload": 5, "transcode": 60}, reason="wedding")
            assert changed
        by_metric = {quota.metric: quota for quota in shown}
        assert (by_metric["upload"].limit, by_metric["upload"].granted, by_metric["upload"].left) == (110, 10, 110)
        assert (by_metric["transcode"].limit, by_metric["storage"].granted) == (180, 0)
        session.execute(text("UPDATE app.quota_grants SET period_start = period_start - interval '1 month'"))
        assert _limits(session)["upload"] == (100, "override")
        with pytest.raises(InvalidValue):
            quotas.grant(session, user.email, {"upload": 0})
        with pytest.raises(NotFound):
            quotas.grant(session, "nobody@example.com", {"upload": 1})


def test_standing_counts_used_and_reserved(database: Database) -> None:
    with database.session() as session:
        user, pod = make_user(session, "ada@example.com"), make_pod(session)
        quotas.set_(session, user.email, {"storage": 1000, "upload": 300})
        ids = {"pod": pod.id, "user": user.id}
        taken = text("SELECT lease_id FROM app.take_lease(:pod, :user, NULL, 50, 50, 60, now())")
        lease = session.execute(taken, ids).scalar_one()
        session.execute(text("UPDATE app.leases SET spent = 20"))
        assert _amounts(session)["upload"] == (0, 50, 250)
        session.execute(text("SELECT app.close_lease(:id)"), {"id": lease})
        assert (_amounts(session)["upload"], _amounts(session)["storage"]) == ((20, 0, 280), (20, 0, 980))
        quotas.set_(session, user.email, {"upload": 5})
        assert _amounts(session)["upload"] == (20, 0, 0)


def test_storage_has_one_period_and_the_others_are_months_of_the_anchor(database: Database) -> None:
    with database.session() as session:
        user = make_user(session, "ada@example.com")
        anchor = {"user": user.id, "at": datetime(2026, 1, 31, 12, tzinfo=UTC)}
        session.execute(text("INSERT INTO app.quota_anchors VALUES (:user, '2026-01-31', :at)"), anchor)
        storage, upload, _ = quotas.show(session, user.email)
        assert (storage.period_start, storage.period_end) == (datetime(1970, 1, 1, tzinfo=UTC), None)
        assert upload.period_end is not None
        assert upload.period_start <= datetime.now(UTC) < upload.period_end
        assert upload.period_start.hour == upload.period_end.hour == 12


def test_closing_writes_history_and_its_pages_go_backwards(database: Database) -> None:
    with database.session() as session:
        user = make_user(session, "ada@example.com")
        make_subscription(session, user, make_plan(session, "starter", upload_limit=200))
        _months(session)
        assert quotas.close_batch(session) == (MONTHS, True)
        assert quotas.close_batch(session) == (0, False)
        page = quotas.history(session, user.email, after=None, limit=3)
        rest = quotas.history(session, user.email, after=page.after, limit=3)
        closings = page.items + rest.items
        assert rest.after is None
        assert [closing.used for closing in closings] == [1, 2, 3, 4]
        assert {(closing.metric, closing.unit) for closing in closings} == {("upload", "bytes")}
        assert {(closing.limit, closing.plan) for closing in closings} == {(200, "starter")}
        assert all(new.period_start == old.period_end for old, new in zip(closings[1:], closings, strict=False))
        assert _amounts(session)["upload"] == (0, 0, 200)


def test_a_lease_that_ran_out_does_not_hold_its_period_open(database: Database) -> None:
    with database.session() as session:
        user, pod = make_user(session, "ada@example.com"), make_pod(session)
        quotas.set_(session, user.email, {"storage": None, "upload": None})
        past = "now() - interval '2 months'"
        taken = text(f"SELECT app.take_lease(:pod, :user, NULL, 50, 50, 60, {past})")
        session.execute(taken, {"pod": pod.id, "user": user.id})
        assert quotas.close_batch(session) == (0, False)
        with session.begin_nested() as tried:
            previewed, changed = quotas.preview(session)
            tried.rollback()
        assert (previewed, changed) == (replace(quotas.NOTHING, closed=1, leases=1), True)
        assert quotas.reap(session) == (1, True)
        assert quotas.close_batch(session) == (1, True)
        assert quotas.preview(session) == (quotas.NOTHING, False)


def test_four_at_once_after_missed_months_close_each_period_once(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas, "BATCH", 700)
    with database.session() as session:
        session.execute(
            text("INSERT INTO app.users (email) SELECT 'u' || n || '@example.com' FROM generate_series(1, :n) AS n"),
            {"n": USERS},
        )
        _months(session)
        assert quotas.preview(session)[0].closed == USERS * MONTHS
    counts = _together(4, lambda: _close_all(database))
    assert sum(counts) == USERS * MONTHS
    with database.session() as session:
        assert _close_all(database) == 0
        written = "SELECT count(*), count(DISTINCT (user_id, period_start)), sum(used) FROM app.quota_closings"
        assert tuple(session.execute(text(written)).one()) == (USERS * MONTHS, USERS * MONTHS, USERS * (1 + 2 + 3 + 4))


def _close_all(database: Database) -> int:
    """Close in batches as the command does, each in a transaction of its own."""
    total = 0
    while True:
        with database.session() as session:
            closed, _ = quotas.close_batch(session)
        total += closed
        if not closed:
            return total


def _together(threads: int, work: Callable[[], int]) -> list[int]:
    """Run the work in so many threads that begin at one instant, and return what each came to."""
    barrier = threading.Barrier(threads)
    results: list[int] = []

    def begin() -> None:
        barrier.wait()
        results.append(work())

    started = [threading.Thread(target=begin) for _ in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    assert len(results) == threads
    return results


def _months(session: Session) -> None:
    """Give every enduser four calendar months of uploads that ended, of 4, 3, 2 and 1 bytes, the oldest first."""
    session.execute(
        text("""
            INSERT INTO app.quota_counters (user_id, metric, period_start, period_end, used)
            SELECT id, 'upload', months.start, months.start + interval '1 month', n
            FROM app.users CROSS JOIN generate_series(1, :months) AS n
            CROSS JOIN LATERAL (SELECT date_trunc('month', now()) - make_interval(months => n) AS start) AS months
            WHERE role = 'enduser'
        """),
        {"months": MONTHS},
    )


def _limits(session: Session) -> dict[str, tuple[int | None, str]]:
    return {quota.metric: (quota.limit, quota.source) for quota in quotas.show(session, "ada@example.com")}


def _amounts(session: Session) -> dict[str, tuple[int, int, int | None]]:
    return {quota.metric: (quota.used, quota.reserved, quota.left) for quota in quotas.show(session, "ada@example.com")}

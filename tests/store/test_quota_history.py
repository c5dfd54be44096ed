"""Closings tell of the plan and the limits that were in force in their period, whatever changed since."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from dumacle_cli.services import quotas
from dumacle_cli.store.database import Database
from tests.factories import make_plan, make_subscription, make_user

pytestmark = pytest.mark.integration

DAY = timedelta(days=1)
NOW = datetime.now(UTC)
ENDED = NOW - timedelta(minutes=20)
"""When the period ended that is closed now."""


class Month:
    """A user on a plan of 900 bytes a month since 100 days ago, whose last month ended a moment ago."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.user = make_user(session, "ada@example.com", created_at=NOW - 100 * DAY).id
        self.plan = make_plan(session, "basic", upload_limit=900, transcode_limit=None).id
        self.pro = make_plan(session, "pro", upload_limit=5000).id
        self.run("UPDATE app.plan_limits SET valid_from = :at", at=NOW - 200 * DAY)
        self.run("INSERT INTO app.quota_anchors VALUES (:user, :at, :day)", at=NOW - 100 * DAY, day=ENDED)

    def run(self, statement: str, **given: Any) -> None:
        self.session.execute(text(statement), {"user": self.user, "plan": self.plan, "pro": self.pro, **given})

    def commit(self) -> None:
        """Let what follows be later than what was done."""
        self.session.commit()

    def subscribe(self) -> None:
        self.run(
            "INSERT INTO app.subscriptions (user_id, plan_id, status, started_at) VALUES (:user, :plan, 'active', :at)",
            at=NOW - 90 * DAY,
        )
        self.commit()

    def end(self, at: datetime | None) -> None:
        self.run("UPDATE app.subscriptions SET status = 'canceled', ended_at = coalesce(:at, now())", at=at)

    def move(self) -> None:
        """End the plan now, and begin the other one."""
        self.end(None)
        self.run("INSERT INTO app.subscriptions (user_id, plan_id, status) VALUES (:user, :pro, 'active')")

    def leave(self) -> None:
        """End the plan now, and the account."""
        self.end(None)
        self.run("UPDATE app.users SET deleted_at = now(), status = 'disabled' WHERE id = :user")

    def closed(self, metric: quotas.Metric = "upload") -> tuple[str | None, int | None]:
        """Use a byte in the month that ended, close it, and return its plan and its limit."""
        self.run(
            "INSERT INTO app.quota_counters (user_id, metric, period_start, period_end, used)"
            " SELECT :user, :metric, w.period_start, w.period_end, 1"
            " FROM app.quota_window(:user, :metric, :at) AS w",
            metric=metric,
            at=ENDED - timedelta(seconds=1),
        )
        assert quotas.close_batch(self.session) == (1, True)
        found = 'SELECT plans.name, "limit" FROM app.quota_closings LEFT JOIN app.plans ON plans.id = plan_id'
        closing = self.session.execute(text(found)).one()
        return closing.name, closing.limit


@pytest.fixture
def month(database: Database) -> Iterator[Month]:
    with Session(database.engine) as session:
        yield Month(session)


def test_plan_in_force(month: Month) -> None:
    month.subscribe()
    assert month.closed() == ("basic", 900)


LATER: dict[str, Callable[[Month], None]] = {
    "the subscription ended with the period": lambda month: month.end(ENDED),
    "it ended after the period": lambda month: month.end(NOW - timedelta(minutes=2)),
    "it ended now": lambda month: month.end(None),
    "it ended within the period": lambda month: month.end(ENDED - 5 * DAY),
    "it is not paid": lambda month: month.run("UPDATE app.subscriptions SET status = 'unpaid'"),
    "the user moved to another plan": lambda month: month.move(),
    "its plan was changed in place": lambda month: month.run("UPDATE app.subscriptions SET plan_id = :pro"),
    "it was deleted": lambda month: month.run("DELETE FROM app.subscriptions"),
    "the plan allows less now": lambda month: month.run("UPDATE app.plans SET upload_limit = 1"),
    "the plan allows everything now": lambda month: month.run("UPDATE app.plans SET upload_limit = NULL"),
    "the user has a limit of their own now": lambda month: month.run(
        "INSERT INTO app.quota_limits VALUES (:user, 'upload', 7)"
    ),
    "the user left": lambda month: month.leave(),
}


@pytest.mark.parametrize("what", LATER)
def test_what_happened_later_changes_no_month_that_was(month: Month, what: str) -> None:
    month.subscribe()
    LATER[what](month)
    assert month.closed() == ("basic", 900)


def test_who_left_before_the_period_had_no_plan(month: Month) -> None:
    month.subscribe()
    month.end(ENDED - 40 * DAY)
    assert month.closed() == (None, 0)


def test_plan_that_began_after_the_period_does_not_count(month: Month) -> None:
    month.run("INSERT INTO app.subscriptions (user_id, plan_id, status) VALUES (:user, :pro, 'active')")
    assert month.closed() == (None, 0)


def test_of_two_plans_in_a_period_the_last_counts(month: Month) -> None:
    month.subscribe()
    month.move()
    month.run("UPDATE app.entitlements SET valid_until = :at WHERE valid_until IS NOT NULL", at=ENDED - 5 * DAY)
    month.run("UPDATE app.entitlements SET valid_from = :at WHERE valid_until IS NULL", at=ENDED - 5 * DAY)
    assert month.closed() == ("pro", 5000)


@pytest.mark.parametrize(("limit", "metric"), [(7, "upload"), (None, "upload"), (7, "transcode")])
def test_limit_of_their_own_that_was_in_force(month: Month, limit: int | None, metric: quotas.Metric) -> None:
    month.subscribe()
    month.run("INSERT INTO app.quota_limits VALUES (:user, :metric, :limit)", metric=metric, limit=limit)
    month.commit()
    month.run("UPDATE app.own_limits SET valid_from = :at", at=ENDED - 10 * DAY)
    month.run("DELETE FROM app.quota_limits")
    assert month.closed(metric) == ("basic", limit)


def test_grants_of_the_period_are_part_of_its_limit(month: Month) -> None:
    month.subscribe()
    month.run(
        "INSERT INTO app.quota_grants (user_id, metric, period_start, amount)"
        " SELECT :user, 'upload', w.period_start, 50 FROM app.quota_window(:user, 'upload', :at) AS w",
        at=ENDED - DAY,
    )
    assert month.closed() == ("basic", 950)


def test_month_before_the_account_counts_with_the_first_plan(month: Month) -> None:
    month.run("UPDATE app.users SET created_at = now()")
    month.run("INSERT INTO app.subscriptions (user_id, plan_id, status) VALUES (:user, :plan, 'active')")
    month.commit()
    month.move()
    assert month.closed() == ("basic", 900)


def test_changes_that_are_undone_at_once_leave_no_history(month: Month) -> None:
    month.run("INSERT INTO app.subscriptions (user_id, plan_id, status) VALUES (:user, :plan, 'active')")
    month.run("UPDATE app.subscriptions SET plan_id = :pro")
    month.run("INSERT INTO app.quota_limits VALUES (:user, 'upload', 7)")
    month.run('UPDATE app.quota_limits SET "limit" = 8')
    rows = "SELECT (SELECT count(*) FROM app.entitlements), (SELECT count(*) FROM app.own_limits)"
    assert tuple(month.session.execute(text(rows)).one()) == (1, 1)


# Moving the anchor, as buying a plan does


@pytest.fixture
def buyer(database: Database) -> Iterator[tuple[Session, int]]:
    """A user with calendar months who used 30 bytes of upload and was granted 50."""
    with Session(database.engine) as session:
        user = make_user(session, "bob@example.com")
        make_subscription(session, user, make_plan(session, "free", upload_limit=10))
        session.execute(text("SELECT app.consume_quota('k', :user, 'upload', 10, now())"), {"user": user.id})
        quotas.grant(session, user.email, {"upload": 50, "transcode": 60}, reason="goodwill")
        session.execute(text("SELECT app.consume_quota('l', :user, 'upload', 20, now())"), {"user": user.id})
        session.commit()
        yield session, user.id


def anchor(session: Session, user: int, age: timedelta) -> dict[str, quotas.Quota]:
    """Count the months of a user from this long ago, as of now."""
    values = {"user": user, "day": datetime.now(UTC) - age}
    session.execute(text("INSERT INTO app.quota_anchors VALUES (:user, clock_timestamp(), :day)"), values)
    session.commit()
    return {quota.metric: quota for quota in quotas.show(session, str(user))}


def test_grant_carries_on_with_the_usage(buyer: tuple[Session, int]) -> None:
    for age in (timedelta(seconds=5), timedelta(days=3)):
        shown = anchor(*buyer, age)
        assert (shown["upload"].used, shown["upload"].granted, shown["upload"].left) == (30, 50, 30)
        assert shown["transcode"].granted == 60


def test_grant_ends_with_its_month(buyer: tuple[Session, int]) -> None:
    session, user = buyer
    anchor(session, user, timedelta(seconds=5))
    later = "SELECT app.quota_limit(:user, 'upload', now() + interval '40 days')"
    assert session.scalar(text(later), {"user": user}) == 10
    spent = "SELECT sum(amount) FROM app.quota_grants WHERE metric = 'upload' GROUP BY period_start"
    assert session.scalars(text(spent)).all() == [50, 50]

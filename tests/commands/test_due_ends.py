"""A subscription that Stripe does not let end later is ended by `quotas reset`, before its next charge."""

from typing import Any

import pytest
from sqlalchemy import text

from dumacle_cli.store.database import Database
from tests.commands.test_selling import ADA, JSON, sell, subscribed
from tests.conftest import Run
from tests.stripe_double.double import StripeDouble

__all__ = ["sell", "subscribed"]

pytestmark = pytest.mark.integration


@pytest.fixture
def put_off(sell: Run, subscribed: Any, stripe_double: StripeDouble) -> Any:
    """A subscription under a schedule that the key may not release, and that was cancelled nevertheless."""
    stripe_double.schedule(subscribed["stripe_id"])
    stripe_double.fail("POST /v1/subscription_schedules/", 403, times=2)
    return sell("plans", "cancel", ADA, "--yes", *JSON)


def shown(sell: Run) -> Any:
    return sell("plans", "subscriptions", "show", ADA, *JSON).data


def pass_time(database: Database, left: str) -> None:
    """Move an end to so long from now."""
    with database.session() as session:
        session.execute(
            text("UPDATE app.subscriptions SET end_due_at = now() + CAST(:left AS interval)"), {"left": left}
        )


def test_it_is_recorded_and_told(sell: Run, subscribed: Any, put_off: Any, stripe_double: StripeDouble) -> None:
    assert (put_off.json["changed"], put_off.data["end_due_at"]) == (True, subscribed["current_period_end"])
    assert stripe_double.get(subscribed["stripe_id"])["schedule"] in put_off.err
    assert "dumacle quotas reset" in put_off.err
    assert stripe_double.get(subscribed["stripe_id"])["status"] == "active"
    assert shown(sell) == subscribed | {"end_due_at": subscribed["current_period_end"]}
    sell("plans", "sync")
    assert shown(sell)["end_due_at"] == subscribed["current_period_end"]
    assert sell("plans", "cancel", ADA, "--yes", *JSON).json["changed"] is False


@pytest.mark.parametrize(("left", "ended"), [("95 minutes", 0), ("85 minutes", 1), ("-2 days", 1)])
def test_it_is_ended_when_it_is_due(
    sell: Run, subscribed: Any, put_off: Any, database: Database, stripe_double: StripeDouble, left: str, ended: int
) -> None:
    pass_time(database, left)
    results = [sell("quotas", "reset", *more, *JSON).data["ended"] for more in (("--dry-run",), (), ())]
    assert results == [ended, ended, 0]
    status = "canceled" if ended else "active"
    assert stripe_double.get(subscribed["stripe_id"])["status"] == shown(sell)["status"] == status
    assert (shown(sell)["end_due_at"] is None) == bool(ended)


def test_resume_takes_it_back(sell: Run, subscribed: Any, put_off: Any, database: Database) -> None:
    foreseen = sell("plans", "resume", ADA, "--dry-run", *JSON)
    resumed = sell("plans", "resume", ADA, *JSON)
    assert (resumed.data, resumed.json["changed"]) == (foreseen.data, True)
    assert shown(sell) == resumed.data == subscribed
    assert sell("quotas", "reset", *JSON).data["ended"] == 0


def test_what_ends_at_stripe_after_all_does_not_end_here(
    sell: Run, subscribed: Any, put_off: Any, stripe_double: StripeDouble
) -> None:
    stripe_double.api.faults.clear()
    sell("plans", "cancel", ADA, "--yes")
    assert (shown(sell)["end_due_at"], shown(sell)["cancel_at"]) == (None, subscribed["current_period_end"])


def test_what_cannot_be_ended_is_told_until_it_is(
    sell: Run, subscribed: Any, put_off: Any, database: Database, stripe_double: StripeDouble
) -> None:
    pass_time(database, "-1 hours")
    stripe_double.fail(f"DELETE /v1/subscriptions/{subscribed['stripe_id']}", 403)
    failed = sell("quotas", "reset", *JSON, expect=3)
    assert failed.data["ended"] == 0
    assert subscribed["stripe_id"] in failed.err
    assert "was to end at" in sell("plans", "sync", expect=3).err
    [told] = [each for each in sell("plans", "doctor", *JSON, expect=1).data if "was to end at" in each["finding"]]
    assert told["fix"] == "dumacle quotas reset"
    assert sell("quotas", "reset", *JSON).data["ended"] == 1
    sell("plans", "sync")

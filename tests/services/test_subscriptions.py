"""Subscriptions that nobody bills, and how all are listed and found."""

import pytest
from sqlalchemy.orm import Session

from dumacle_cli.errors import Conflict, NotFound, UsageError
from dumacle_cli.services import account_status, users
from dumacle_cli.services.billing import subscriptions
from tests.factories import make_grant, make_plan, make_pod, make_subscription, make_user

pytestmark = pytest.mark.integration

ADA = "ada@example.com"


def test_giving_a_plan_replaces_the_present_one_and_grants_its_pod(session: Session) -> None:
    ada = make_user(session, ADA)
    films = make_pod(session, "films")
    make_plan(session, "free")
    make_plan(session, "starter", default_pod_id=films.id, storage_limit=10)
    first, changed = subscriptions.give(session, ADA, "free")
    assert (changed, first.plan, first.status, first.stripe_id) == (True, "free", "active", None)
    assert not subscriptions.give(session, str(ada.id), "free")[1]
    second, changed = subscriptions.give(session, ADA, "starter")
    assert (changed, second.plan) == (True, "starter")
    ended = subscriptions.show(session, str(first.id))
    assert ended.status == "canceled"
    assert ended.ended_at
    assert [pod.name for pod in account_status.show(session, ADA).pods] == ["films"]


def test_what_is_sold_at_stripe_is_not_given_away(session: Session) -> None:
    ada = make_user(session, ADA)
    starter = make_plan(session, "starter")
    make_plan(session, "pro", stripe_price_id="price_1")
    make_subscription(session, ada, starter)
    for refused in (subscriptions.give, subscriptions.move):
        with pytest.raises(UsageError, match="--checkout or --direct"):
            refused(session, ADA, "pro")
    assert subscriptions.of(session, ADA).plan == "starter"


def test_what_stripe_bills_is_not_touched(session: Session) -> None:
    ada = make_user(session, ADA)
    make_plan(session, "starter")
    make_subscription(session, ada, make_plan(session, "pro"), stripe_subscription_id="sub_1")
    with pytest.raises(Conflict, match="Stripe bills") as refused:
        subscriptions.give(session, ADA, "starter")
    assert refused.value.remedy == f"dumacle plans change {ADA} PLAN, or dumacle plans cancel {ADA}"
    with pytest.raises(Conflict):
        subscriptions.stop(session, ADA)
    assert subscriptions.billed(session, ada.id) == ["sub_1"]


@pytest.mark.parametrize(("status", "is_billed"), [("past_due", True), ("paused", True), ("incomplete", False)])
def test_one_that_was_never_paid_keeps_nobody_from_buying(session: Session, status: str, is_billed: bool) -> None:
    ada = make_user(session, ADA)
    make_subscription(session, ada, make_plan(session), stripe_subscription_id="sub_1", status=status)
    assert bool(subscriptions.billed(session, ada.id)) is is_billed


def test_moving_needs_a_subscription(session: Session) -> None:
    make_user(session, ADA)
    make_plan(session, "free")
    make_plan(session, "starter")
    with pytest.raises(NotFound):
        subscriptions.move(session, ADA, "free")
    subscriptions.give(session, ADA, "free")
    assert subscriptions.move(session, ADA, "starter")[0].plan == "starter"
    assert not subscriptions.move(session, ADA, "starter")[1]
    subscriptions.stop(session, ADA)
    with pytest.raises(NotFound, match="has not ended"):
        subscriptions.move(session, ADA, "free")


def test_stopping_leaves_files_and_grants(session: Session) -> None:
    ada = make_user(session, ADA)
    make_grant(session, make_pod(session, "films"), ada)
    with pytest.raises(NotFound):
        subscriptions.stop(session, ADA)
    make_subscription(session, ada, make_plan(session, "starter", storage_limit=10))
    stopped, changed = subscriptions.stop(session, ADA)
    assert (changed, stopped.status) == (True, "canceled")
    assert not subscriptions.stop(session, ADA)[1]
    shown = account_status.show(session, ADA)
    assert (shown.plan, shown.storage_limit, len(shown.pods)) == (None, 0, 1)


def test_stopping_that_of_a_deleted_user(session: Session) -> None:
    gone = make_user(session, ADA)
    make_subscription(session, gone, make_plan(session, "starter"))
    users.delete(session, ADA)
    assert subscriptions.stop(session, ADA)[1]


def test_listing_filters_and_pages(session: Session) -> None:
    starter, pro = make_plan(session, "starter"), make_plan(session, "pro")
    made = [make_user(session, f"user{number}@example.com") for number in range(5)]
    for number, user in enumerate(made):
        make_subscription(session, user, (starter, pro)[number % 2], status=("active", "past_due")[number > 2])

    def listed(**filters: str) -> list[tuple[str, str]]:
        wanted = {"status": None, "plan": "", "user": ""} | filters
        found, after = [], None
        while True:
            page = subscriptions.list_(session, **wanted, after=after, limit=2)  # type: ignore[arg-type]
            found += [(each.user, each.plan) for each in page.items]
            after = page.after
            if after is None:
                return found

    assert listed() == [(user.email, ("starter", "pro")[number % 2]) for number, user in enumerate(made)]
    assert [plan for _, plan in listed(plan="pro")] == ["pro", "pro"]
    assert [user for user, _ in listed(status="past_due")] == [made[3].email, made[4].email]
    assert listed(user=str(made[1].id)) == [(made[1].email, "pro")]
    assert listed(user=made[1].email, status="past_due") == []
    with pytest.raises(NotFound):
        listed(plan="nope")


def test_finding_one(session: Session) -> None:
    ada = make_user(session, ADA)
    row = make_subscription(session, ada, make_plan(session, "pro"), stripe_subscription_id="sub_1")
    for reference in (ADA, str(row.id), "sub_1"):
        assert subscriptions.show(session, reference).id == row.id
    for reference in ("sub_2", "0", "9" * 30, "\0", "\udcff"):
        with pytest.raises(NotFound):
            subscriptions.show(session, reference)
    with pytest.raises(NotFound, match="user"):
        subscriptions.show(session, "nobody@example.com")

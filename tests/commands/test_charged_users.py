"""Users who are charged: twice, though disabled or deleted, at another address, or on a page that was left open."""

import functools
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text

from dumacle_cli.services.billing import BillingContext, apply
from dumacle_cli.store import stripe as store
from dumacle_cli.store.database import Database
from tests.commands.test_duties import By, by, log_in
from tests.commands.test_selling import ADA, JSON, customer_of, price_of, sell, subscribed
from tests.conftest import Run
from tests.factories import make_user
from tests.stripe_double.double import StripeDouble

__all__ = ["by", "log_in", "sell", "subscribed"]

pytestmark = pytest.mark.integration

CHECKOUT = ("plans", "subscribe", ADA)


def user_id(sell: Run) -> int:
    return int(sell("users", "show", ADA, *JSON).data["id"])


def open_pages(double: StripeDouble) -> list[Any]:
    return [page for page in double.all("checkout.session") if page["status"] == "open"]


def work(database: Database, double: StripeDouble) -> None:
    """Let a worker apply what is due."""
    account = double.billing()
    with database.session() as session:
        due = store.due(session, 50)
    for id_ in due:
        apply.apply_object(BillingContext(database, account, "dumacle"), id_)
    account.close()


# Pages


def test_a_page_for_the_same_plan_is_the_same(sell: Run, stripe_double: StripeDouble) -> None:
    first = sell(*CHECKOUT, "pro", "--checkout", *JSON)
    again = sell(*CHECKOUT, "pro", "--checkout", *JSON)
    assert (first.json["changed"], again.json["changed"]) == (True, False)
    assert first.data["url"] == again.data["url"]
    assert len(open_pages(stripe_double)) == 1


@pytest.mark.parametrize("other", ["plan", "address"])
def test_a_page_for_something_else_is_closed(
    sell: Run, stripe_double: StripeDouble, environment: Callable[..., None], other: str
) -> None:
    sell(*CHECKOUT, "pro", "--checkout")
    if other == "address":
        environment(DUMACLE_CHECKOUT_SUCCESS_URL="https://example.com/elsewhere")
    made = sell(*CHECKOUT, "starter" if other == "plan" else "pro", "--checkout", *JSON).data
    assert [page["url"] for page in open_pages(stripe_double)] == [made["url"]]


def test_a_page_that_was_closed_is_not_given_out_again(sell: Run, stripe_double: StripeDouble) -> None:
    sell(*CHECKOUT, "pro", "--checkout", "--op-id", "monday")
    sell(*CHECKOUT, "starter", "--checkout")
    made = sell(*CHECKOUT, "pro", "--checkout", "--op-id", "monday", *JSON).data
    assert [page["url"] for page in open_pages(stripe_double)] == [made["url"]]


def test_no_page_is_open_beside_a_direct_sale(sell: Run, stripe_double: StripeDouble) -> None:
    sell(*CHECKOUT, "pro", "--checkout")
    stripe_double.add_card(customer_of(stripe_double))
    sell(*CHECKOUT, "pro", "--direct")
    assert open_pages(stripe_double) == []


@pytest.mark.parametrize("act", [("disable",), ("delete",), ("purge", "--yes")])
def test_who_loses_access_cannot_pay_any_more(sell: Run, stripe_double: StripeDouble, act: tuple[str, ...]) -> None:
    sell(*CHECKOUT, "pro", "--checkout")
    sell("users", act[0], ADA, "--dry-run", *act[1:])
    assert len(open_pages(stripe_double)) == 1
    sell("users", act[0], ADA, *act[1:])
    assert open_pages(stripe_double) == []


# Twice


@pytest.fixture
def twice(sell: Run, subscribed: Any, stripe_double: StripeDouble) -> tuple[str, str]:
    """Ada paid for starter, and then on another page for pro."""
    with stripe_double.lock:
        account = stripe_double.account
        customer = account.objects[customer_of(stripe_double)]
        account.now += 60
        second = account.subscribe(customer, account.objects[price_of(stripe_double, "pro")["id"]], {}, "")
    return subscribed["stripe_id"], second["id"]


def test_two_paid_subscriptions_are_told_until_one_has_ended(
    sell: Run, twice: tuple[str, str], stripe_double: StripeDouble
) -> None:
    first, second = twice
    finding = f"user {user_id(sell)} pays for {first} and {second}"
    fix = f"dumacle plans cancel {second} --now --refund full"
    for _ in range(2):
        told = sell("plans", "sync", *JSON, expect=3)
        assert told.data["findings"] == 1
        assert finding in told.err
        assert fix in told.err
    assert sell("users", "show", ADA, *JSON).data["findings"] == [
        {"kind": "paid-twice", "finding": finding, "fix": fix}
    ]
    for doctor in (("doctor",), ("plans", "doctor")):
        told = [check for check in sell(*doctor, *JSON, expect=1).data if check["check"] == "billing"]
        assert [(check["finding"].split(" (since")[0], check["fix"]) for check in told] == [(finding, fix)]
    assert finding in sell("plans", "portal", ADA).err
    sell(*fix.split()[1:], "--yes")
    assert [stripe_double.get(each)["status"] for each in twice] == ["active", "canceled"]
    assert [refund["amount"] for refund in stripe_double.all("refund")] == [2999]
    assert sell("plans", "sync", *JSON).data["findings"] == 0
    assert sell("users", "show", ADA, *JSON).data["findings"] == []


@pytest.mark.parametrize(
    "act",
    [
        ("plans", "change", ADA, "pro"),
        ("plans", "cancel", ADA, "--yes"),
        ("plans", "resume", ADA),
        (*CHECKOUT, "pro", "--checkout"),
        (*CHECKOUT, "pro", "--direct"),
    ],
)
def test_no_act_chooses_one_of_two(
    sell: Run, twice: tuple[str, str], stripe_double: StripeDouble, act: tuple[str, ...]
) -> None:
    before = [stripe_double.get(each) for each in twice]
    refused = sell(*act, *JSON, expect=7)
    assert refused.error["message"] == f"{ADA} pays for {twice[0]} and {twice[1]}"
    assert refused.error["fix"] == f"dumacle plans cancel {twice[1]} --now --refund full"
    assert [stripe_double.get(each) for each in twice] == before


# Without access


@pytest.mark.parametrize("act", ["disable", "delete"])
def test_who_loses_access_and_is_charged_is_a_finding(
    sell: Run, subscribed: Any, stripe_double: StripeDouble, act: str
) -> None:
    id_ = subscribed["stripe_id"]
    finding = f"Stripe goes on charging user {user_id(sell)}, who is {act}d, for {id_}"
    told = sell("users", act, ADA)
    assert finding in told.err
    assert f"dumacle plans cancel {id_}" in told.err
    assert finding in sell("plans", "sync", expect=3).err
    sell("plans", "cancel", id_, "--yes")
    assert stripe_double.get(id_)["cancel_at_period_end"] is True
    assert sell("plans", "sync").err == ""


@pytest.mark.parametrize(("act", "back"), [("disable", "enable"), ("delete", "restore")])
def test_who_gets_access_back_is_no_finding_any_more(sell: Run, subscribed: Any, act: str, back: str) -> None:
    who = str(user_id(sell))
    sell("users", act, who)
    assert [each["kind"] for each in sell("users", "show", who, *JSON).data["findings"]] == ["inactive-user"]
    sell("users", back, who)
    assert sell("users", "show", who, *JSON).data["findings"] == []


def test_what_is_not_known_here_yet_is_told_as_well(sell: Run, stripe_double: StripeDouble) -> None:
    sell(*CHECKOUT, "pro", "--checkout")
    (page,) = open_pages(stripe_double)
    paid = stripe_double.complete(page["id"])
    assert paid["id"] in sell("users", "disable", ADA).err


def test_a_user_is_disabled_whatever_stripe_answers(sell: Run, subscribed: Any, stripe_double: StripeDouble) -> None:
    stripe_double.fail("GET /v1/customers", 500, times=9)
    told = sell("users", "disable", ADA, expect=3)
    assert "Stripe was not asked" in told.err
    assert "goes on charging" in told.err
    assert sell("users", "show", ADA, *JSON).data["status"] == "disabled"


def test_without_a_key_what_is_known_here_is_told(
    sell: Run, subscribed: Any, stripe_double: StripeDouble, environment: Callable[..., None]
) -> None:
    environment(DUMACLE_STRIPE_SECRET_KEY=None)
    before = len(stripe_double.requests)
    assert "goes on charging" in sell("users", "disable", ADA).err
    assert len(stripe_double.requests) == before


def test_a_repeated_operation_tells_it_again(sell: Run, subscribed: Any) -> None:
    for _ in range(2):
        assert "goes on charging" in sell("users", "disable", ADA, "--op-id", "monday").err


GIVE = pytest.mark.parametrize("give", [(*CHECKOUT, "free"), ("users", "update", ADA, "--plan", "free")])


@GIVE
def test_no_free_plan_is_given_beside_a_paid_one_that_is_not_known_yet(
    sell: Run, stripe_double: StripeDouble, give: tuple[str, ...]
) -> None:
    sell(*CHECKOUT, "pro", "--checkout")
    stripe_double.complete(open_pages(stripe_double)[0]["id"])
    assert "Stripe bills" in sell(*give, *JSON, expect=7).error["message"]


@GIVE
def test_a_free_plan_is_given_after_a_paid_one_whose_end_was_not_known(
    sell: Run, subscribed: Any, stripe_double: StripeDouble, give: tuple[str, ...]
) -> None:
    stripe_double.cancel(subscribed["stripe_id"])
    sell(*give)
    assert sell("users", "show", ADA, *JSON).data["plan"] == "free"


def test_nobody_is_erased_while_stripe_charges_them(sell: Run, stripe_double: StripeDouble, database: Database) -> None:
    sell(*CHECKOUT, "pro", "--checkout")
    (page,) = open_pages(stripe_double)
    paid = stripe_double.complete(page["id"])
    refused = sell("users", "purge", ADA, "--yes", *JSON, expect=7)
    assert refused.error["message"] == f"Stripe bills the subscription of {ADA}"
    stripe_double.cancel(paid["id"])
    sell("users", "purge", ADA, "--yes")


# The customer


def test_receipts_go_to_the_new_address(
    sell: Run, subscribed: Any, stripe_double: StripeDouble, database: Database
) -> None:
    sell("users", "update", ADA, "--email", "new@example.com", "--name", "Ada")
    work(database, stripe_double)
    customer = stripe_double.get(customer_of(stripe_double))
    assert (customer["email"], customer["name"]) == ("new@example.com", "Ada")
    sell("users", "update", "new@example.com", "--name", "Ada L.")
    work(database, stripe_double)
    assert stripe_double.get(customer["id"])["name"] == "Ada L."


@pytest.mark.parametrize("act", [("plans", "sync"), ("plans", "portal", "new@example.com")])
def test_the_new_address_needs_no_worker(
    sell: Run, subscribed: Any, stripe_double: StripeDouble, act: tuple[str, ...]
) -> None:
    sell("users", "update", ADA, "--email", "new@example.com")
    foreseen = sell("plans", "sync", "--dry-run", *JSON)
    assert (foreseen.data["moved"], foreseen.json["changed"]) == (1, True)
    assert stripe_double.get(customer_of(stripe_double))["email"] == ADA
    sell(*act)
    assert stripe_double.get(customer_of(stripe_double))["email"] == "new@example.com"
    assert sell("plans", "sync", *JSON).data["moved"] == 0


def test_an_address_that_stripe_was_given_before_that_was_noted_is_compared(
    sell: Run, subscribed: Any, stripe_double: StripeDouble, database: Database
) -> None:
    stripe_double.put(customer_of(stripe_double), email="stale@example.com")
    with database.session() as session:
        session.execute(text("UPDATE app.customers SET email = NULL"))
    assert sell("plans", "sync", *JSON).data["moved"] == 1
    assert stripe_double.get(customer_of(stripe_double))["email"] == ADA
    assert sell("plans", "sync", *JSON).data["moved"] == 0


def test_an_address_that_the_customer_gave_stripe_stays(
    sell: Run, subscribed: Any, stripe_double: StripeDouble, database: Database
) -> None:
    stripe_double.put(customer_of(stripe_double), email="books@example.com")
    sell("plans", "portal", ADA)
    sell("plans", "sync")
    work(database, stripe_double)
    assert stripe_double.get(customer_of(stripe_double))["email"] == "books@example.com"


def test_a_deleted_customer_buys_again(sell: Run, subscribed: Any, stripe_double: StripeDouble) -> None:
    stripe_double.delete_customer(customer_of(stripe_double))
    made = sell(*CHECKOUT, "starter", "--checkout", *JSON).data
    assert [page["url"] for page in open_pages(stripe_double)] == [made["url"]]
    assert sell("users", "show", ADA, *JSON).data["plan"] is None
    sell("plans", "sync", "--user", ADA)


def test_a_customer_of_whom_stripe_knows_nothing_stops_no_sync(
    sell: Run, subscribed: Any, stripe_double: StripeDouble
) -> None:
    del stripe_double.account.objects[customer_of(stripe_double)]
    for user in ((), ("--user", ADA)):
        sell("plans", "sync", *user)


def test_who_owes_is_sent_to_the_portal(sell: Run, subscribed: Any, stripe_double: StripeDouble) -> None:
    stripe_double.put(subscribed["stripe_id"], status="unpaid")
    sell("plans", "sync")
    (reason,) = sell("users", "show", ADA, *JSON).data["reasons"][:1]
    assert (reason["reason"], reason["fix"]) == ("the subscription to starter is unpaid", f"dumacle plans portal {ADA}")


@pytest.fixture
def by_admin(sell: Run, subscribed: Any, by: By, database: Database) -> Run:
    """Run the program as an admin, after Ada subscribed."""
    with database.session() as session:
        make_user(session, "admin@example.com", role="admin")
    return functools.partial(by, "admin@example.com")


@pytest.mark.parametrize(
    "act",
    [
        ("plans", "change", ADA, "pro"),
        ("plans", "cancel", ADA, "--yes"),
        ("plans", "cancel", ADA, "--now", "--refund", "full", "--yes"),
        ("plans", "change", ADA, "free"),
        ("users", "disable", ADA),
    ],
)
def test_an_admin_acts_with_the_rights_of_their_own_login(by_admin: Run, act: tuple[str, ...]) -> None:
    assert by_admin(*act).json["changed"] is True


def test_an_admin_sells_to_a_customer_who_was_deleted(by_admin: Run, stripe_double: StripeDouble) -> None:
    stripe_double.delete_customer(customer_of(stripe_double))
    assert by_admin(*CHECKOUT, "pro", "--checkout").data["status"] == "open"

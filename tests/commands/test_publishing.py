"""`dumacle plans push|diff`, and the account that plans are sold at, at the double of Stripe."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import text

from dumacle_cli.services.billing import BillingContext, catalog, inbox
from dumacle_cli.store.database import Database
from tests.conftest import Run
from tests.stripe_double.double import StripeDouble

pytestmark = pytest.mark.integration

ADA = "ada@example.com"
JSON = ("-o", "json")


@pytest.fixture
def sell(run: Run, stripe_double: StripeDouble, environment: Callable[..., None]) -> Run:
    """Run the program on an installation that sells two plans at Stripe."""
    environment(**stripe_double.settings)
    for name, price in (("big", "9"), ("huge", "20")):
        run("plans", "create", name, "--price", price, "--storage", "1GiB", "--upload", "1GiB")
    run("users", "create", ADA)
    run("plans", "push")
    return run


@pytest.fixture
def bought(sell: Run, stripe_double: StripeDouble) -> str:
    """Ada's subscription at Stripe to the plan big."""
    sell("plans", "portal", ADA)
    (customer,) = stripe_double.all("customer")
    stripe_double.add_card(customer["id"])
    return str(sell("plans", "subscribe", ADA, "big", "--direct", *JSON).data["stripe_id"])


def sold(double: StripeDouble, plan: str) -> Any:
    (price,) = (price for price in double.all("price") if price["lookup_key"] == f"dumacle:{plan}")
    return price


def results(pushed: Any) -> dict[str, str]:
    return {each["plan"]: each["result"] for each in pushed.data}


def here(database: Database, query: str) -> list[Any]:
    with database.session() as session:
        return [tuple(row) for row in session.execute(text(query))]


def found(database: Database) -> set[str]:
    """What is wrong with billing."""
    return {sentence for (sentence,) in here(database, "SELECT sentence FROM app.findings")}


# A price that is replaced


@pytest.mark.parametrize("default", ["the old price", "another price", "none"])
def test_a_dearer_plan_is_sold_whatever_the_default_price_is(
    sell: Run, stripe_double: StripeDouble, default: str
) -> None:
    old = sold(stripe_double, "big")
    if default == "another price":
        other = stripe_double.account.announce("price", product=old["product"], unit_amount=1)
        stripe_double.put(old["product"], default_price=other["id"])
    if default == "none":
        stripe_double.put(old["product"], default_price=None)
    for plan, price in (("big", "12"), ("huge", "25")):
        sell("plans", "update", plan, "--price", price, "--currency", "EUR")
    foreseen = sell("plans", "push", "--dry-run", *JSON)
    done = sell("plans", "push", *JSON)
    assert results(foreseen) == results(done) == {"big": "updated", "huge": "updated"}
    new = sold(stripe_double, "big")
    assert (new["unit_amount"], stripe_double.get(new["product"])["default_price"]) == (1200, new["id"])
    assert stripe_double.get(old["id"])["active"] is False
    assert sold(stripe_double, "huge")["unit_amount"] == 2500
    assert results(sell("plans", "push", *JSON)) == {"big": "unchanged", "huge": "unchanged"}


def test_the_old_price_is_sold_until_the_new_one_is_default(sell: Run, stripe_double: StripeDouble) -> None:
    old = sold(stripe_double, "big")
    sell("plans", "update", "big", "--price", "12", "--currency", "EUR")
    stripe_double.fail(f"POST /v1/products/{old['product']}", 500)
    sell("plans", "push", "big", expect=10)
    assert stripe_double.get(old["id"])["active"] is True
    sell("plans", "push", "big")
    assert stripe_double.get(old["id"])["active"] is False


# A push that is broken off, or refused


@pytest.mark.parametrize("route", ["POST /v1/products", "POST /v1/prices", "POST /v1/products/"])
@pytest.mark.parametrize("days", [0, 2])
def test_a_push_whose_answer_is_lost_leaves_no_second_product(
    sell: Run, stripe_double: StripeDouble, route: str, days: int
) -> None:
    sell("plans", "create", "family", "--price", "5", "--storage", "1GiB", "--upload", "1GiB")
    stripe_double.fail(route, 500, times=9, after=True)
    sell("plans", "push", "family", expect=10)
    stripe_double.api.faults.clear()
    stripe_double.now += days * 86_400  # Stripe keeps idempotency keys for one
    sell("plans", "push", "family")
    assert [each["name"] for each in stripe_double.all("product")].count("family") == 1
    assert [each["unit_amount"] for each in stripe_double.all("price")].count(500) == 1


def test_a_price_that_comes_back_is_a_new_one(sell: Run, stripe_double: StripeDouble) -> None:
    made = set()
    for price in ("12", "9", "12"):
        sell("plans", "update", "big", "--price", price, "--currency", "EUR")
        assert results(sell("plans", "push", *JSON))["big"] == "updated"
        assert sold(stripe_double, "big")["active"] is True
        made.add(sold(stripe_double, "big")["id"])
        assert sell("plans", "diff", *JSON).data == []
    assert len(made) == 3


def test_pushes_at_once_make_one_product(sell: Run, stripe_double: StripeDouble, database: Database) -> None:
    sell("plans", "create", "family", "--price", "5", "--storage", "1GiB", "--upload", "1GiB")
    with database.session() as session:
        (offer,) = catalog.offers(session, ["family"], "dumacle")
    together = Barrier(4)

    def push(number: int) -> str | None:
        client = stripe_double.billing()
        together.wait()
        try:
            return catalog.publish(BillingContext(database, client, "dumacle", str(number)), offer).price_id
        finally:
            client.close()

    with ThreadPoolExecutor(4) as threads:
        prices = set(threads.map(push, range(4)))
    assert len(prices) == 1
    assert [each["name"] for each in stripe_double.all("product")].count("family") == 1


@pytest.mark.parametrize("refused", ["big", "huge"])
def test_one_refusal_stops_no_other_and_is_told_until_it_is_gone(
    sell: Run, stripe_double: StripeDouble, database: Database, refused: str
) -> None:
    for plan in ("big", "huge"):
        sell("plans", "update", plan, "--name", f"{plan}ger")
    stripe_double.fail(f"POST /v1/products/{sold(stripe_double, refused)['product']}", 400)
    other = {"big": "huge", "huge": "big"}[refused]
    pushed = sell("plans", "push", *JSON, expect=3)
    assert results(pushed) == {f"{refused}ger": "failed", f"{other}ger": "updated"}
    assert [bool(each["error"]) for each in pushed.data] == [each["result"] == "failed" for each in pushed.data]
    told = f"plan {refused}ger was not published"
    assert any(each.startswith(told) for each in found(database))
    assert told in sell("plans", "show", f"{refused}ger").err
    sell("plans", "sync", expect=3)
    sell("plans", "push")
    assert found(database) == set()
    sell("plans", "sync")


def test_when_none_is_published_its_error_is_the_commands(sell: Run, stripe_double: StripeDouble) -> None:
    stripe_double.fail("GET /v1/products", 500, times=99)
    assert sell("plans", "push", *JSON, expect=10).error["code"] == "stripe-unavailable"


# What is shown is what is sold


def test_a_price_that_is_not_pushed_is_told_and_not_sold(
    sell: Run, stripe_double: StripeDouble, database: Database
) -> None:
    told = "plan big costs 15.00 EUR a month, and Stripe sells it for 9.00 EUR a month"
    changed = sell("plans", "update", "big", "--price", "15", "--currency", "EUR")
    assert changed.err == f"dumacle: {told}\n  fix: dumacle plans push big\n"
    for command in (("plans", "show", "big"), ("plans", "sync", "--no-apply")):
        assert told in sell(*command, expect=3 if "sync" in command else 0).err
    for way in ("--checkout", "--direct"):
        refused = sell("plans", "subscribe", ADA, "big", way, *JSON, expect=7)
        assert (refused.error["message"], refused.error["fix"]) == (told, "dumacle plans push big")
    assert stripe_double.all("checkout.session") == []
    assert found(database) == {told}
    sell("plans", "push", "big")
    assert found(database) == set()
    sell("plans", "subscribe", ADA, "big", "--checkout")
    (page,) = stripe_double.all("checkout.session")
    assert page["amount_total"] == 1500


def test_a_price_that_is_taken_back_is_sold_on(sell: Run, database: Database) -> None:
    for price in ("15", "9"):
        sell("plans", "update", "big", "--price", price, "--currency", "EUR")
    assert found(database) == set()
    sell("plans", "subscribe", ADA, "big", "--checkout")


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("name", {"name": "small"}),
        ("status", {"active": False}),
        ("default price", {"default_price": None}),
        ("price status", None),
    ],
)
def test_what_was_changed_at_the_dashboard_is_found_and_put_back(
    sell: Run, stripe_double: StripeDouble, field: str, change: Any
) -> None:
    price = sold(stripe_double, "big")
    assert sell("plans", "diff", *JSON).data == []
    if change is None:
        stripe_double.put(price["product"], default_price=None)
        stripe_double.put(price["id"], active=False)
    else:
        stripe_double.put(price["product"], **change)
    assert field in {each["field"] for each in sell("plans", "diff", *JSON).data}
    assert "plan big differs from what Stripe sells" in sell("plans", "sync", expect=3).err
    sell("plans", "push")
    assert sell("plans", "diff", *JSON).data == []
    sell("plans", "sync")


# The account that plans are sold at


@pytest.fixture
def elsewhere(bought: str, stripe_server: Callable[[], StripeDouble], environment: Callable[..., None]) -> StripeDouble:
    """Another account of the same mode, whose key got into the settings."""
    other = stripe_server()
    environment(**other.settings)
    return other


COMMANDS = (
    ("plans", "sync"),
    ("plans", "sync", "--user", ADA),
    ("plans", "sync", "--full"),
    ("plans", "sync", "--since", "1h"),
    ("plans", "sync", "--dry-run"),
    ("plans", "push"),
    ("plans", "push", "--dry-run"),
    ("plans", "diff"),
    ("plans", "adopt", "--email", "--apply"),
    ("plans", "portal", ADA),
    ("plans", "cancel", ADA, "--now", "--yes"),
    ("plans", "change", ADA, "huge"),
)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("is_told", [True, False])
def test_the_key_of_another_account_is_refused(
    sell: Run, elsewhere: StripeDouble, database: Database, command: tuple[str, ...], is_told: bool
) -> None:
    if not is_told:  # a restricted key may not read the account
        elsewhere.fail("GET /v1/account", 403, times=9)
    before = here(database, "SELECT status, ended_at FROM app.subscriptions")
    refused = sell(*command, *JSON, expect=7)
    assert refused.error["code"] == "other-account"
    assert [request for request in elsewhere.requests if not request.startswith("GET")] == []
    assert here(database, "SELECT status, ended_at FROM app.subscriptions") == before == [("active", None)]


@pytest.mark.parametrize("is_told", [True, False])
def test_a_worker_with_the_key_of_another_account_ends_nothing(
    sell: Run, bought: str, elsewhere: StripeDouble, database: Database, is_told: bool
) -> None:
    if not is_told:
        elsewhere.fail("GET /v1/account", 403, times=9)
    with database.session() as session:
        inbox.request_refresh(session, [("subscription", bought)], False)
    sell("worker", "--once", "--queues", "webhooks")
    assert here(database, "SELECT status, ended_at FROM app.subscriptions") == [("active", None)]
    assert [kind for (kind,) in here(database, "SELECT kind FROM app.findings")] == ["other-account"]
    assert here(database, "SELECT attempts, wanted_at IS NULL FROM app.stripe_objects WHERE id LIKE 'sub%'") == [
        (1, False)
    ]


def test_the_key_of_another_account_is_a_finding_until_it_is_put_right(
    sell: Run,
    stripe_double: StripeDouble,
    bought: str,
    database: Database,
    elsewhere: StripeDouble,
) -> None:
    sell("plans", "sync", expect=7)
    assert [kind for (kind,) in here(database, "SELECT kind FROM app.findings")] == ["other-account"]
    assert sell("doctor", *JSON, expect=1)
    elsewhere.api.account = stripe_double.account
    sell("plans", "sync")
    assert here(database, "SELECT kind FROM app.findings") == []


def test_a_restricted_key_of_the_same_account_is_known_by_what_it_has(
    sell: Run, bought: str, stripe_double: StripeDouble, database: Database
) -> None:
    with database.session() as session:
        session.execute(text("UPDATE app.billing_accounts SET account = NULL"))
    stripe_double.fail("GET /v1/account", 403, times=9)
    sell("plans", "sync")
    assert here(database, "SELECT account, livemode FROM app.billing_accounts") == [(None, False)]
    stripe_double.api.faults.clear()
    sell("plans", "sync")
    assert here(database, "SELECT account, livemode FROM app.billing_accounts") == [(stripe_double.account.id, False)]


def test_the_first_push_with_a_live_key_moves_from_test_to_live(
    sell: Run, elsewhere: StripeDouble, environment: Callable[..., None], database: Database
) -> None:
    elsewhere.go_live()
    environment(**elsewhere.settings)
    for command in (("sync",), ("portal", ADA), ("change", ADA, "huge")):
        assert sell("plans", *command, *JSON, expect=7).error["code"] == "other-account"
    foreseen = sell("plans", "push", "--dry-run", *JSON)
    assert sell("plans", "subscriptions", "show", ADA, *JSON).data["status"] == "active"
    done = sell("plans", "push", *JSON)
    assert results(foreseen) == results(done) == {"big": "created", "huge": "created"}
    assert "1 subscriptions end here" in done.err
    assert sell("users", "show", ADA, *JSON).data["plan"] is None
    sell("plans", "subscribe", ADA, "big", "--checkout")
    (page,) = elsewhere.all("checkout.session")
    elsewhere.complete(page["id"])
    sell("plans", "sync")
    assert sell("users", "show", ADA, *JSON).data["plan"] == "big"
    assert [mode for (mode,) in here(database, "SELECT livemode FROM app.billing_accounts ORDER BY id")] == [
        False,
        True,
    ]


def test_a_test_key_moves_nothing_from_live_unless_it_is_said(
    sell: Run, stripe_double: StripeDouble, elsewhere: StripeDouble, environment: Callable[..., None]
) -> None:
    elsewhere.go_live()
    environment(**elsewhere.settings)
    sell("plans", "push")
    elsewhere.api.account = stripe_double.account
    elsewhere.api.key = stripe_double.key
    environment(**stripe_double.settings)
    assert sell("plans", "push", *JSON, expect=7).error["code"] == "other-account"
    assert results(sell("plans", "push", "--switch-account", *JSON)) == {"big": "created", "huge": "created"}
    assert results(sell("plans", "push", *JSON)) == {"big": "unchanged", "huge": "unchanged"}


def test_who_bought_at_an_account_that_was_left_is_purged_only_when_deleted(
    sell: Run, bought: str, elsewhere: StripeDouble
) -> None:
    sell("plans", "push", "--switch-account")
    refused = sell("users", "purge", ADA, "--yes", *JSON, expect=7)
    assert bought in refused.error["message"]
    sell("users", "delete", ADA)
    sell("users", "purge", ADA, "--yes")

"""`dumacle plans push|subscribe|portal|change|cancel|sync` through the program's only door, at the double of Stripe."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text

from dumacle_cli.store import stripe
from dumacle_cli.store.database import Database
from tests.conftest import Run
from tests.stripe_double.double import StripeDouble

pytestmark = pytest.mark.integration

ADA = "ada@example.com"
JSON = ("-o", "json")
WRITING = ("POST", "DELETE")


@pytest.fixture
def sell(run: Run, stripe_double: StripeDouble, environment: Callable[..., None]) -> Run:
    """Run the program on an installation that sells two plans at Stripe, and gives one away."""
    environment(**stripe_double.settings)
    for name, price in (("free", "0"), ("starter", "9.99"), ("pro", "29.99")):
        run("plans", "create", name, "--price", price, "--storage", "1GiB", "--upload", "1GiB")
    run("users", "create", ADA)
    run("plans", "push")
    return run


def writes(double: StripeDouble) -> list[str]:
    return [request for request in double.requests if request.startswith(WRITING)]


def price_of(double: StripeDouble, plan: str) -> Any:
    (price,) = (price for price in double.all("price") if price["lookup_key"] == f"dumacle:{plan}")
    return price


def customer_of(double: StripeDouble) -> str:
    (customer,) = double.all("customer")
    return str(customer["id"])


@pytest.fixture
def subscribed(sell: Run, stripe_double: StripeDouble) -> Any:
    """Ada's subscription to starter, as it is shown."""
    sell("plans", "portal", ADA)
    stripe_double.add_card(customer_of(stripe_double))
    sell("plans", "subscribe", ADA, "starter", "--direct")
    return sell("plans", "subscriptions", "show", ADA, *JSON).data


# Push


def test_push_sells_what_costs_something_and_says_so_once(sell: Run, stripe_double: StripeDouble) -> None:
    assert {price["lookup_key"]: price["unit_amount"] for price in stripe_double.all("price")} == {
        "dumacle:starter": 999,
        "dumacle:pro": 2999,
    }
    (pro, _) = stripe_double.all("product")
    assert pro["metadata"]["app"] == "dumacle"
    assert pro["metadata"]["installation"] == "dumacle"
    before = writes(stripe_double)
    again = sell("plans", "push", *JSON)
    assert again.json["changed"] is False
    assert [(each["plan"], each["result"]) for each in again.data] == [("pro", "unchanged"), ("starter", "unchanged")]
    assert writes(stripe_double) == before


def test_another_price_takes_the_lookup_key_over(sell: Run, stripe_double: StripeDouble) -> None:
    old = price_of(stripe_double, "pro")
    sell("plans", "update", "pro", "--price", "39.99", "--currency", "EUR")
    foreseen = sell("plans", "push", "pro", "--dry-run", *JSON)
    assert price_of(stripe_double, "pro") == old
    done = sell("plans", "push", "pro", *JSON)
    assert [each["result"] for each in foreseen.data] == [each["result"] for each in done.data] == ["updated"]
    new = price_of(stripe_double, "pro")
    assert (new["unit_amount"], new["product"], new["active"]) == (3999, old["product"], True)
    assert stripe_double.get(old["id"])["active"] is False
    assert sell("plans", "push", "pro", *JSON).json["changed"] is False


def test_a_plan_follows_its_name_and_its_archiving(sell: Run, stripe_double: StripeDouble) -> None:
    product = price_of(stripe_double, "pro")["product"]
    sell("plans", "update", "pro", "--name", "studio")
    sell("plans", "create", "pro", "--price", "19.99", "--storage", "1GiB", "--upload", "1GiB")
    assert [each["result"] for each in sell("plans", "push", "pro", "studio", *JSON).data] == ["created", "updated"]
    assert price_of(stripe_double, "studio")["product"] == product
    assert price_of(stripe_double, "pro")["product"] != product
    sell("plans", "archive", "studio")
    for expected in ("archived", "unchanged"):
        assert [each["result"] for each in sell("plans", "push", "studio", *JSON).data] == [expected]
    assert stripe_double.get(product)["active"] is False
    sell("plans", "restore", "studio")
    assert [each["result"] for each in sell("plans", "push", "studio", *JSON).data] == ["updated"]
    assert stripe_double.get(product)["active"] is True


def test_a_push_that_was_broken_off_goes_on(sell: Run, stripe_double: StripeDouble) -> None:
    sell("plans", "create", "family", "--price", "5", "--storage", "1GiB", "--upload", "1GiB")
    stripe_double.fail("POST /v1/prices", 500, times=9)
    assert sell("plans", "push", "family", *JSON, expect=10).error["code"] == "stripe-unavailable"
    stripe_double.api.faults.clear()
    assert [each["result"] for each in sell("plans", "push", "family", *JSON).data] == ["updated"]
    assert [each["name"] for each in stripe_double.all("product")].count("family") == 1


# Subscribe


def test_a_plan_that_is_sold_is_not_given_away(sell: Run) -> None:
    refused = sell("plans", "subscribe", ADA, "pro", *JSON, expect=2)
    assert refused.error["message"] == "plan pro is sold at Stripe: give --checkout or --direct"
    sell("plans", "subscribe", ADA, "pro", "--checkout", "--direct", expect=2)
    assert sell("plans", "subscribe", ADA, "free", *JSON).data["status"] == "active"
    unsold = sell("plans", "subscribe", ADA, "free", "--checkout", *JSON, expect=7)
    assert unsold.error["fix"] == "dumacle plans push free"


def test_checkout_is_one_page_for_one_operation(sell: Run, stripe_double: StripeDouble) -> None:
    foreseen = sell("plans", "subscribe", ADA, "pro", "--checkout", "--dry-run", *JSON)
    assert (foreseen.json["changed"], foreseen.data["url"], stripe_double.all("customer")) == (True, None, [])
    for _ in range(2):
        sale = sell("plans", "subscribe", ADA, "pro", "--checkout", "--op-id", "monday", *JSON)
    (page,) = stripe_double.all("checkout.session")
    assert (sale.data["status"], sale.data["url"], sale.json["operation"]) == ("open", page["url"], "monday")
    made = stripe_double.complete(page["id"])
    user = sell("users", "show", ADA, *JSON).data
    assert made["metadata"] == {"app": "dumacle", "installation": "dumacle", "user": str(user["id"])}
    # The event is on its way still, and Stripe is asked itself; what it answers holds at once.
    refused = sell("plans", "subscribe", ADA, "starter", "--checkout", *JSON, expect=7)
    assert refused.error["message"] == f"Stripe already bills {ADA} for plan pro"
    assert sell("plans", "sync", "--user", ADA, *JSON).data["missed"] == 0
    again = sell("plans", "subscribe", ADA, "pro", "--checkout", *JSON)
    assert (again.json["changed"], again.data["status"]) == (False, "active")
    refused = sell("plans", "subscribe", ADA, "starter", "--checkout", *JSON, expect=7)
    assert refused.error["fix"] == f"dumacle plans change {ADA} starter"


def test_direct_charges_what_stripe_has_and_holds_at_once(
    sell: Run, stripe_double: StripeDouble, database: Database
) -> None:
    sell("plans", "subscribe", ADA, "free")
    assert sell("plans", "subscribe", ADA, "pro", "--direct", *JSON, expect=1).error["code"] == "stripe-refused"
    assert stripe_double.all("subscription") == []
    stripe_double.add_card(customer_of(stripe_double))
    foreseen = sell("plans", "subscribe", ADA, "pro", "--direct", "--dry-run", *JSON).data
    sale = sell("plans", "subscribe", ADA, "pro", "--direct", *JSON)
    assert (sale.json["changed"], sale.data["status"], sale.data["plan"]) == (True, "active", "pro")
    assert {**sale.data, "stripe_id": None, "current_period_end": None} == foreseen
    assert sell("users", "show", ADA, *JSON).data["plan"] == "pro"
    mine = sell("plans", "subscriptions", "list", "--user", ADA, *JSON).data
    assert [(each["plan"], each["status"]) for each in mine] == [("free", "canceled"), ("pro", "active")]
    assert sell("plans", "subscribe", ADA, "pro", "--direct", *JSON).json["changed"] is False
    assert len(stripe_double.all("subscription")) == 1
    with database.session() as session:
        assert session.scalars(text("SELECT stripe_customer_id FROM app.customers")).all() == [
            customer_of(stripe_double)
        ]


def test_an_answer_that_was_lost_is_found_again(sell: Run, stripe_double: StripeDouble) -> None:
    sell("plans", "portal", ADA)
    stripe_double.add_card(customer_of(stripe_double))
    stripe_double.fail("POST /v1/subscriptions", 500, times=9, after=True)
    sell("plans", "subscribe", ADA, "pro", "--direct", "--op-id", "monday", expect=10)
    stripe_double.api.faults.clear()
    assert sell("plans", "subscribe", ADA, "pro", "--direct", "--op-id", "monday", *JSON).data["status"] == "active"
    assert len(stripe_double.all("subscription")) == 1


def test_who_may_not_act_buys_nothing(sell: Run, stripe_double: StripeDouble) -> None:
    sell("users", "disable", ADA)
    for command in (("subscribe", ADA, "pro", "--checkout"), ("portal", ADA)):
        sell("plans", *command, expect=5)
    assert stripe_double.all("customer") == []


@pytest.mark.parametrize(
    ("setting", "command"),
    [
        ("checkout_success_url", ("subscribe", ADA, "pro", "--checkout")),
        ("checkout_cancel_url", ("subscribe", ADA, "pro", "--checkout")),
        ("portal_return_url", ("portal", ADA)),
        ("stripe_secret_key", ("portal", ADA)),
        ("stripe_secret_key", ("push",)),
        ("stripe_secret_key", ("sync",)),
    ],
)
def test_what_is_not_configured_is_named(
    sell: Run, environment: Callable[..., None], setting: str, command: tuple[str, ...]
) -> None:
    environment(**{f"DUMACLE_{setting.upper()}": None})
    refused = sell("plans", *command, *JSON, expect=2)
    assert (refused.error["code"], setting in refused.error["fix"]) == ("not-configured", True)


# Portal, change, cancel


def test_the_portal_is_the_customers_own(sell: Run, stripe_double: StripeDouble) -> None:
    first, second = (sell("plans", "portal", ADA, *JSON).data for _ in range(2))
    assert first["customer_id"] == second["customer_id"] == customer_of(stripe_double)
    assert first["url"] != second["url"]


def test_change_moves_the_one_subscription(sell: Run, subscribed: Any, stripe_double: StripeDouble) -> None:
    foreseen = sell("plans", "change", ADA, "pro", "--dry-run", *JSON).data
    changed = sell("plans", "change", ADA, "pro", *JSON)
    assert (changed.json["changed"], changed.data["plan"], changed.data["id"]) == (True, "pro", subscribed["id"])
    assert (foreseen["prorated"], foreseen["currency"]) == ("20.00", "EUR")
    assert changed.data == foreseen | {"prorated": None, "currency": None}
    assert sell("plans", "subscriptions", "show", ADA, *JSON).data.items() <= changed.data.items()
    (found,) = stripe_double.all("subscription")
    assert found["items"]["data"][0]["price"]["id"] == price_of(stripe_double, "pro")["id"]
    assert sell("plans", "change", ADA, "pro", *JSON).json["changed"] is False


def test_a_change_that_stripe_refuses_changes_nothing(sell: Run, subscribed: Any, stripe_double: StripeDouble) -> None:
    stripe_double.fail("POST /v1/subscriptions", 400)
    sell("plans", "change", ADA, "pro", expect=1)
    assert sell("plans", "subscriptions", "show", ADA, *JSON).data == subscribed


def test_cancel_waits_for_the_period_that_is_paid(sell: Run, subscribed: Any, stripe_double: StripeDouble) -> None:
    foreseen = sell("plans", "cancel", ADA, "--dry-run", *JSON).data
    canceled = sell("plans", "cancel", ADA, "--yes", *JSON)
    ends = {"cancel_at_period_end": True, "cancel_at": subscribed["current_period_end"]}
    assert canceled.data == foreseen == subscribed | ends | {"refunded": None}
    assert sell("plans", "cancel", ADA, "--yes", *JSON).json["changed"] is False
    assert sell("users", "show", ADA, *JSON).data["storage_limit"] == 1024**3
    ended = sell("plans", "cancel", ADA, "--now", "--yes", *JSON)
    assert (ended.json["changed"], ended.data["status"]) == (True, "canceled")
    assert ended.data["ended_at"]
    assert sell("users", "show", ADA, *JSON).data["storage_limit"] == 0
    assert sell("plans", "cancel", ADA, "--now", "--yes", *JSON).json["changed"] is False
    assert stripe_double.get(subscribed["stripe_id"])["status"] == "canceled"


def test_what_a_worker_is_at_is_shown_as_stripe_answered(sell: Run, subscribed: Any, database: Database) -> None:
    target = ("subscription", subscribed["stripe_id"])
    with database.session() as session:
        stripe.request_refresh(session, [target], False)
        assert stripe.claim(session, target[1], 60)
    shown = sell("plans", "cancel", ADA, "--yes", *JSON).data
    ends = {"cancel_at_period_end": True, "cancel_at": subscribed["current_period_end"]}
    assert shown == subscribed | ends | {"refunded": None}
    assert sell("plans", "subscriptions", "show", ADA, *JSON).data == subscribed


def test_what_stripe_ended_already_is_learnt_by_cancelling(
    sell: Run, subscribed: Any, stripe_double: StripeDouble
) -> None:
    stripe_double.cancel(subscribed["stripe_id"])
    assert sell("plans", "cancel", ADA, "--yes", *JSON).data["status"] == "canceled"
    assert sell("users", "show", ADA, *JSON).data["plan"] is None


def test_nobody_is_erased_while_stripe_bills_him(sell: Run, subscribed: Any) -> None:
    refused = sell("users", "purge", ADA, "--yes", *JSON, expect=7)
    assert refused.error["fix"] == f"dumacle plans cancel {ADA} --now"
    sell("users", "delete", ADA)
    sell("users", "purge", ADA, "--yes", expect=7)
    sell("plans", "cancel", ADA, "--now", "--yes")
    sell("users", "purge", ADA, "--yes")


# Sync


def test_sync_puts_right_what_no_event_told(sell: Run, subscribed: Any, stripe_double: StripeDouble) -> None:
    counted = ("seen", "foreign", "missed", "unseen", "failed", "held", "refused", "moved", "applied", "findings")
    calm = dict.fromkeys(counted, 0) | {"seen": 1}
    for user in ((), ("--user", ADA)):
        quiet = sell("plans", "sync", *user, *JSON)
        assert (quiet.json["changed"], quiet.data) == (False, calm)
    stripe_double.put(subscribed["stripe_id"], cancel_at_period_end=True)
    foreseen = sell("plans", "sync", "--dry-run", *JSON)
    assert sell("plans", "subscriptions", "show", ADA, *JSON).data == subscribed
    done = sell("plans", "sync", *JSON)
    assert foreseen.data == done.data == calm | {"missed": 1, "applied": 1}
    assert foreseen.json["changed"] is done.json["changed"] is True
    assert sell("plans", "subscriptions", "show", ADA, *JSON).data["cancel_at_period_end"] is True
    assert sell("plans", "sync", *JSON).data == calm


def test_sync_leaves_what_is_anothers(sell: Run, stripe_double: StripeDouble) -> None:
    billing = stripe_double.billing()
    for number, tags in enumerate(({}, {"app": "dumacle", "installation": "elsewhere", "user": "1"})):
        stranger = billing.create_customer(f"{number}@x", "", {}, str(number))["id"]
        stripe_double.add_card(stranger)
        price = price_of(stripe_double, "pro") if tags else stripe_double.account.announce("price")
        billing.subscribe(stranger, price["id"], tags, str(number))
    billing.close()
    done = sell("plans", "sync", *JSON)
    assert (done.data["seen"], done.data["foreign"], done.json["changed"]) == (2, 2, False)
    assert sell("plans", "sync", "--user", ADA, *JSON).data["seen"] == 0


def test_sync_ends_what_stripe_no_longer_knows(
    sell: Run, subscribed: Any, stripe_double: StripeDouble, database: Database
) -> None:
    with database.session() as session:
        session.execute(text("UPDATE app.subscriptions SET stripe_subscription_id = 'sub_gone'"))
    done = sell("plans", "sync", *JSON)
    assert (done.data["missed"], done.data["unseen"]) == (0, 1)
    found = sell("plans", "subscriptions", "show", "sub_gone", *JSON).data
    assert found["status"] == "canceled"


def test_sync_tells_what_it_cannot_put_right(sell: Run, subscribed: Any, stripe_double: StripeDouble) -> None:
    price = stripe_double.account.announce("price", product="prod_other")
    item = stripe_double.get(subscribed["stripe_id"])["items"]["data"][0]
    items = {"object": "list", "data": [{**item, "price": price}], "has_more": False, "url": ""}
    stripe_double.put(subscribed["stripe_id"], items=items)
    failed = sell("plans", "sync", "--quiet", expect=3)
    reason = f"{subscribed['stripe_id']}: it cannot be applied: no plan has the price {price['id']}"
    assert (
        failed.err
        == f"dumacle: {reason}\n  fix: name its plan: dumacle plans adopt --price {price['id']}=PLAN --apply\n"
    )
    assert sell("plans", "sync", *JSON, expect=3).data["failed"] == 1
    assert sell("plans", "subscriptions", "show", ADA, *JSON).data == subscribed


def test_stripe_being_down_is_worth_repeating(sell: Run, stripe_double: StripeDouble) -> None:
    stripe_double.fail("GET /v1/subscriptions", 500, times=9)
    assert sell("plans", "sync", *JSON, expect=10).error["code"] == "stripe-unavailable"


def test_a_customer_that_was_forgotten_here_is_not_made_again(
    sell: Run, subscribed: Any, stripe_double: StripeDouble, database: Database
) -> None:
    """As after a backup from before the sale was restored."""
    with database.session() as session:
        for table in ("pod_grants", "quota_anchors", "entitlements", "subscriptions", "customers", "stripe_objects"):
            session.execute(text(f"DELETE FROM app.{table}"))
    again = sell("plans", "subscribe", ADA, subscribed["plan"], "--checkout", *JSON)
    assert (again.json["changed"], again.data["stripe_id"]) == (False, subscribed["stripe_id"])
    assert len(stripe_double.all("customer")) == len(stripe_double.all("subscription")) == 1


@pytest.mark.parametrize("status", [403, 404])
def test_a_key_that_may_not_list_customers_may_sell(sell: Run, stripe_double: StripeDouble, status: int) -> None:
    stripe_double.fail("GET /v1/customers", status)
    assert sell("plans", "subscribe", ADA, "pro", "--checkout", *JSON).data["url"]
    assert len(stripe_double.all("customer")) == 1

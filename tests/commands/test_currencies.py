"""A plan that is sold in several currencies: at the double of Stripe, through the program's only door."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.commands.test_selling import ADA, JSON, customer_of, price_of, sell
from tests.conftest import Run
from tests.stripe_double.account import Object
from tests.stripe_double.double import StripeDouble

__all__ = ["sell"]

pytestmark = pytest.mark.integration

LIMITS = ("--storage", "1GiB", "--upload", "1GiB")


@pytest.fixture
def abroad(sell: Run, stripe_double: StripeDouble) -> Run:
    """Plans that are sold in euros, dollars and yen; starter is sold in euros and dollars."""
    sell("plans", "update", "starter", "--other-price", "USD=10.99")
    sell("plans", "update", "pro", "--other-price", "USD=32.99", "--other-price", "jpy=4500")
    sell("plans", "push")
    sell("plans", "portal", ADA)
    stripe_double.add_card(customer_of(stripe_double))
    return sell


def options(double: StripeDouble, plan: str) -> dict[str, int]:
    kept = double.account.options[price_of(double, plan)["id"]]
    return {code: option["unit_amount"] for code, option in kept.items()}


def paid(double: StripeDouble) -> list[tuple[int, str]]:
    return [(each["amount_paid"], each["currency"]) for each in double.all("invoice")]


def only_subscription(double: StripeDouble) -> Object:
    (found,) = double.all("subscription")
    return found


def plan_here(run: Run) -> Any:
    return run("plans", "subscriptions", "show", ADA, *JSON).data


# What is sold


def test_a_plan_is_one_price_with_several_currencies(abroad: Run, stripe_double: StripeDouble) -> None:
    assert options(stripe_double, "starter") == {"usd": 1099}
    assert options(stripe_double, "pro") == {"usd": 3299, "jpy": 4500}
    shown = abroad("plans", "show", "pro", *JSON).data
    assert (shown["price"], shown["currency"], shown["other_prices"]) == (
        "29.99",
        "EUR",
        {"JPY": "4500", "USD": "32.99"},
    )
    assert abroad("plans", "diff", *JSON).data == []
    assert abroad("plans", "push", *JSON).json["changed"] is False


@pytest.mark.parametrize("given", [("USD=12",), ("USD=10.99", "JPY=1700"), ("",)], ids=["dearer", "one more", "none"])
def test_other_prices_are_another_price(abroad: Run, stripe_double: StripeDouble, given: tuple[str, ...]) -> None:
    before = price_of(stripe_double, "starter")
    changed = abroad("plans", "update", "starter", *(part for each in given for part in ("--other-price", each)))
    assert "Stripe sells it for 9.99 EUR or 10.99 USD a month" in changed.err
    abroad("plans", "subscribe", ADA, "starter", "--direct", expect=7)
    (differs,) = abroad("plans", "diff", "starter", *JSON).data
    assert (differs["field"], differs["at_stripe"]) == ("price", "9.99 EUR or 10.99 USD a month")
    abroad("plans", "push", "starter")
    assert (price_of(stripe_double, "starter")["id"] != before["id"], stripe_double.get(before["id"])["active"]) == (
        True,
        False,
    )
    assert abroad("plans", "diff", *JSON).data == []


def test_a_currency_that_was_changed_at_stripe_is_reported(abroad: Run, stripe_double: StripeDouble) -> None:
    stripe_double.account.options[price_of(stripe_double, "starter")["id"]]["usd"]["unit_amount"] = 1
    assert "9.99 EUR or 0.01 USD a month" in abroad("plans", "diff").out
    abroad("plans", "sync", expect=(0, 3))
    assert "0.01 USD" in abroad("plans", "doctor").out
    abroad("plans", "push")
    assert options(stripe_double, "starter") == {"usd": 1099}


def test_every_currency_is_taxed(abroad: Run, stripe_double: StripeDouble, environment: Callable[..., None]) -> None:
    environment(DUMACLE_STRIPE_TAX="exclusive")
    assert {each["field"] for each in abroad("plans", "diff", "starter", *JSON).data} == {"tax", "tax in USD"}
    abroad("plans", "push")
    taxes = [
        each["tax_behavior"] for each in stripe_double.account.options[price_of(stripe_double, "pro")["id"]].values()
    ]
    assert taxes == ["exclusive", "exclusive"]
    assert abroad("plans", "diff", *JSON).data == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("EUR=9", "change that with --price"),
        ("USD", "it is CODE=AMOUNT"),
        ("JPY=9.99", "at most 0 decimals"),
        ("KWD=9.995", "steps of 0.010"),
        ("USD=1000000", "at most 999999.99 USD"),
        ("dollars=9", "three letters"),
        ("USD=0", "free in all currencies or in none"),
    ],
)
def test_a_price_that_stripe_does_not_charge_is_refused(run: Run, given: str, said: str) -> None:
    refused = run("plans", "create", "big", "--price", "9", *LIMITS, "--other-price", given, expect=2)
    assert said in refused.err
    run("plans", "create", "big", "--price", "9", *LIMITS)
    assert said in run("plans", "update", "big", "--other-price", given, expect=2).err
    assert run("plans", "show", "big", *JSON).data["other_prices"] == {}


def test_a_plan_gets_its_other_currency_as_its_own_only_without_it(run: Run) -> None:
    run("plans", "create", "big", "--price", "9", *LIMITS, "--other-price", "USD=10")
    run("plans", "update", "big", "--price", "10", "--currency", "USD", expect=2)
    run("plans", "update", "big", "--price", "10", "--currency", "USD", "--other-price", "EUR=9")
    assert run("plans", "show", "big", *JSON).data["other_prices"] == {"EUR": "9.00"}


# Who pays in which


@pytest.mark.parametrize(("currency", "amount"), [("USD", 3299), ("JPY", 4500), ("EUR", 2999), (None, 2999)])
def test_a_card_is_charged_in_the_currency_that_is_named(
    abroad: Run, stripe_double: StripeDouble, currency: str | None, amount: int
) -> None:
    named = ("--currency", currency) if currency else ()
    buy = ("plans", "subscribe", ADA, "pro", "--direct", *named, *JSON)
    assert abroad(*buy).json["changed"] is True
    assert paid(stripe_double) == [(amount, (currency or "EUR").lower())]
    assert abroad(*buy).json["changed"] is False
    assert plan_here(abroad)["plan"] == "pro"


def test_a_currency_that_the_plan_does_not_have_sells_nothing(abroad: Run, stripe_double: StripeDouble) -> None:
    refused = abroad("plans", "subscribe", ADA, "starter", "--direct", "--currency", "JPY", expect=2)
    assert "plan starter is sold in EUR, USD" in refused.err
    assert stripe_double.all("subscription") == []
    abroad("plans", "subscribe", ADA, "free", "--currency", "USD", expect=2)


def test_who_pays_already_does_not_pay_in_another_currency_too(abroad: Run, stripe_double: StripeDouble) -> None:
    abroad("plans", "subscribe", ADA, "pro", "--direct", "--currency", "USD")
    refused = abroad("plans", "subscribe", ADA, "pro", "--direct", "--currency", "JPY", expect=7)
    assert "pays for plan pro in USD already" in refused.err
    assert len(stripe_double.all("subscription")) == 1


def test_a_page_is_for_one_currency(abroad: Run, stripe_double: StripeDouble) -> None:
    for currency in ("USD", "USD", "JPY"):
        abroad("plans", "subscribe", ADA, "pro", "--checkout", "--currency", currency)
    first, second = stripe_double.all("checkout.session")
    assert [(each["currency"], each["amount_total"], each["status"]) for each in (first, second)] == [
        ("usd", 3299, "expired"),
        ("jpy", 4500, "open"),
    ]


def test_a_customer_who_paid_on_a_page_in_their_own_currency_changes_plans_in_it(
    abroad: Run, stripe_double: StripeDouble
) -> None:
    abroad("plans", "subscribe", ADA, "starter", "--checkout")
    (page,) = stripe_double.all("checkout.session")
    stripe_double.complete(page["id"], "usd")
    abroad("plans", "sync", "--apply", expect=(0, 3))
    assert plan_here(abroad)["plan"] == "starter"
    previewed = abroad("plans", "change", ADA, "pro", "--dry-run", *JSON).data
    assert (previewed["prorated"], previewed["currency"]) == ("22.00", "USD")
    abroad("plans", "change", ADA, "pro")
    stripe_double.advance(days=32)
    assert paid(stripe_double) == [(1099, "usd"), (2200 + 3299, "usd")]


def test_a_downgrade_keeps_the_currency(abroad: Run, stripe_double: StripeDouble) -> None:
    abroad("plans", "subscribe", ADA, "pro", "--direct", "--currency", "USD")
    assert abroad("plans", "change", ADA, "starter", *JSON).data["next_plan"] == "starter"
    stripe_double.advance(days=32)
    found = only_subscription(stripe_double)
    assert (found["currency"], found["items"]["data"][0]["price"]["id"]) == (
        "usd",
        price_of(stripe_double, "starter")["id"],
    )
    assert paid(stripe_double) == [(3299, "usd"), (1099, "usd")]


def test_dearer_is_judged_in_the_currency_that_is_paid(abroad: Run, stripe_double: StripeDouble) -> None:
    """A plan that is cheaper in euros and dearer in dollars is an upgrade for who pays in dollars."""
    abroad("plans", "create", "odd", "--price", "5", *LIMITS, "--other-price", "USD=99")
    abroad("plans", "push")
    abroad("plans", "subscribe", ADA, "pro", "--direct", "--currency", "USD")
    assert abroad("plans", "change", ADA, "odd", *JSON).data["plan"] == "odd"


def test_a_plan_without_the_currency_that_is_paid_is_refused(abroad: Run, stripe_double: StripeDouble) -> None:
    abroad("plans", "subscribe", ADA, "pro", "--direct", "--currency", "JPY")
    refused = abroad("plans", "change", ADA, "starter", expect=7)
    assert f"{ADA} pays in JPY, and plan starter is sold in EUR, USD" in refused.err


# What is there already


def test_a_price_of_another_system_is_recognised_by_any_currency(abroad: Run, stripe_double: StripeDouble) -> None:
    old = price_of(stripe_double, "pro")
    strange = {"unit_amount": 3299, "currency": "usd", "lookup_key": None, "metadata": {}}
    product = stripe_double.account.announce("product", name="Professional")
    price = stripe_double.account.announce("price", product=product["id"], recurring=old["recurring"], **strange)
    customer = stripe_double.account.announce("customer", email=ADA)
    stripe_double.add_card(customer["id"])
    stripe_double.account.subscribe(stripe_double.account.objects[customer["id"]], price, {}, "allow_incomplete")
    abroad("users", "create", "bob@example.com")
    stripe_double.put(customer["id"], email="bob@example.com")
    adopted = abroad("plans", "adopt", "--email", "--apply", *JSON, expect=(0, 3)).data
    assert [each["plan"] for each in adopted if each["result"] == "adopted" and each["plan"]] == ["pro"]

"""Stripe Tax, coupons, promotion codes and trials: what `plans push` and `plans subscribe` sell at, at the double."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.commands.test_selling import ADA, JSON, customer_of, price_of, sell, subscribed, writes
from tests.conftest import Run
from tests.stripe_double.account import Object
from tests.stripe_double.double import StripeDouble

__all__ = ["sell", "subscribed"]

pytestmark = pytest.mark.integration

PAGE, DIRECT = (("plans", "subscribe", ADA, "pro", way) for way in ("--checkout", "--direct"))


@pytest.fixture
def half(stripe_double: StripeDouble) -> str:
    """A coupon at Stripe for half of the price."""
    return str(stripe_double.account.announce("coupon", percent_off=50)["id"])


@pytest.fixture
def taxed(sell: Run, environment: Callable[..., None]) -> Run:
    """Stripe Tax is added to what is sold, and the prices were pushed so."""
    environment(DUMACLE_STRIPE_TAX="exclusive")
    sell("plans", "push")
    return sell


def page(double: StripeDouble) -> Object:
    (found,) = (each for each in double.all("checkout.session") if each["status"] == "open")
    return found


def charged(double: StripeDouble) -> list[int]:
    return [each["amount_paid"] for each in double.all("invoice")]


def with_card(sell: Run, double: StripeDouble) -> None:
    sell("plans", "portal", ADA)
    double.add_card(customer_of(double))


# Tax


def test_prices_get_their_tax_behaviour_once(
    sell: Run, stripe_double: StripeDouble, environment: Callable[..., None]
) -> None:
    before = price_of(stripe_double, "pro")
    environment(DUMACLE_STRIPE_TAX="exclusive")
    differs = sell("plans", "diff", "pro", *JSON).data
    assert [(each["field"], each["here"], each["at_stripe"]) for each in differs] == [
        ("tax", "exclusive", "unspecified")
    ]
    foreseen = sell("plans", "push", "pro", "--dry-run", *JSON).data
    assert [each["result"] for each in foreseen] == ["updated"]
    assert [each["result"] for each in sell("plans", "push", "pro", *JSON).data] == ["updated"]
    present = price_of(stripe_double, "pro")
    assert (present["id"], present["tax_behavior"]) == (before["id"], "exclusive")
    sent = writes(stripe_double)
    assert sell("plans", "push", "pro", *JSON).json["changed"] is False
    assert writes(stripe_double) == sent
    assert sell("plans", "diff", "pro", *JSON).data == []


def test_another_tax_behaviour_is_another_price(
    taxed: Run, stripe_double: StripeDouble, environment: Callable[..., None]
) -> None:
    before = price_of(stripe_double, "pro")
    environment(DUMACLE_STRIPE_TAX="inclusive")
    taxed("plans", "push", "pro")
    present = price_of(stripe_double, "pro")
    assert (present["tax_behavior"], present["unit_amount"]) == ("inclusive", 2999)
    assert (present["id"] != before["id"], stripe_double.get(before["id"])["active"]) == (True, False)


@pytest.mark.parametrize("way", ["page", "direct"])
def test_tax_is_added_to_what_is_sold(taxed: Run, stripe_double: StripeDouble, way: str) -> None:
    if way == "page":
        taxed(*PAGE)
        stripe_double.complete(page(stripe_double)["id"])
    else:
        with_card(taxed, stripe_double)
        taxed(*DIRECT)
    (found,) = stripe_double.all("subscription")
    assert found["automatic_tax"]["enabled"] is True
    assert charged(stripe_double) == [round(2999 * 1.2)]


def test_without_stripe_tax_nothing_is_said_of_it(sell: Run, subscribed: Any, stripe_double: StripeDouble) -> None:
    assert price_of(stripe_double, "pro")["tax_behavior"] == "unspecified"
    assert stripe_double.get(subscribed["stripe_id"])["automatic_tax"]["enabled"] is False


def test_a_downgrade_keeps_automatic_tax(taxed: Run, stripe_double: StripeDouble) -> None:
    with_card(taxed, stripe_double)
    taxed(*DIRECT)
    taxed("plans", "change", ADA, "starter")
    (schedule,) = stripe_double.all("subscription_schedule")
    assert [phase["automatic_tax"] for phase in schedule["phases"]] == [{"enabled": "true"}] * 2


def test_a_refund_pays_the_tax_back(taxed: Run, stripe_double: StripeDouble) -> None:
    with_card(taxed, stripe_double)
    taxed(*DIRECT)
    done = taxed("plans", "cancel", ADA, "--now", "--refund", "full", "--yes", *JSON).data
    assert done["refunded"] == "35.99 EUR"


# Coupons and promotion codes


def test_a_coupon_makes_a_sale_cheaper(sell: Run, stripe_double: StripeDouble, half: str) -> None:
    with_card(sell, stripe_double)
    sell(*DIRECT, "--coupon", half)
    assert charged(stripe_double) == [1500]
    done = sell("plans", "cancel", ADA, "--now", "--refund", "full", "--yes", *JSON).data
    assert done["refunded"] == "15.00 EUR"


def test_a_page_is_for_one_coupon(sell: Run, stripe_double: StripeDouble, half: str) -> None:
    plain = sell(*PAGE, *JSON).data["url"]
    cheaper = sell(*PAGE, "--coupon", half, *JSON).data["url"]
    assert (cheaper != plain, page(stripe_double)["url"]) == (True, cheaper)
    assert sell(*PAGE, "--coupon", half, *JSON).data["url"] == cheaper
    stripe_double.complete(page(stripe_double)["id"])
    assert charged(stripe_double) == [1500]


def test_a_coupon_that_is_not_there_sells_nothing(sell: Run, stripe_double: StripeDouble) -> None:
    with_card(sell, stripe_double)
    assert "No such coupon" in sell(*DIRECT, "--coupon", "none", *JSON, expect=1).error["message"]
    assert stripe_double.all("subscription") == []
    sell("plans", "subscribe", ADA, "free", "--coupon", "none", expect=2)


@pytest.mark.parametrize("allowed", ["true", "false"])
def test_promotion_codes_are_a_setting(
    sell: Run, stripe_double: StripeDouble, environment: Callable[..., None], allowed: str, half: str
) -> None:
    environment(DUMACLE_CHECKOUT_PROMOTION_CODES=allowed)
    sell(*PAGE)
    assert page(stripe_double)["allow_promotion_codes"] is (allowed == "true")
    sell(*PAGE, "--coupon", half)  # Stripe takes one of the two
    assert page(stripe_double)["allow_promotion_codes"] is False


# Trials


@pytest.mark.parametrize("way", ["--checkout", "--direct"])
def test_a_trial_gives_access_and_is_charged_when_it_ends(sell: Run, stripe_double: StripeDouble, way: str) -> None:
    with_card(sell, stripe_double)
    sale = sell("plans", "subscribe", ADA, "pro", way, "--trial-days", "14", *JSON).data
    if way == "--checkout":
        stripe_double.complete(page(stripe_double)["id"])
        sell("plans", "sync")
    else:
        assert sale["status"] == "trialing"
    shown = sell("plans", "subscriptions", "show", ADA, *JSON).data
    assert (shown["status"], shown["trial_end"], charged(stripe_double)) == (
        "trialing",
        shown["current_period_end"],
        [0],
    )
    stripe_double.advance(days=15)
    sell("plans", "sync")
    shown = sell("plans", "subscriptions", "show", ADA, *JSON).data
    assert (shown["status"], charged(stripe_double)) == ("active", [0, 2999])


def test_a_page_with_another_trial_is_another_page(sell: Run, stripe_double: StripeDouble) -> None:
    fortnight = (*PAGE, "--trial-days", "14", *JSON)
    first = sell(*fortnight).data["url"]
    assert sell(*fortnight).data["url"] == first
    assert sell(*PAGE, *JSON).data["url"] != first
    assert len([each for each in stripe_double.all("checkout.session") if each["status"] == "open"]) == 1


def test_a_trial_of_a_plan_without_billing_is_refused(sell: Run) -> None:
    sell("plans", "subscribe", ADA, "free", "--trial-days", "14", expect=2)
    assert sell(*DIRECT, "--trial-days", "14", "--dry-run", *JSON).data["status"] == "trialing"

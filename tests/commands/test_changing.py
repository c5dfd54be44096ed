"""`dumacle plans change|cancel|resume` at the double: what is acted on is what Stripe has, and all else stays."""

from typing import Any

import pytest
from sqlalchemy import text

from dumacle_cli.clients.stripe import StripeAccount
from dumacle_cli.store.database import Database
from tests.commands.test_selling import ADA, JSON, customer_of, price_of, sell, subscribed, writes
from tests.conftest import Run
from tests.stripe_double.account import Object
from tests.stripe_double.double import StripeDouble

__all__ = ["sell", "subscribed"]

pytestmark = pytest.mark.integration


def shown(sell: Run) -> Any:
    return sell("plans", "subscriptions", "show", ADA, *JSON).data


def price(double: StripeDouble, amount: int = 100, interval: str = "month", **fields: Any) -> Object:
    """Make a price that is no plan's."""
    recurring = {"interval": interval, "interval_count": 1, "meter": None, "usage_type": "licensed"}
    fields = {"product": "prod_support", "unit_amount": amount, "currency": "eur", "recurring": recurring} | fields
    return double.account.announce("price", **fields)


def items(double: StripeDouble, subscription: str) -> list[tuple[str, int]]:
    found = double.account.objects[subscription]["items"]["data"]
    return sorted((item["price"]["id"], item["quantity"]) for item in found)


# Identity


@pytest.mark.parametrize("first", [True, False])
def test_change_moves_the_item_that_is_the_plan(
    sell: Run, subscribed: Any, stripe_double: StripeDouble, first: bool
) -> None:
    support, id_ = price(stripe_double), subscribed["stripe_id"]
    stripe_double.add_item(id_, support, 3, first=first)
    assert sell("plans", "change", ADA, "pro", *JSON).data["plan"] == "pro"
    assert items(stripe_double, id_) == sorted([(support["id"], 3), (price_of(stripe_double, "pro")["id"], 1)])


def test_change_keeps_the_quantity(sell: Run, subscribed: Any, stripe_double: StripeDouble) -> None:
    id_ = subscribed["stripe_id"]
    found = stripe_double.account.objects[id_]
    stripe_double.account._set_item(found, found["items"]["data"][0]["id"], {"quantity": 4})
    assert sell("plans", "change", ADA, "pro", *JSON).data["quantity"] == 4
    assert items(stripe_double, id_) == [(price_of(stripe_double, "pro")["id"], 4)]


def test_the_plan_and_its_period_are_those_of_its_item(
    sell: Run, subscribed: Any, stripe_double: StripeDouble, database: Database
) -> None:
    stripe_double.add_item(subscribed["stripe_id"], price(stripe_double, interval="year"), first=True)
    sell("plans", "sync")
    assert shown(sell) == subscribed


def test_a_plan_beyond_the_first_ten_items_is_found(sell: Run, subscribed: Any, stripe_double: StripeDouble) -> None:
    for number in range(11):
        stripe_double.add_item(subscribed["stripe_id"], price(stripe_double, 100 + number), first=True)
    assert sell("plans", "change", ADA, "pro", *JSON).data["plan"] == "pro"
    assert (price_of(stripe_double, "pro")["id"], 1) in items(stripe_double, subscribed["stripe_id"])


def test_two_plans_in_one_subscription_are_a_finding_and_not_changed(
    sell: Run, subscribed: Any, stripe_double: StripeDouble
) -> None:
    id_ = subscribed["stripe_id"]
    stripe_double.add_item(id_, price_of(stripe_double, "pro"))
    told = sell("plans", "sync", *JSON, expect=3)
    assert f"{id_} of user {sell('users', 'show', ADA, *JSON).data['id']} has 2 items that are plans" in told.err
    assert shown(sell)["plan"] == "pro"
    sell("plans", "create", "max", "--price", "99", "--storage", "1GiB", "--upload", "1GiB")
    sell("plans", "push", "max")
    before = items(stripe_double, id_)
    refused = sell("plans", "change", ADA, "max", *JSON, expect=7)
    assert refused.error["message"] == f"{id_} of {ADA} is several plans: pro and starter"
    assert items(stripe_double, id_) == before


def test_what_is_no_plans_is_not_touched(sell: Run, subscribed: Any, stripe_double: StripeDouble) -> None:
    """The customer buys something else at the same company, too, which is not a plan."""
    with stripe_double.lock:
        account = stripe_double.account
        other = account.subscribe(account.objects[customer_of(stripe_double)], price(stripe_double), {}, "")
    sell("plans", "change", ADA, "pro")
    sell("plans", "cancel", ADA, "--now", "--yes")
    assert stripe_double.get(other["id"])["status"] == "active"
    assert stripe_double.get(subscribed["stripe_id"])["status"] == "canceled"


# What Stripe has, not what is remembered


def test_cancel_reaches_stripe_after_the_customer_took_it_back(
    sell: Run, subscribed: Any, stripe_double: StripeDouble
) -> None:
    sell("plans", "cancel", ADA, "--yes")
    stripe_double.put(subscribed["stripe_id"], cancel_at_period_end=False, cancel_at=None, canceled_at=None)
    assert sell("plans", "cancel", ADA, "--yes", *JSON).json["changed"] is True
    assert stripe_double.get(subscribed["stripe_id"])["cancel_at_period_end"] is True


def test_cancel_in_the_portal_is_read_and_counts(sell: Run, subscribed: Any, stripe_double: StripeDouble) -> None:
    stripe_double.cancel_in_portal(subscribed["stripe_id"])
    sell("plans", "sync")
    assert (shown(sell)["cancel_at_period_end"], shown(sell)["cancel_at"]) == (False, subscribed["current_period_end"])
    before = writes(stripe_double)
    assert sell("plans", "cancel", ADA, "--yes", *JSON).json["changed"] is False
    assert writes(stripe_double) == before
    resumed = sell("plans", "resume", ADA, *JSON)
    assert (resumed.json["changed"], resumed.data["cancel_at"]) == (True, None)
    assert stripe_double.get(subscribed["stripe_id"])["cancel_at"] is None


@pytest.mark.parametrize("act", [("cancel", ADA, "--yes"), ("change", ADA, "pro")])
def test_no_success_is_believed_that_stripe_does_not_show(
    sell: Run, subscribed: Any, stripe_double: StripeDouble, act: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StripeAccount, "change", lambda *_: {})
    monkeypatch.setattr(StripeAccount, "cancel", lambda *_, **__: {})
    assert "as before" in sell("plans", *act, *JSON, expect=1).error["message"]


def test_change_asks_stripe_what_it_changes(sell: Run, subscribed: Any, stripe_double: StripeDouble) -> None:
    """The customer moved up in the portal, and the event was lost."""
    pro = price_of(stripe_double, "pro")
    found = stripe_double.account.objects[subscribed["stripe_id"]]
    stripe_double.account._set_item(found, found["items"]["data"][0]["id"], {"price": pro})
    again = sell("plans", "change", ADA, "pro", *JSON)
    assert (again.json["changed"], again.data["plan"]) == (False, "pro")
    assert sell("users", "show", ADA, *JSON).data["plan"] == "pro"


def test_subscribe_asks_stripe_whether_it_charges_still(
    sell: Run, subscribed: Any, stripe_double: StripeDouble
) -> None:
    stripe_double.cancel(subscribed["stripe_id"])
    sale = sell("plans", "subscribe", ADA, "starter", "--direct", *JSON)
    assert (sale.json["changed"], sale.data["status"]) == (True, "active")
    assert sale.data["stripe_id"] != subscribed["stripe_id"]


def test_an_act_on_a_subscription_that_is_gone_learns_it(
    sell: Run, subscribed: Any, stripe_double: StripeDouble
) -> None:
    del stripe_double.account.objects[subscribed["stripe_id"]]
    sell("plans", "change", ADA, "pro", expect=6)
    assert shown(sell)["status"] == "canceled"


# Up and down


def test_a_downgrade_waits_for_the_end_of_the_period(sell: Run, subscribed: Any, stripe_double: StripeDouble) -> None:
    sell("plans", "change", ADA, "pro")
    support, id_ = price(stripe_double), subscribed["stripe_id"]
    stripe_double.add_item(id_, support, 2)
    foreseen = sell("plans", "change", ADA, "starter", "--dry-run", *JSON).data
    down = sell("plans", "change", ADA, "starter", *JSON)
    assert (down.data["plan"], down.data["next_plan"], down.data["prorated"]) == ("pro", "starter", None)
    assert down.data == foreseen
    assert sell("users", "show", ADA, *JSON).data["plan"] == "pro"
    stripe_double.advance(days=32)
    sell("plans", "sync")
    assert (shown(sell)["plan"], shown(sell)["next_plan"], shown(sell)["status"]) == ("starter", None, "active")
    assert items(stripe_double, id_) == sorted([(support["id"], 2), (price_of(stripe_double, "starter")["id"], 1)])


def test_a_downgrade_keeps_discounts_and_taxes(sell: Run, subscribed: Any, stripe_double: StripeDouble) -> None:
    sell("plans", "change", ADA, "pro")
    found = stripe_double.account.objects[subscribed["stripe_id"]]
    found |= {"discounts": ["di_1"], "default_tax_rates": ["txr_1"], "description": "Ada's", "metadata": {"note": "x"}}
    sell("plans", "change", ADA, "starter")
    (schedule,) = stripe_double.all("subscription_schedule")
    for phase in schedule["phases"]:
        assert (phase["discounts"], phase["default_tax_rates"]) == (["di_1"], ["txr_1"])
        assert (phase["description"], phase["metadata"]) == ("Ada's", {"note": "x"})
    assert [phase["items"][0]["price"] for phase in schedule["phases"]] == [
        price_of(stripe_double, plan)["id"] for plan in ("pro", "starter")
    ]


def test_a_downgrade_now_is_prorated(sell: Run, subscribed: Any, stripe_double: StripeDouble) -> None:
    sell("plans", "change", ADA, "pro")
    foreseen = sell("plans", "change", ADA, "starter", "--now", "--dry-run", *JSON).data
    assert (foreseen["plan"], foreseen["prorated"]) == ("starter", "-20.00")
    assert sell("plans", "change", ADA, "starter", "--now", *JSON).data["plan"] == "starter"
    assert stripe_double.all("subscription_schedule") == []


def test_a_downgrade_that_fails_halfway_leaves_no_schedule(
    sell: Run, subscribed: Any, stripe_double: StripeDouble
) -> None:
    sell("plans", "change", ADA, "pro")
    sell("plans", "create", "broken", "--price", "1", "--storage", "1GiB", "--upload", "1GiB")
    sell("plans", "push", "broken")
    del stripe_double.account.objects[price_of(stripe_double, "broken")["id"]]
    sell("plans", "change", ADA, "broken", expect=1)
    assert stripe_double.get(subscribed["stripe_id"])["schedule"] is None
    assert sell("plans", "change", ADA, "starter", *JSON).data["next_plan"] == "starter"


def test_what_a_schedule_manages_is_told_before_it_is_changed(
    sell: Run, subscribed: Any, stripe_double: StripeDouble
) -> None:
    schedule = stripe_double.schedule(subscribed["stripe_id"])
    refused = sell("plans", "change", ADA, "pro", *JSON, expect=7)
    assert schedule["id"] in refused.error["message"]
    assert refused.error["fix"] == f"undo that: dumacle plans resume {ADA}"
    assert sell("plans", "resume", ADA, *JSON).json["changed"] is True
    assert sell("plans", "change", ADA, "pro", *JSON).data["plan"] == "pro"


def test_cancel_of_what_has_ended_leaves_the_plan_that_followed(
    sell: Run, subscribed: Any, stripe_double: StripeDouble
) -> None:
    stripe_double.delete_customer(customer_of(stripe_double))
    sell("plans", "subscribe", ADA, "free")
    again = sell("plans", "cancel", subscribed["stripe_id"], "--now", "--yes", *JSON)
    assert (again.json["changed"], again.data["stripe_id"], again.data["status"]) == (
        False,
        subscribed["stripe_id"],
        "canceled",
    )
    assert (shown(sell)["plan"], shown(sell)["ended_at"]) == ("free", None)


def test_cancel_goes_before_a_schedule(sell: Run, subscribed: Any, stripe_double: StripeDouble) -> None:
    sell("plans", "change", ADA, "pro")
    sell("plans", "change", ADA, "starter")
    canceled = sell("plans", "cancel", ADA, "--yes", *JSON)
    assert (canceled.json["changed"], canceled.data["cancel_at"]) == (True, subscribed["current_period_end"])
    assert (shown(sell)["next_plan"], stripe_double.get(subscribed["stripe_id"])["schedule"]) == (None, None)
    stripe_double.advance(days=32)
    assert stripe_double.get(subscribed["stripe_id"])["status"] == "canceled"


def test_another_currency_is_refused(sell: Run, subscribed: Any) -> None:
    size = ("--storage", "1GiB", "--upload", "1GiB")
    sell("plans", "create", "dollars", "--price", "50", "--currency", "USD", *size)
    sell("plans", "push", "dollars")
    assert "pays in EUR" in sell("plans", "change", ADA, "dollars", *JSON, expect=7).error["message"]


def test_periods_that_differ_end_with_the_last(sell: Run, subscribed: Any, stripe_double: StripeDouble) -> None:
    stripe_double.add_item(subscribed["stripe_id"], price(stripe_double, interval="year"))
    foreseen = sell("plans", "cancel", ADA, "--dry-run", *JSON).data
    canceled = sell("plans", "cancel", ADA, "--yes", *JSON).data
    assert canceled == foreseen
    assert canceled["cancel_at"] > subscribed["current_period_end"]


# Whose first payment was never made


@pytest.fixture
def unpaid(sell: Run, stripe_double: StripeDouble) -> str:
    """Ada's bank did not pay on the page, which may still happen; the id of her subscription at Stripe."""
    sell("plans", "subscribe", ADA, "starter", "--checkout")
    stripe_double.decline(customer_of(stripe_double))
    (page,) = stripe_double.all("checkout.session")
    found = stripe_double.complete(page["id"])
    sell("plans", "sync")
    assert shown(sell)["status"] == found["status"] == "incomplete"
    return str(found["id"])


def test_who_never_paid_is_canceled_at_once(sell: Run, unpaid: str, stripe_double: StripeDouble) -> None:
    foreseen = sell("plans", "cancel", ADA, "--dry-run", *JSON).data
    done = sell("plans", "cancel", ADA, "--yes", *JSON).data
    assert (done["status"], foreseen["status"]) == ("canceled", "canceled")
    assert stripe_double.get(unpaid)["status"] == "canceled"


@pytest.mark.parametrize("give", ["plans subscribe {} free", "plans change {} free", "users update {} --plan free"])
def test_who_never_paid_gets_a_free_plan(sell: Run, unpaid: str, stripe_double: StripeDouble, give: str) -> None:
    sell(*give.format(ADA).split())
    sell("plans", "sync")
    assert sell("users", "show", ADA, *JSON).data["plan"] == "free"
    stripe_double.pay(stripe_double.get(unpaid)["latest_invoice"])
    sell("plans", "sync")
    assert (shown(sell)["plan"], shown(sell)["fallback_plan"]) == ("starter", "free")


# Back to a plan that is not billed


@pytest.fixture
def tried(sell: Run, stripe_double: StripeDouble) -> Any:
    """Ada had the free plan, and subscribed to starter."""
    sell("plans", "subscribe", ADA, "free")
    sell("plans", "portal", ADA)
    stripe_double.add_card(customer_of(stripe_double))
    sell("plans", "subscribe", ADA, "starter", "--direct")
    return shown(sell)


def test_what_was_free_before_follows_the_end(sell: Run, tried: Any, stripe_double: StripeDouble) -> None:
    assert tried["fallback_plan"] == "free"
    sell("plans", "cancel", ADA, "--yes")
    assert shown(sell)["plan"] == "starter"
    stripe_double.advance(days=32)
    sell("plans", "sync")
    assert (shown(sell)["plan"], shown(sell)["stripe_id"]) == ("free", None)
    # It follows once: who ends the free plan as well has none.
    sell("plans", "cancel", ADA, "--yes")
    sell("plans", "sync")
    assert sell("users", "show", ADA, *JSON).data["plan"] is None


def test_change_to_the_free_plan_ends_the_paid_one(sell: Run, subscribed: Any, stripe_double: StripeDouble) -> None:
    foreseen = sell("plans", "change", ADA, "free", "--dry-run", *JSON).data
    moved = sell("plans", "change", ADA, "free", *JSON).data
    assert moved == foreseen
    assert (moved["plan"], moved["fallback_plan"]) == ("starter", "free")
    assert moved["cancel_at"] == subscribed["current_period_end"]
    stripe_double.advance(days=32)
    sell("plans", "sync")
    assert shown(sell)["plan"] == "free"


def test_a_price_that_was_not_pushed_is_not_changed_to(sell: Run, subscribed: Any) -> None:
    sell("plans", "update", "pro", "--price", "39.99", "--currency", "EUR")
    refused = sell("plans", "change", ADA, "pro", *JSON, expect=7).error
    assert refused["message"] == "plan pro costs 39.99 EUR a month, and Stripe sells it for 29.99 EUR a month"
    assert refused["fix"] == "dumacle plans push pro"


def test_a_plan_that_costs_something_and_is_not_sold_is_not_changed_to(sell: Run, subscribed: Any) -> None:
    sell("plans", "create", "secret", "--price", "5", "--storage", "1GiB", "--upload", "1GiB")
    assert sell("plans", "change", ADA, "secret", *JSON, expect=7).error["fix"] == "dumacle plans push secret"


@pytest.mark.parametrize("gone", ["UPDATE app.plans SET archived_at = now() WHERE name = 'free'", ""])
def test_an_archived_plan_or_a_deleted_user_falls_back_on_nothing(
    sell: Run, tried: Any, stripe_double: StripeDouble, database: Database, gone: str
) -> None:
    if gone:
        with database.session() as session:
            session.execute(text(gone))
    else:
        sell("users", "delete", ADA)
    stripe_double.cancel(tried["stripe_id"])
    sell("plans", "sync")
    assert sell("users", "show", ADA, *JSON).data["plan"] is None


def test_who_is_restored_falls_back_as_well(sell: Run, tried: Any, stripe_double: StripeDouble) -> None:
    sell("users", "delete", ADA)
    stripe_double.cancel(tried["stripe_id"])
    sell("plans", "sync")
    sell("users", "restore", ADA)
    assert sell("users", "show", ADA, *JSON).data["plan"] == "free"


def test_usage_carries_over_every_change(
    sell: Run, tried: Any, stripe_double: StripeDouble, database: Database
) -> None:
    with database.session() as session:
        session.execute(
            text("SELECT app.consume_quota('k', id, 'upload', 500, now()) FROM app.users WHERE email = :e"), {"e": ADA}
        )
    for plan in ("pro", "free"):
        sell("plans", "change", ADA, plan)
        assert sell("users", "show", ADA, *JSON).data["upload_used"] == 500
    sell("plans", "cancel", ADA, "--now", "--yes")
    assert (
        sell("users", "show", ADA, *JSON).data | {"upload_used": 500, "plan": "free"}
        == sell("users", "show", ADA, *JSON).data
    )


# Resume


def test_resume_takes_a_cancellation_back(sell: Run, subscribed: Any, stripe_double: StripeDouble) -> None:
    assert sell("plans", "resume", ADA, *JSON).json["changed"] is False
    sell("plans", "cancel", ADA, "--yes")
    foreseen = sell("plans", "resume", ADA, "--dry-run", *JSON)
    done = sell("plans", "resume", ADA, *JSON)
    assert done.data == foreseen.data == subscribed
    assert foreseen.json["changed"] is done.json["changed"] is True
    stripe_double.advance(days=32)
    assert stripe_double.get(subscribed["stripe_id"])["status"] == "active"


def test_a_pause_is_shown_and_lifted(sell: Run, subscribed: Any, stripe_double: StripeDouble) -> None:
    pause = {"behavior": "void", "resumes_at": stripe_double.now + 86_400}
    stripe_double.put(subscribed["stripe_id"], pause_collection=pause)
    sell("plans", "sync")
    assert (shown(sell)["pause_collection"], shown(sell)["status"]) == ("void", "active")
    assert shown(sell)["resumes_at"]
    assert sell("plans", "resume", ADA, *JSON).data["pause_collection"] is None
    assert stripe_double.get(subscribed["stripe_id"])["pause_collection"] is None


def test_a_trial_that_ended_without_a_card_is_resumed(sell: Run, subscribed: Any, stripe_double: StripeDouble) -> None:
    stripe_double.put(subscribed["stripe_id"], status="paused")
    assert sell("plans", "resume", ADA, *JSON).data["status"] == "active"


def test_what_has_ended_is_not_resumed(sell: Run, subscribed: Any) -> None:
    sell("plans", "cancel", ADA, "--now", "--yes")
    assert sell("plans", "resume", ADA, *JSON).json["changed"] is False
    refused = sell("plans", "resume", subscribed["stripe_id"], *JSON, expect=7)
    assert refused.error["fix"] == f"dumacle plans subscribe {ADA} starter"


# Refunds


def refunded(double: StripeDouble) -> list[int]:
    return [refund["amount"] for refund in double.all("refund")]


@pytest.mark.parametrize(("share", "amounts"), [("none", []), ("full", [999]), ("prorated", [500])])
def test_cancel_pays_back_what_is_asked(
    sell: Run, subscribed: Any, stripe_double: StripeDouble, share: str, amounts: list[int]
) -> None:
    # Half of the period is over.
    (invoice,) = stripe_double.account.all("invoice")
    invoice["lines"]["data"][0]["period"] = {"start": stripe_double.now - 10**7, "end": stripe_double.now + 10**7}
    canceled = sell("plans", "cancel", ADA, "--now", "--refund", share, "--yes", *JSON)
    assert refunded(stripe_double) == pytest.approx(amounts, abs=1)
    assert (canceled.data["refunded"] is None) is (share == "none")
    # A repeat pays nothing back twice.
    before = refunded(stripe_double)
    again = sell("plans", "cancel", subscribed["stripe_id"], "--now", "--refund", share, "--yes", *JSON)
    assert (again.json["changed"], refunded(stripe_double)) == (False, before)


def test_a_refund_is_for_an_end_now(sell: Run, subscribed: Any) -> None:
    sell("plans", "cancel", ADA, "--refund", "full", "--yes", expect=2)


def test_a_refund_that_failed_is_made_by_the_repeat(sell: Run, subscribed: Any, stripe_double: StripeDouble) -> None:
    cancel = ("plans", "cancel", subscribed["stripe_id"], "--now", "--refund", "full", "--yes")
    stripe_double.fail("POST /v1/refunds", 500, times=9)
    sell(*cancel, expect=10)
    assert stripe_double.get(subscribed["stripe_id"])["status"] == "canceled"
    stripe_double.api.faults.clear()
    assert sell(*cancel, *JSON).data["refunded"] == "9.99 EUR"
    assert refunded(stripe_double) == [999]


def test_nothing_is_ended_whose_refund_cannot_be_made(sell: Run, subscribed: Any, stripe_double: StripeDouble) -> None:
    for paid in stripe_double.account.all("invoice_payment"):
        paid["payment"] = {"type": "payment_record", "payment_record": "pr_1"}
    refused = sell("plans", "cancel", ADA, "--now", "--refund", "full", "--yes", *JSON, expect=7)
    assert "was not paid through Stripe" in refused.error["message"]
    assert stripe_double.get(subscribed["stripe_id"])["status"] == "active"


# Invoices


def test_invoices_are_listed_and_shown(sell: Run, subscribed: Any, stripe_double: StripeDouble) -> None:
    stripe_double.account.announce("invoice", customer="cus_stranger", parent=None)
    (found,) = sell("plans", "invoices", "list", "--user", ADA, *JSON).data
    assert (found["total"], found["paid"], found["currency"], found["status"]) == ("9.99", "9.99", "EUR", "paid")
    assert sell("plans", "invoices", "list", *JSON).data == [found]
    detail = sell("plans", "invoices", "show", found["id"], *JSON).data
    assert (detail["refunded"], [line["amount"] for line in detail["lines"]]) == ("0.00", ["9.99"])
    sell("plans", "invoices", "show", "in_none", expect=6)
    (stranger,) = (each for each in stripe_double.all("invoice") if each["customer"] == "cus_stranger")
    sell("plans", "invoices", "show", stranger["id"], expect=6)


def test_an_invoice_is_refunded_in_parts(sell: Run, subscribed: Any, stripe_double: StripeDouble) -> None:
    (invoice,) = stripe_double.all("invoice")
    refund = ("plans", "refund", invoice["id"])
    first = sell(*refund, "--amount", "4.00", "--op-id", "monday", "--yes", *JSON).data
    assert (first["amount"], first["refunded"], first["currency"]) == ("4.00", "4.00", "EUR")
    assert "only 5.99 EUR" in sell(*refund, "--amount", "6", "--yes", *JSON, expect=7).error["message"]
    foreseen = sell(*refund, "--dry-run", *JSON).data
    assert sell(*refund, "--yes", *JSON).data == foreseen
    assert refunded(stripe_double) == [400, 599]
    assert sell(*refund, "--yes", *JSON).json["changed"] is False
    assert sell("plans", "invoices", "show", invoice["id"], *JSON).data["refunded"] == "9.99"

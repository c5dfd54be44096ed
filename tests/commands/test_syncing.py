"""`dumacle plans sync|doctor|adopt` at the double of Stripe."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from sqlalchemy import text

from dumacle_cli.services.billing import inbox, sync
from dumacle_cli.store import stripe
from dumacle_cli.store.database import Database
from tests.conftest import Run
from tests.stripe_double.double import StripeDouble

pytestmark = pytest.mark.integration

JSON = ("-o", "json")
PEOPLE = ("ada", "bob", "eve")


@pytest.fixture
def sell(run: Run, stripe_double: StripeDouble, environment: Callable[..., None]) -> Run:
    """Run the program on an installation that sells two plans at Stripe."""
    environment(**stripe_double.settings)
    for name, price in (("big", "9"), ("huge", "20")):
        run("plans", "create", name, "--price", price, "--storage", "1GiB", "--upload", "1GiB")
    for name in PEOPLE:
        run("users", "create", f"{name}@example.com")
    run("plans", "push")
    return run


def buy(run: Run, double: StripeDouble, name: str, plan: str = "big") -> str:
    """Let somebody subscribe, and return the subscription at Stripe."""
    run("plans", "portal", f"{name}@example.com")
    double.add_card(double.all("customer")[-1]["id"])
    return str(run("plans", "subscribe", f"{name}@example.com", plan, "--direct", *JSON).data["stripe_id"])


@pytest.fixture
def bought(sell: Run, stripe_double: StripeDouble) -> dict[str, str]:
    """The subscriptions of all people."""
    return {name: buy(sell, stripe_double, name) for name in PEOPLE}


def status(run: Run, name: str) -> str:
    return str(run("plans", "subscriptions", "show", f"{name}@example.com", *JSON).data["status"])


def kinds(database: Database) -> list[tuple[str, str]]:
    with database.session() as session:
        rows = session.execute(text("SELECT object_id, kind FROM app.findings ORDER BY 1, 2"))
        return [(row.object_id, row.kind) for row in rows]


def price_of(double: StripeDouble, plan: str) -> Any:
    (price,) = (price for price in double.all("price") if price["lookup_key"] == f"dumacle:{plan}")
    return price


# Findings are told until they are gone


def test_a_finding_is_told_by_every_command_until_it_is_gone(
    sell: Run, bought: dict[str, str], stripe_double: StripeDouble, database: Database
) -> None:
    stripe_double.put(bought["ada"], status="hibernating")
    sell("plans", "sync", expect=3)
    told = "is 'hibernating', which is not known here"
    for _ in range(2):  # a second run changes nothing, and still tells
        synced = sell("plans", "sync", *JSON, expect=3)
        assert (synced.data["findings"], told in synced.err) == (1, True)
    (shown,) = sell("users", "show", "ada@example.com", *JSON).data["findings"]
    assert told in shown["finding"]
    assert sell("users", "show", "bob@example.com", *JSON).data["findings"] == []
    assert told in sell("plans", "doctor").out
    assert told in sell("doctor").out
    stripe_double.put(bought["ada"], status="active")
    assert sell("plans", "sync", *JSON).data["findings"] == 0
    assert (kinds(database), told in sell("plans", "doctor").out) == ([], False)


def test_since_when_is_kept_and_what_was_given_up_is_an_error(
    sell: Run, bought: dict[str, str], stripe_double: StripeDouble, database: Database
) -> None:
    stripe_double.put(bought["ada"], status="hibernating")
    sell("plans", "sync", expect=3)
    with database.session() as session:
        session.execute(text("UPDATE app.findings SET first_seen_at = '2026-01-01', severity = 'error'"))
    assert "since 2026-01-01" in sell("plans", "doctor", expect=1).out
    sell("plans", "sync", expect=3)
    assert "since 2026-01-01" in sell("plans", "doctor").out


def test_two_that_are_paid_are_told_by_sync_and_the_user(
    sell: Run, bought: dict[str, str], stripe_double: StripeDouble
) -> None:
    customer = stripe_double.get(bought["ada"])["customer"]
    billing = stripe_double.billing()
    second = billing.subscribe(customer, price_of(stripe_double, "huge")["id"], {}, "second")
    billing.close()
    said = sell("plans", "sync", expect=3).err
    assert f"pays for {bought['ada']} and {second['id']}" in said
    sell("plans", "doctor", expect=1)
    (shown,) = sell("users", "show", "ada@example.com", *JSON).data["findings"]
    assert (shown["kind"], shown["fix"]) == ("paid-twice", f"dumacle plans cancel {second['id']} --now --refund full")
    stripe_double.cancel(second["id"])
    sell("plans", "sync")
    assert sell("users", "show", "ada@example.com", *JSON).data["findings"] == []


def test_who_pays_for_a_plan_and_is_nobody_here_is_found(
    sell: Run, stripe_double: StripeDouble, database: Database
) -> None:
    billing = stripe_double.billing()
    found = []
    for number, price in enumerate((price_of(stripe_double, "big"), stripe_double.account.announce("price"))):
        stranger = billing.create_customer(f"{number}@x", "", {}, str(number))["id"]
        stripe_double.add_card(stranger)
        found.append(billing.subscribe(stranger, price["id"], {}, str(number))["id"])
    billing.close()
    assert sell("plans", "sync", *JSON, expect=3).data["foreign"] == 2
    assert kinds(database) == [(found[0], "stranger")]
    assert sell("plans", "doctor", *JSON, expect=1)
    stripe_double.cancel(found[0])
    sell("plans", "sync")


# What a sync would end


@pytest.mark.parametrize("how", ["canceled", "gone"])
def test_more_than_may_end_are_not_ended_unless_it_is_said(
    sell: Run, bought: dict[str, str], stripe_double: StripeDouble, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "MAY_END", 1)  # of those that vanish, one may anyway
    for name in ("ada", "bob"):
        if how == "canceled":
            stripe_double.cancel(bought[name])
        else:
            del stripe_double.account.objects[bought[name]]
    stripe_double.put(bought["eve"], cancel_at_period_end=True)
    done = sell("plans", "sync", *JSON, expect=8)
    assert (done.data["refused"], [status(sell, name) for name in PEOPLE]) == (2, ["active"] * 3)
    assert sell("plans", "subscriptions", "show", "eve@example.com", *JSON).data["cancel_at_period_end"] is True
    assert "a sync would end 2 of 3 subscriptions" in sell("plans", "doctor", expect=1).out
    assert sell("plans", "sync", "--max", "1", *JSON, expect=8).data["refused"] == 2
    done = sell("plans", "sync", "--max", "2", *JSON)
    assert (done.data["refused"], [status(sell, name) for name in PEOPLE]) == (0, ["canceled", "canceled", "active"])
    sell("plans", "doctor")


def test_subscriptions_do_not_vanish(sell: Run, bought: dict[str, str], stripe_double: StripeDouble) -> None:
    stripe_double.cancel(bought["ada"])
    stripe_double.cancel(bought["bob"])
    sell("plans", "sync")  # what is canceled ends
    del stripe_double.account.objects[bought["eve"]]
    sell("plans", "sync")  # one may vanish
    again = {name: buy(sell, stripe_double, name) for name in ("ada", "bob")}
    for id_ in again.values():
        del stripe_double.account.objects[id_]
    assert sell("plans", "sync", *JSON, expect=8).data["refused"] == 2
    assert [status(sell, name) for name in again] == ["active", "active"]


# One stops no other


def spoil(found: dict[str, Any], how: str) -> dict[str, Any]:
    item = found["items"]["data"][0]
    return {
        "metadata": {"metadata": None},
        "no items": {"items": {**found["items"], "data": []}},
        "no price": {"items": {**found["items"], "data": [{**item, "price": None}]}},
        "beyond the years": {"start_date": 10**14},
        "beyond the calendar": {"billing_cycle_anchor": 10**18},
        "year 5000": {"start_date": 95_617_584_000},
        "status": {"status": "a\0b"},
    }[how]


@pytest.mark.parametrize(
    ("spoilt", "how"),
    [
        ("ada", "metadata"),
        ("eve", "no items"),
        ("ada", "no price"),
        ("eve", "beyond the years"),
        ("ada", "beyond the calendar"),
        ("eve", "year 5000"),
        ("ada", "status"),
    ],
)
def test_one_that_cannot_be_applied_stops_no_other(
    sell: Run, bought: dict[str, str], stripe_double: StripeDouble, database: Database, how: str, spoilt: str
) -> None:
    stripe_double.put(bought[spoilt], **spoil(stripe_double.get(bought[spoilt]), how))
    others = [name for name in PEOPLE if name != spoilt]
    for name in others:
        stripe_double.put(bought[name], cancel_at_period_end=True)
    done = sell("plans", "sync", *JSON, expect=0 if how == "metadata" else 3)
    assert (done.data["failed"], kinds(database)) == (
        (0, []) if how == "metadata" else (1, [(bought[spoilt], "not-applied")])
    )
    for name in others:
        assert sell("plans", "subscriptions", "show", f"{name}@example.com", *JSON).data["cancel_at_period_end"] is True


def test_what_a_worker_holds_is_named_and_applied_when_its_lease_ends(
    sell: Run, bought: dict[str, str], stripe_double: StripeDouble, database: Database
) -> None:
    for name in ("ada", "bob"):
        stripe_double.put(bought[name], cancel_at_period_end=True)
    with database.session() as session:
        inbox.request_refresh(session, [("subscription", bought["ada"])])
        assert stripe.claim(session, bought["ada"], 600)
    done = sell("plans", "sync", *JSON, expect=3)
    assert (done.data["missed"], done.data["held"], kinds(database)) == (2, 1, [(bought["ada"], "held")])
    assert f"{bought['ada']} is claimed by another worker until" in done.err
    with database.session() as session:
        session.execute(text("UPDATE app.stripe_objects SET leased_until = now() WHERE lease_token IS NOT NULL"))
    sell("plans", "sync")
    assert sell("plans", "subscriptions", "show", "ada@example.com", *JSON).data["cancel_at_period_end"] is True


def test_a_sync_that_was_stopped_has_applied_what_it_read(sell: Run, stripe_double: StripeDouble) -> None:
    somebody, account = stripe_double.account.announce("customer"), stripe_double.account
    price = account.announce("price", product="prod_other", unit_amount=100)
    for _ in range(100):
        account.subscribe(somebody, price, {}, "allow_incomplete")
    stripe_double.put(buy(sell, stripe_double, "ada"), cancel_at_period_end=True)
    # The first page of a hundred, and the one of them that differs, come before the second page.
    stripe_double.fail("GET /v1/subscriptions", 500, first=2)
    sell("plans", "sync", expect=10)
    assert sell("plans", "subscriptions", "show", "ada@example.com", *JSON).data["cancel_at_period_end"] is True
    again = sell("plans", "sync", *JSON).data
    assert (again["seen"], again["foreign"], again["missed"]) == (101, 100, 0)


# Less than all


def test_only_what_changed_since_is_asked_for(sell: Run, bought: dict[str, str], stripe_double: StripeDouble) -> None:
    stripe_double.now += 86_400
    stripe_double.put(bought["ada"], cancel_at_period_end=True)
    del stripe_double.account.objects[bought["bob"]]
    before = len(stripe_double.requests)
    done = sell("plans", "sync", "--since", "1h", *JSON)
    # The clock of the double is a day ahead of the program's.
    asked = stripe_double.requests[before:]
    assert done.data["missed"] + done.data["unseen"] >= 1
    assert "GET /v1/subscriptions" not in asked
    assert sell("plans", "subscriptions", "show", "ada@example.com", *JSON).data["cancel_at_period_end"] is True


@pytest.mark.parametrize("refused", ["31d", "12m", "x"])
def test_stripe_keeps_events_for_thirty_days(sell: Run, refused: str) -> None:
    sell("plans", "sync", "--since", refused, expect=2)
    sell("plans", "sync", "--since", "30d")


def test_one_customer(sell: Run, bought: dict[str, str], stripe_double: StripeDouble) -> None:
    for name in ("ada", "bob"):
        stripe_double.put(bought[name], cancel_at_period_end=True)
    customer = stripe_double.get(bought["ada"])["customer"]
    done = sell("plans", "sync", "--customer", customer, *JSON)
    assert (done.data["seen"], done.data["missed"]) == (1, 1)
    assert sell("plans", "sync", *JSON).data["missed"] == 1
    sell("plans", "sync", "--customer", customer, "--user", "ada@example.com", expect=2)


def test_customers_that_were_deleted_are_forgotten_by_a_full_sync(
    sell: Run, bought: dict[str, str], stripe_double: StripeDouble, database: Database
) -> None:
    customer = stripe_double.get(bought["ada"])["customer"]
    stripe_double.delete_customer(customer)
    sell("plans", "sync", "--full")
    with database.session() as session:
        assert session.scalar(text("SELECT count(*) FROM app.customers")) == 2
    assert status(sell, "ada") == "canceled"


def test_no_apply_reports_only(sell: Run, bought: dict[str, str], stripe_double: StripeDouble) -> None:
    stripe_double.put(bought["ada"], cancel_at_period_end=True)
    assert sell("plans", "sync", "--no-apply", *JSON).data["missed"] == 1
    assert sell("plans", "sync", "--apply", *JSON).data["missed"] == 1
    assert sell("plans", "sync", *JSON).data["missed"] == 0


# Doctor


ENDPOINT = {
    "id": "we_1",
    "object": "webhook_endpoint",
    "url": "https://example.com/webhooks/stripe",
    "status": "enabled",
}


@pytest.mark.parametrize(
    ("endpoint", "said"),
    [
        ({}, "we_1 at https://example.com/webhooks/stripe"),
        ({"status": "disabled"}, "is disabled"),
        ({"enabled_events": ["invoice.paid"]}, "does not receive customer.subscription.created"),
        ({"enabled_events": ["*"]}, "receives invoice.created"),
        ({"url": "https://example.com/hooks"}, "no endpoint of the account ends in /webhooks/stripe"),
    ],
)
def test_doctor_looks_at_the_endpoint(
    sell: Run, stripe_double: StripeDouble, endpoint: dict[str, Any], said: str
) -> None:
    stripe_double.account.make("webhook_endpoint", **(ENDPOINT | {"enabled_events": list(inbox.DELIVERED)} | endpoint))
    for command in (("doctor",), ("plans", "doctor")):
        told = [each for each in sell(*command, *JSON).data if each["check"] == "stripe endpoint"]
        assert said in told[0]["finding"]
        assert told[0]["status"] == ("ok" if endpoint == {} else "warning")


@pytest.mark.parametrize(
    ("route", "lacking"),
    [
        ("GET /v1/invoices", "it may not read: invoice"),
        ("POST /v1/refunds/", "it may not write: refund"),
        ("POST /v1/", "it may not write: product, price, customer, subscription, checkout.session, refund"),
    ],
)
def test_doctor_names_the_permissions_that_the_key_lacks(
    sell: Run, stripe_double: StripeDouble, route: str, lacking: str
) -> None:
    before = deepcopy(stripe_double.account.objects)
    stripe_double.fail(route, 403, times=9)
    (key,) = (each for each in sell("plans", "doctor", *JSON, expect=1).data if each["check"] == "stripe key")
    assert (key["status"], key["finding"]) == ("failed", f"in test mode; {lacking}")
    assert stripe_double.account.objects == before


def test_doctor_counts_what_differs(sell: Run, bought: dict[str, str], stripe_double: StripeDouble) -> None:
    stripe_double.put(bought["ada"], cancel_at_period_end=True)
    found = {each["check"]: each for each in sell("plans", "doctor", *JSON).data}
    assert found["subscriptions"]["fix"] == "dumacle plans sync"
    assert "1 differ from here" in found["subscriptions"]["finding"]
    assert found["stripe clock"]["status"] == "ok"


# Adopting what an earlier system made


@pytest.fixture
def old(sell: Run, stripe_double: StripeDouble) -> Callable[..., tuple[str, str]]:
    """A way to make a customer and a subscription as an earlier system did; returns their ids."""
    billing = stripe_double.billing()

    def make(email: str, amount: int, tags: dict[str, str] | None = None, **recurring: Any) -> tuple[str, str]:
        customer = billing.create_customer(email, "", tags or {}, f"{email}{tags}{len(stripe_double.requests)}")
        stripe_double.add_card(customer["id"])
        product = stripe_double.account.announce("product", name="Old")
        values = {"unit_amount": amount, "currency": "eur", "product": product["id"]}
        price = stripe_double.account.announce("price", **values)
        price["recurring"] = price["recurring"] | recurring
        return customer["id"], billing.subscribe(customer["id"], price["id"], {}, f"{customer['id']}")["id"]

    return make


def outcomes(adopted: Any) -> dict[str, str]:
    return {each["object"]: each["result"] for each in adopted.data}


@pytest.mark.parametrize("way", [("--email",), ("--metadata", "account"), ("--metadata", "number")])
def test_what_is_clear_is_adopted_and_the_rest_reported(
    sell: Run, old: Callable[..., tuple[str, str]], stripe_double: StripeDouble, way: tuple[str, ...]
) -> None:
    user = sell("users", "show", "ada@example.com", *JSON).data["id"]
    clear = old("Ada@Example.com", 900, {"account": "ADA@example.com", "number": str(user)})
    unknown = old("zoe@example.com", 900, {"account": "zoe@example.com", "number": "9999"})
    expected = {clear[0]: "adopted", clear[1]: "adopted", unknown[0]: "unmatched", unknown[1]: "unmatched"}
    for options in ((), ("--apply", "--dry-run")):
        foreseen = sell("plans", "adopt", *way, *options, *JSON)
        assert outcomes(foreseen) == expected
        assert sell("users", "show", "ada@example.com", *JSON).data["plan"] is None
    assert outcomes(sell("plans", "adopt", *way, "--apply", *JSON)) == expected
    shown = sell("plans", "subscriptions", "show", "ada@example.com", *JSON).data
    assert (shown["plan"], shown["status"], shown["stripe_id"]) == ("big", "active", clear[1])
    sell("plans", "sync", "--user", "ada@example.com")
    again = sell("plans", "adopt", *way, "--apply", *JSON)
    assert (again.json["changed"], outcomes(again)) == (False, {unknown[0]: "unmatched", unknown[1]: "unmatched"})
    assert [request for request in stripe_double.requests if request.startswith("POST /v1/customers/")] == []


def test_without_a_rule_nobody_is_matched(sell: Run, old: Callable[..., tuple[str, str]]) -> None:
    old("ada@example.com", 900)
    assert set(outcomes(sell("plans", "adopt", "--apply", *JSON)).values()) == {"unmatched"}


def test_several_customers_of_one_user_are_ambiguous(sell: Run, old: Callable[..., tuple[str, str]]) -> None:
    made = [*old("ada@example.com", 900), *old("ADA@example.com", 900)]
    done = sell("plans", "adopt", "--email", "--apply", *JSON, expect=3)
    assert outcomes(done) == dict(zip(made, ("ambiguous", "unmatched") * 2, strict=True))


def test_a_user_with_a_customer_or_a_subscription_keeps_it(
    sell: Run, bought: dict[str, str], old: Callable[..., tuple[str, str]], stripe_double: StripeDouble
) -> None:
    customer, _ = old("ada@example.com", 900)
    done = sell("plans", "adopt", "--email", "--apply", *JSON, expect=3)
    assert outcomes(done)[customer] == "ambiguous"
    assert sell("plans", "subscriptions", "show", "ada@example.com", *JSON).data["stripe_id"] == bought["ada"]


def test_a_price_that_several_plans_or_none_cost_has_to_be_named(
    sell: Run, old: Callable[..., tuple[str, str]], stripe_double: StripeDouble
) -> None:
    sell("plans", "create", "twin", "--price", "9", "--storage", "1GiB", "--upload", "1GiB")
    both, none = old("ada@example.com", 900)[1], old("bob@example.com", 123)[1]
    quarterly = old("eve@example.com", 900, interval="month", interval_count=3)[1]
    done = sell("plans", "adopt", "--email", "--apply", *JSON, expect=3)
    reasons = {each["object"]: each["reason"] for each in done.data}
    assert "plans big, twin cost the same" in reasons[both]
    for each in (none, quarterly):
        assert "no plan costs the same" in reasons[each]
    prices = [stripe_double.get(each)["items"]["data"][0]["price"]["id"] for each in (both, none, quarterly)]
    named = [word for price in prices for word in ("--price", f"{price}=twin")]
    sell("plans", "adopt", "--email", "--apply", *named)
    assert [status(sell, name) for name in PEOPLE] == ["active"] * 3
    sell("plans", "sync")


@pytest.mark.parametrize("wrong", ["price_1", "=big", "price_1="])
def test_a_price_is_named_with_its_plan(sell: Run, wrong: str) -> None:
    sell("plans", "adopt", "--price", wrong, expect=2)
    sell("plans", "adopt", "--price", "price_1=nothing", expect=6)


def test_what_another_installation_made_is_not_adopted(sell: Run, old: Callable[..., tuple[str, str]]) -> None:
    old("ada@example.com", 900, {"app": "dumacle", "installation": "elsewhere"})
    (found,) = sell("plans", "adopt", "--email", "--apply", *JSON).data
    assert (found["result"], found["user"]) == ("unmatched", None)


# A subscription of ours to a price of an earlier system


@pytest.mark.parametrize("twin", [False, True])
def test_a_tagged_subscription_is_to_the_only_plan_that_costs_the_same(
    sell: Run, stripe_double: StripeDouble, database: Database, twin: bool
) -> None:
    if twin:
        sell("plans", "create", "twin", "--price", "9", "--storage", "1GiB", "--upload", "1GiB")
    user = sell("users", "show", "ada@example.com", *JSON).data["id"]
    tags = {"app": "dumacle", "installation": "dumacle", "user": str(user)}
    billing = stripe_double.billing()
    customer = billing.create_customer("ada@example.com", "", {}, "once")["id"]
    stripe_double.add_card(customer)
    price = stripe_double.account.announce("price", unit_amount=900, currency="eur", product="prod_old")
    found = billing.subscribe(customer, price["id"], tags, "once")["id"]
    billing.close()
    sell("plans", "sync", expect=3 if twin else 0)
    assert kinds(database) == ([(found, "not-applied")] if twin else [])
    assert sell("users", "show", "ada@example.com", *JSON).data["plan"] == (None if twin else "big")
    if twin:
        told = next(each for each in sell("plans", "doctor", *JSON).data if each["check"] == "billing")
        assert told["fix"] == f"name its plan: dumacle plans adopt --price {price['id']}=PLAN --apply"
        sell("plans", "adopt", "--price", f"{price['id']}=twin", "--apply")
        sell("plans", "sync")
        assert sell("users", "show", "ada@example.com", *JSON).data["plan"] == "twin"


def test_a_subscription_itself_may_name_its_user(
    sell: Run, old: Callable[..., tuple[str, str]], stripe_double: StripeDouble
) -> None:
    _, found = old("someone@example.com", 900)
    stripe_double.put(found, metadata={"account": "ada@example.com"})
    sell("plans", "adopt", "--metadata", "account", "--apply")
    assert sell("plans", "subscriptions", "show", "ada@example.com", *JSON).data["stripe_id"] == found

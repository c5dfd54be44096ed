"""The client of Stripe against the double: what it makes, and only once, and what it says of faults."""

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dumacle_cli.clients import stripe
from dumacle_cli.clients.stripe import Price, StripeAccount
from dumacle_cli.context import Context
from dumacle_cli.errors import (
    DumacleError,
    InvalidValue,
    NotConfigured,
    StripeForbidden,
    StripeRefused,
    StripeUnavailable,
)
from tests.stripe_double.double import StripeDouble

TAGS = {"app": "dumacle", "plan": "pro"}
NOW = 1_800_000_000
BODY = b'{"object": "event", "id": "evt_1", "type": "invoice.paid"}'


@pytest.fixture
def client(stripe_double: StripeDouble) -> Iterator[StripeAccount]:
    opened = stripe_double.billing()
    yield opened
    opened.close()


def on_sale(client: StripeAccount, amount: int = 900, key: str = "dumacle:pro", interval: str = "month") -> dict:
    product, _ = client.ensure_product(None, key, "", TAGS, key)
    return sell(client, Price(key, product["id"], amount, "eur", interval, TAGS), key)


def sell(client: StripeAccount, price: Price, operation: str) -> dict:
    made, _ = client.ensure_price(price, operation)
    product = client.fetch("product", price.product)
    assert product
    client.sell_only(price, made["id"], product)
    return made


def customer(client: StripeAccount, double: StripeDouble, email: str = "ada@example.com") -> str:
    made = client.create_customer(email, "Ada", {"user": "1"}, email)
    double.add_card(made["id"])
    return made["id"]


def repriced(subscription: dict, price: dict) -> dict:
    item = subscription["items"]["data"][0]
    return {"id": item["id"], "price": price["id"], "quantity": item["quantity"]}


# What is sold


def test_a_product_is_made_kept_and_made_to_agree(client: StripeAccount) -> None:
    made, first = client.ensure_product(None, "Pro", "", TAGS, "op-1")
    _, again = client.ensure_product(made["id"], "Pro", "", TAGS, "op-2")
    renamed, changed = client.ensure_product(made["id"], "Pro", "All of it", TAGS, "op-3")
    assert (first, again, changed) == (True, False, True)
    assert (made["metadata"], made["description"]) == (TAGS, None)
    assert (renamed["id"], renamed["description"]) == (made["id"], "All of it")


def test_a_product_is_made_with_its_description(client: StripeAccount) -> None:
    assert client.ensure_product(None, "Pro", "All of it", TAGS, "op-1")[0]["description"] == "All of it"


def test_a_product_that_was_archived_is_sold_again(client: StripeAccount, stripe_double: StripeDouble) -> None:
    made, _ = client.ensure_product(None, "Pro", "", TAGS, "op-1")
    stripe_double.put(made["id"], active=False)
    found, changed = client.ensure_product(made["id"], "Pro", "", TAGS, "op-2")
    assert (found["active"], changed) == (True, True)


def test_a_product_is_taken_from_sale_once(client: StripeAccount) -> None:
    made, _ = client.ensure_product(None, "Pro", "", TAGS, "op-1")
    assert [client.archive_product(made["id"]) for _ in range(2)] == [True, False]
    assert not client.archive_product("prod_gone")
    found = client.fetch("product", made["id"])
    assert found
    assert not found["active"]


def test_a_product_that_is_gone_is_made_anew(client: StripeAccount) -> None:
    made, changed = client.ensure_product("prod_gone", "Pro", "", TAGS, "op-1")
    assert changed
    assert client.fetch("product", made["id"]) == made


def test_a_price_that_is_met_is_left_alone(client: StripeAccount, stripe_double: StripeDouble) -> None:
    made = on_sale(client)
    before = len(stripe_double.requests)
    found, changed = client.ensure_price(Price("dumacle:pro", made["product"], 900, "eur", "month", TAGS), "op-2")
    assert (found["id"], changed) == (made["id"], False)
    assert not [said for said in stripe_double.requests[before:] if said.startswith("POST")]


@pytest.mark.parametrize(("amount", "interval"), [(1000, "month"), (900, "year")])
def test_another_amount_or_interval_is_a_new_price(client: StripeAccount, amount: int, interval: str) -> None:
    old = on_sale(client)
    wanted = Price("dumacle:pro", old["product"], amount, "eur", interval, TAGS)
    new = sell(client, wanted, "op-2")
    archived = client.fetch("price", old["id"])
    assert new["id"] != old["id"]
    assert archived
    assert (archived["active"], archived["lookup_key"]) == (False, None)
    found = client.price("dumacle:pro")
    assert found
    assert found | new == found
    product = client.fetch("product", old["product"])
    assert product
    assert product["default_price"] == new["id"]
    assert not client.sell_only(wanted, new["id"], product)


def test_a_price_that_was_archived_is_sold_again(client: StripeAccount, stripe_double: StripeDouble) -> None:
    made = on_sale(client)
    stripe_double.put(made["id"], active=False)
    found, changed = client.ensure_price(Price("dumacle:pro", made["product"], 900, "eur", "month", TAGS), "op-2")
    assert (found["id"], found["active"], changed) == (made["id"], True, True)


def test_an_old_price_left_by_a_fault_is_archived_by_the_next_run(
    client: StripeAccount, stripe_double: StripeDouble
) -> None:
    old = on_sale(client)
    wanted = Price("dumacle:pro", old["product"], 1000, "eur", "month", TAGS)
    stripe_double.fail(f"POST /v1/prices/{old['id']}", 500)
    with pytest.raises(StripeUnavailable):
        sell(client, wanted, "op-2")
    assert stripe_double.get(old["id"])["active"]
    sell(client, wanted, "op-3")
    assert not stripe_double.get(old["id"])["active"]


def test_prices_of_others_stay_on_sale(client: StripeAccount, stripe_double: StripeDouble) -> None:
    old = on_sale(client)
    stripe_double.put(old["id"], metadata={"app": "another"})
    sell(client, Price("dumacle:pro", old["product"], 1000, "eur", "month", TAGS), "op-2")
    assert stripe_double.get(old["id"])["active"]


# Who pays


def test_a_checkout_that_is_paid_becomes_a_subscription_with_its_tags(
    client: StripeAccount, stripe_double: StripeDouble
) -> None:
    price, buyer = on_sale(client), client.create_customer("ada@example.com", "", {}, "ada")
    session = client.checkout(buyer["id"], price["id"], "https://example.com/a", "https://example.com/b", TAGS, "op")
    assert session["url"].startswith("https://checkout.stripe.com/")
    stripe_double.complete(session["id"])
    found = client.fetch("checkout.session", session["id"])
    assert found
    subscription = client.fetch("subscription", found["subscription"])
    assert subscription
    assert (subscription["status"], subscription["metadata"]) == ("active", TAGS)


def test_a_customer_with_a_card_is_subscribed_directly(client: StripeAccount, stripe_double: StripeDouble) -> None:
    made = client.subscribe(customer(client, stripe_double), on_sale(client)["id"], TAGS, "op")
    assert (made["status"], made["metadata"]) == ("active", TAGS)
    assert client.fetch("subscription", made["id"]) == made


@pytest.mark.parametrize("card", [False, True])
def test_who_cannot_pay_is_not_subscribed(client: StripeAccount, stripe_double: StripeDouble, card: bool) -> None:
    price, buyer = on_sale(client), client.create_customer("ada@example.com", "", {}, "ada")["id"]
    stripe_double.decline(buyer)
    if card:
        stripe_double.add_card(buyer)
    with pytest.raises(StripeRefused, match="declined" if card else "no attached payment source"):
        client.subscribe(buyer, price["id"], TAGS, "op")
    assert stripe_double.all("subscription") == []


def test_a_subscription_moves_to_another_price(client: StripeAccount, stripe_double: StripeDouble) -> None:
    cheap, dear = on_sale(client), on_sale(client, 2000, "dumacle:max")
    made = client.subscribe(customer(client, stripe_double), cheap["id"], TAGS, "op")
    moved = client.change(made["id"], repriced(made, dear), "op-2")
    assert [item["price"]["id"] for item in moved["items"]["data"]] == [dear["id"]]
    assert moved["items"]["data"][0]["id"] == made["items"]["data"][0]["id"]


def test_a_change_that_cannot_be_paid_changes_nothing(client: StripeAccount, stripe_double: StripeDouble) -> None:
    monthly, yearly = on_sale(client), on_sale(client, 9000, "dumacle:year", "year")
    buyer = customer(client, stripe_double)
    made = client.subscribe(buyer, monthly["id"], TAGS, "op")
    stripe_double.decline(buyer)
    with pytest.raises(StripeRefused, match="declined"):
        client.change(made["id"], repriced(made, yearly), "op-2")
    assert client.fetch("subscription", made["id"]) == made


def test_a_subscription_ends_with_its_period_or_now(client: StripeAccount, stripe_double: StripeDouble) -> None:
    made = client.subscribe(customer(client, stripe_double), on_sale(client)["id"], TAGS, "op")
    later = client.cancel(made["id"], now=False)
    assert (later["status"], later["cancel_at_period_end"]) == ("active", True)
    assert client.cancel(made["id"], now=True)["status"] == "canceled"
    found = client.fetch("subscription", made["id"])
    assert found
    assert found["ended_at"] == stripe_double.now


def test_the_portal_has_a_page(client: StripeAccount, stripe_double: StripeDouble) -> None:
    page = client.portal(customer(client, stripe_double), "https://example.com/", "op")
    assert page["url"].startswith("https://billing.stripe.com/")
    assert page["return_url"] == "https://example.com/"


def test_all_subscriptions_are_listed_over_pages(client: StripeAccount, stripe_double: StripeDouble) -> None:
    price, other = on_sale(client), on_sale(client, 100, "dumacle:other")
    buyer = customer(client, stripe_double)
    with stripe_double.lock:
        account = stripe_double.account
        made = [account.subscribe(account.objects[buyer], account.objects[price["id"]], {}, "") for _ in range(205)]
    stripe_double.cancel(made[0]["id"])
    last = client.subscribe(customer(client, stripe_double, "bob@example.com"), other["id"], {}, "op")
    listed = [found["id"] for found in client.subscriptions(price=price["id"])]
    assert listed == [found["id"] for found in reversed(made)]
    assert [found["id"] for found in client.subscriptions()] == [last["id"], *listed]
    assert [found["id"] for found in client.subscriptions(last["customer"])] == [last["id"]]


@pytest.mark.parametrize("kind", sorted(stripe.KINDS))
def test_what_does_not_exist_is_none(client: StripeAccount, kind: str) -> None:
    assert client.fetch(kind, "none_of_ours") is None


def test_a_deleted_customer_is_none(client: StripeAccount, stripe_double: StripeDouble) -> None:
    buyer = customer(client, stripe_double)
    stripe_double.delete_customer(buyer)
    assert client.fetch("customer", buyer) is None


def test_every_object_can_be_written_as_json(client: StripeAccount, stripe_double: StripeDouble) -> None:
    made = client.subscribe(customer(client, stripe_double), on_sale(client)["id"], TAGS, "op")
    assert json.loads(json.dumps(client.fetch("invoice", made["latest_invoice"])))["status"] == "paid"
    assert json.loads(json.dumps(made)) == made


# Once


def test_the_same_operation_takes_effect_once(client: StripeAccount, stripe_double: StripeDouble) -> None:
    first = client.create_customer("ada@example.com", "Ada", {}, "op")
    assert client.create_customer("ada@example.com", "Ada", {}, "op") == first
    assert client.create_customer("ada@example.com", "Ada", {}, "op-2") != first
    assert len(stripe_double.all("customer")) == 2


def test_an_operation_with_other_arguments_is_another_request(
    client: StripeAccount, stripe_double: StripeDouble
) -> None:
    client.create_customer("ada@example.com", "Ada", {}, "op")
    assert client.create_customer("bob@example.com", "Bob", {}, "op")["email"] == "bob@example.com"


def test_a_lost_answer_is_had_again(client: StripeAccount, stripe_double: StripeDouble) -> None:
    price, buyer = on_sale(client), customer(client, stripe_double)
    stripe_double.fail("POST /v1/subscriptions", 500, after=True)
    with pytest.raises(StripeUnavailable):
        client.subscribe(buyer, price["id"], TAGS, "op")
    made = client.subscribe(buyer, price["id"], TAGS, "op")
    assert [found["id"] for found in stripe_double.all("subscription")] == [made["id"]]


# Faults


FAULTS: list[tuple[int, type[DumacleError]]] = [
    (400, StripeRefused),
    (401, StripeForbidden),
    (403, StripeForbidden),
    (409, StripeUnavailable),
    (429, StripeUnavailable),
    (500, StripeUnavailable),
    (503, StripeUnavailable),
]


@pytest.mark.parametrize(("status", "error"), FAULTS)
def test_every_fault_is_ours(
    client: StripeAccount, stripe_double: StripeDouble, status: int, error: type[DumacleError]
) -> None:
    calls: list[Callable[[], object]] = [
        lambda: client.fetch("customer", "cus_1"),
        lambda: client.create_customer("ada@example.com", "", {}, "op"),
        lambda: list(client.subscriptions()),
    ]
    stripe_double.fail("", status, times=len(calls))
    for call in calls:
        with pytest.raises(error) as caught:
            call()
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__
    assert stripe_double.all("customer") == []


def test_a_wrong_key_is_told_without_it(stripe_double: StripeDouble) -> None:
    client = StripeAccount("sk_test_wrong_and_secret", stripe_double.url)
    with pytest.raises(StripeForbidden) as caught:
        client.fetch("customer", "cus_1")
    client.close()
    assert "secret" not in str(caught.value)


def test_a_stripe_that_is_not_there_is_temporary() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    client = StripeAccount("sk_test_x", url)
    with pytest.raises(StripeUnavailable, match="no connection") as caught:
        client.fetch("customer", "cus_1")
    client.close()
    assert url not in str(caught.value)


def test_nothing_is_reported_to_stripe_beside_the_request(client: StripeAccount, stripe_double: StripeDouble) -> None:
    client.fetch("customer", "cus_1")
    client.fetch("customer", "cus_1")
    said = {name.lower(): value for name, value in stripe_double.api.headers.items()}
    assert "x-stripe-client-telemetry" not in said
    assert "telemetry_id" not in said["x-stripe-client-user-agent"]


@pytest.mark.parametrize(("key", "live"), [("sk_live_1", True), ("rk_live_1", True), ("sk_test_live_1", False)])
def test_the_key_tells_the_mode(key: str, live: bool) -> None:
    assert StripeAccount(key).livemode is live


# What is configured


def configured(folder: Path, **settings: str) -> Context:
    return Context(None, None, {"HOME": str(folder), **settings})


@pytest.mark.parametrize("name", ["DUMACLE_STRIPE_SECRET_KEY", "STRIPE_SECRET_KEY"])
def test_the_key_and_the_base_are_settings(stripe_double: StripeDouble, tmp_path: Path, name: str) -> None:
    context = configured(tmp_path, **{name: stripe_double.key, "DUMACLE_STRIPE_API_BASE": stripe_double.url + "/"})
    assert context.billing.fetch("customer", "cus_1") is None
    assert stripe_double.requests == ["GET /v1/customers/cus_1"]
    context.close()


def test_without_a_key_the_setting_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotConfigured) as caught:
        _ = configured(tmp_path).billing
    assert "stripe_secret_key" in caught.value.remedy


@pytest.mark.parametrize("name", ["DUMACLE_STRIPE_WEBHOOK_SECRETS", "STRIPE_WEBHOOK_SECRET"])
def test_there_may_be_several_secrets(tmp_path: Path, name: str) -> None:
    secrets = configured(tmp_path, **{name: "whsec_1, new=whsec_2"}).webhook_secrets()
    assert [(secret.value, secret.label) for secret in secrets] == [(b"whsec_1", "0447c67f"), (b"whsec_2", "new")]


def test_a_key_is_not_taken_for_a_secret_nor_shown(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue) as caught:
        configured(tmp_path, STRIPE_WEBHOOK_SECRET="whsec_1,sk_test_1").webhook_secrets()
    assert "sk_test_1" not in str(caught.value)


def test_without_a_secret_the_setting_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotConfigured) as caught:
        configured(tmp_path).webhook_secrets()
    assert "stripe_webhook_secrets" in caught.value.remedy

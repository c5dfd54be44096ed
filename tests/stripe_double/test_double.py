"""The double behaves as Stripe's documentation says: time, dunning, events, deliveries, keys and refusals."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import stripe
from stripe.params import PriceCreateParams

from dumacle_cli.clients.signatures import parse, parse_event, verify
from tests.stripe_double.account import DAY, Object
from tests.stripe_double.double import StripeDouble


@pytest.fixture
def api(stripe_double: StripeDouble) -> stripe.StripeClient:
    return stripe.StripeClient(stripe_double.key, base_addresses={"api": stripe_double.url})


@pytest.fixture
def price(stripe_double: StripeDouble) -> Object:
    account = stripe_double.account
    product = account.announce("product", name="Pro")
    return account.announce("price", product=product["id"], unit_amount=900)


@pytest.fixture
def buyer(stripe_double: StripeDouble) -> Object:
    made = stripe_double.account.announce("customer", email="ada@example.com")
    stripe_double.add_card(made["id"])
    return made


@pytest.fixture
def subscribed(stripe_double: StripeDouble, price: Object, buyer: Object) -> str:
    stripe_double.now = int(datetime(2027, 1, 31, 12, tzinfo=UTC).timestamp())
    made = stripe_double.account.subscribe(buyer, price, {}, "allow_incomplete")
    return str(made["id"])


def end(double: StripeDouble, subscription: str) -> datetime:
    item = double.get(subscription)["items"]["data"][0]
    return datetime.fromtimestamp(item["current_period_end"], UTC)


def events(double: StripeDouble) -> list[str]:
    return [event["type"] for event in double.all("event")]


# Time


def test_periods_are_counted_from_the_anchor(stripe_double: StripeDouble, subscribed: str) -> None:
    ends = []
    for _ in range(3):
        ends.append(end(stripe_double, subscribed))
        stripe_double.advance(days=31)
    assert [(found.month, found.day, found.hour) for found in ends] == [(2, 28, 12), (3, 31, 12), (4, 30, 12)]
    reasons = [invoice["billing_reason"] for invoice in stripe_double.all("invoice")]
    assert reasons == ["subscription_create", *["subscription_cycle"] * 3]


def test_months_that_pass_at_once_are_all_billed(stripe_double: StripeDouble, subscribed: str) -> None:
    stripe_double.advance(days=365)
    assert [invoice["status"] for invoice in stripe_double.all("invoice")] == ["paid"] * 13
    assert stripe_double.get(subscribed)["status"] == "active"


def test_a_subscription_that_was_cancelled_ends_with_its_period(stripe_double: StripeDouble, subscribed: str) -> None:
    stripe_double.put(subscribed, cancel_at_period_end=True)
    paid_until = end(stripe_double, subscribed)
    stripe_double.advance(days=60)
    found = stripe_double.get(subscribed)
    assert (found["status"], found["ended_at"]) == ("canceled", int(paid_until.timestamp()))
    assert events(stripe_double)[-1] == "customer.subscription.deleted"


@pytest.mark.parametrize("outcome", ["canceled", "unpaid", "past_due"])
def test_who_does_not_pay_is_dunned_to_the_end(
    stripe_double: StripeDouble, subscribed: str, buyer: Object, outcome: str
) -> None:
    stripe_double.after_dunning = outcome
    stripe_double.decline(buyer["id"])
    stripe_double.advance(days=29)
    assert stripe_double.get(subscribed)["status"] == "past_due"
    stripe_double.advance(days=15)
    assert stripe_double.get(subscribed)["status"] == outcome
    assert stripe_double.all("invoice")[-1]["attempt_count"] == 4


def test_who_pays_in_time_is_active_again(stripe_double: StripeDouble, subscribed: str, buyer: Object) -> None:
    stripe_double.decline(buyer["id"])
    stripe_double.advance(days=29)
    stripe_double.accept(buyer["id"])
    stripe_double.advance(days=3)
    assert stripe_double.get(subscribed)["status"] == "active"
    assert stripe_double.all("invoice")[-1]["status"] == "paid"


def test_a_first_payment_that_fails_is_incomplete_for_23_hours(
    stripe_double: StripeDouble, price: Object, buyer: Object
) -> None:
    stripe_double.decline(buyer["id"])
    made = stripe_double.account.subscribe(buyer, price, {}, "allow_incomplete")["id"]
    stripe_double.advance(hours=22)
    assert stripe_double.get(made)["status"] == "incomplete"
    stripe_double.advance(hours=1)
    assert stripe_double.get(made)["status"] == "incomplete_expired"


def test_a_first_payment_made_by_hand_activates(stripe_double: StripeDouble, price: Object, buyer: Object) -> None:
    stripe_double.decline(buyer["id"])
    made = stripe_double.account.subscribe(buyer, price, {}, "allow_incomplete")
    stripe_double.pay(made["latest_invoice"])
    assert stripe_double.get(made["id"])["status"] == "active"


def test_a_checkout_that_nobody_finishes_expires(
    stripe_double: StripeDouble, api: stripe.StripeClient, price: Object, buyer: Object
) -> None:
    session = api.v1.checkout.sessions.create(
        {
            "mode": "subscription",
            "customer": buyer["id"],
            "line_items": [{"price": price["id"], "quantity": 1}],
            "success_url": "https://example.com/",
        }
    )
    stripe_double.advance(hours=24)
    assert stripe_double.get(session.id)["status"] == "expired"
    with pytest.raises(ValueError, match="expired"):
        stripe_double.complete(session.id)


# Refusals


def test_an_amount_cannot_be_changed(api: stripe.StripeClient, price: Object) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="unknown parameter: unit_amount"):
        api.raw_request("post", f"/v1/prices/{price['id']}", unit_amount=1)


def test_a_price_has_several_currencies_and_a_customer_one(
    api: stripe.StripeClient, stripe_double: StripeDouble, price: Object, buyer: Object, subscribed: str
) -> None:
    given = {"product": price["product"], "unit_amount": 900, "currency": "eur", "recurring": {"interval": "month"}}
    several = api.v1.prices.create(given | {"currency_options": {"jpy": {"unit_amount": 1500}}}).to_dict()
    assert "currency_options" not in several
    shown = api.v1.prices.retrieve(several["id"], {"expand": ["currency_options"]}).to_dict()
    assert {code: each["unit_amount"] for code, each in shown["currency_options"].items()} == {"eur": 900, "jpy": 1500}
    wanted = {"customer": buyer["id"], "items": [{"price": several["id"]}]}
    for currency, said in (("jpy", "cannot combine currencies"), ("usd", "only supports `eur`")):
        with pytest.raises(stripe.InvalidRequestError, match=said):
            api.v1.subscriptions.create(wanted | {"currency": currency})
    stripe_double.cancel(subscribed)
    made = api.v1.subscriptions.create(wanted | {"currency": "jpy"}).to_dict()
    assert (made["currency"], made["items"]["data"][0]["price"]["currency"]) == ("jpy", "eur")
    assert stripe_double.all("invoice")[-1]["amount_paid"] == 1500


def test_a_lookup_key_is_taken_only_on_request(api: stripe.StripeClient, price: Object) -> None:
    wanted: PriceCreateParams = {
        "product": price["product"],
        "currency": "eur",
        "unit_amount": 1,
        "recurring": {"interval": "month"},
        "lookup_key": "pro",
    }
    first = api.v1.prices.create(wanted)
    with pytest.raises(stripe.InvalidRequestError, match="already uses that lookup key"):
        api.v1.prices.create(wanted)
    second = api.v1.prices.create({**wanted, "transfer_lookup_key": True})
    assert (api.v1.prices.retrieve(first.id).lookup_key, second.lookup_key) == (None, "pro")


def test_an_archived_price_is_not_sold(
    stripe_double: StripeDouble, api: stripe.StripeClient, price: Object, buyer: Object
) -> None:
    stripe_double.put(price["id"], active=False)
    with pytest.raises(stripe.InvalidRequestError, match="inactive"):
        api.v1.subscriptions.create({"customer": buyer["id"], "items": [{"price": price["id"]}]})


def test_what_has_ended_cannot_end_again(api: stripe.StripeClient, subscribed: str) -> None:
    api.v1.subscriptions.cancel(subscribed)
    with pytest.raises(stripe.InvalidRequestError, match="No such subscription"):
        api.v1.subscriptions.cancel(subscribed)
    assert api.v1.subscriptions.retrieve(subscribed).status == "canceled"


def test_an_idempotency_key_is_for_one_request_and_a_day(stripe_double: StripeDouble, api: stripe.StripeClient) -> None:
    first = api.v1.customers.create({"email": "a@example.com"}, {"idempotency_key": "k"})
    assert api.v1.customers.create({"email": "a@example.com"}, {"idempotency_key": "k"}).id == first.id
    with pytest.raises(stripe.IdempotencyError):
        api.v1.customers.create({"email": "b@example.com"}, {"idempotency_key": "k"})
    stripe_double.advance(days=1)
    assert api.v1.customers.create({"email": "b@example.com"}, {"idempotency_key": "k"}).id != first.id


def test_lists_page_both_ways(stripe_double: StripeDouble, api: stripe.StripeClient) -> None:
    for number in range(5):
        api.v1.customers.create({"email": f"{number}@example.com"})
    forth = [found.id for found in api.v1.events.list({"limit": 2}).auto_paging_iter()]
    oldest = forth[-1]
    back = [found.id for found in api.v1.events.list({"limit": 2, "ending_before": oldest}).auto_paging_iter()]
    assert forth == [event["id"] for event in reversed(stripe_double.all("event"))]
    assert back == list(reversed(forth[:-1]))


# Deliveries


class Listener(BaseHTTPRequestHandler):
    answers: list[int]
    got: list[tuple[bytes, bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.got.append((body, self.headers["Stripe-Signature"].encode()))
        self.send_response(self.answers.pop(0) if self.answers else 200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def listener(stripe_double: StripeDouble) -> Iterator[type[Listener]]:
    class Mine(Listener):
        answers, got = [], []

    with HTTPServer(("127.0.0.1", 0), Mine) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        stripe_double.webhook = f"http://127.0.0.1:{server.server_port}/webhooks/stripe"
        yield Mine
        server.shutdown()
        thread.join()


def ids(double: StripeDouble, got: list[tuple[bytes, bytes]]) -> list[str]:
    for body, header in got:
        verify(body, header, parse(double.secret), double.now)
    return [parse_event(body)["id"] for body, _ in got]


def test_deliveries_are_signed_and_in_order(
    stripe_double: StripeDouble, price: Object, listener: type[Listener]
) -> None:
    assert stripe_double.deliver() == [200, 200]
    assert ids(stripe_double, listener.got) == [event["id"] for event in stripe_double.all("event")]
    assert stripe_double.deliver() == []


def test_what_was_not_taken_is_delivered_again(
    stripe_double: StripeDouble, price: Object, listener: type[Listener]
) -> None:
    listener.answers.extend([503, 302])
    assert stripe_double.deliver() == [503, 302]
    assert stripe_double.deliver() == [200, 200]
    got = ids(stripe_double, listener.got)
    assert got[:2] == got[2:]


def test_nobody_there_is_an_answer_too(stripe_double: StripeDouble, price: Object) -> None:
    stripe_double.webhook = stripe_double.url.replace("http://127.0.0.1:", "http://127.0.0.2:")
    assert stripe_double.deliver() == [0, 0]
    assert len(stripe_double.take()) == 2


def test_deliveries_are_lost_doubled_late_and_shuffled(stripe_double: StripeDouble, subscribed: str) -> None:
    every = [event["id"] for event in stripe_double.account.queue if event["type"] != "invoice.created"]
    stripe_double.drop()
    stripe_double.lag()
    stripe_double.duplicate(3)
    before = list(stripe_double.account.queue)
    stripe_double.shuffle(1)
    assert stripe_double.account.queue != before
    got = [delivery.event for delivery in stripe_double.take()]
    assert sorted(got) == sorted(every[2:] * 3)
    assert [delivery.event for delivery in stripe_double.take()] == [every[1]]
    assert stripe_double.take() == []


def test_an_event_is_sent_again_on_request(
    stripe_double: StripeDouble, api: stripe.StripeClient, price: Object
) -> None:
    first = stripe_double.take()[0]
    api.raw_request("post", f"/v1/events/{first.event}/retry", webhook_endpoint="we_1")
    assert [delivery.event for delivery in stripe_double.take()] == [first.event]


def test_thin_events_lead_to_their_object(
    stripe_double: StripeDouble, api: stripe.StripeClient, subscribed: str
) -> None:
    stripe_double.take()
    stripe_double.put(subscribed, cancel_at_period_end=True)
    stripe_double.thin = True
    [delivery] = stripe_double.take()
    notice = api.parse_event_notification(delivery.body, delivery.header.decode(), stripe_double.secret)
    assert notice.type == "v1.customer.subscription.updated"
    assert notice.fetch_related_object().id == subscribed


def test_a_snapshot_does_not_change_any_more(stripe_double: StripeDouble, subscribed: str) -> None:
    created = next(event for event in stripe_double.all("event") if event["type"] == "customer.subscription.created")
    assert created["data"]["object"]["status"] == "incomplete"
    assert stripe_double.get(subscribed)["status"] == "active"


def test_events_are_listed_for_30_days(
    stripe_double: StripeDouble, api: stripe.StripeClient, price: Object, listener: type[Listener]
) -> None:
    stripe_double.deliver()
    failed = stripe_double.emit("price.updated", price)
    listed = api.v1.events.list({"delivery_success": False})
    assert [event.id for event in listed] == [failed["id"]]
    stripe_double.now += 30 * DAY
    assert not list(api.v1.events.list())


# Items, schedules, payments


def item_of(double: StripeDouble, subscription: str) -> Object:
    found: Object = double.get(subscription)["items"]["data"][0]
    return found


def dearer(double: StripeDouble, price: Object, **fields: object) -> Object:
    return double.account.announce("price", product=price["product"], **({"unit_amount": 1800} | fields))


def test_another_price_forgets_the_quantity(
    stripe_double: StripeDouble, api: stripe.StripeClient, price: Object, subscribed: str
) -> None:
    item, other = item_of(stripe_double, subscribed)["id"], dearer(stripe_double, price)["id"]
    api.v1.subscriptions.update(subscribed, {"items": [{"id": item, "price": price["id"], "quantity": 3}]})
    assert item_of(stripe_double, subscribed)["quantity"] == 3
    api.v1.subscriptions.update(subscribed, {"items": [{"id": item, "price": other}]})
    assert item_of(stripe_double, subscribed)["quantity"] == 1


def test_a_price_is_in_a_subscription_once(
    stripe_double: StripeDouble, api: stripe.StripeClient, price: Object, subscribed: str
) -> None:
    other = dearer(stripe_double, price)
    stripe_double.add_item(subscribed, other)
    item = item_of(stripe_double, subscribed)["id"]
    with pytest.raises(stripe.InvalidRequestError, match="multiple subscription items"):
        api.v1.subscriptions.update(subscribed, {"items": [{"id": item, "price": other["id"]}]})
    dollars = dearer(stripe_double, price, currency="chf")
    with pytest.raises(stripe.InvalidRequestError, match="currency"):
        api.v1.subscriptions.update(subscribed, {"items": [{"id": item, "price": dollars["id"]}]})


def test_a_change_is_prorated_on_the_next_invoice(
    stripe_double: StripeDouble, api: stripe.StripeClient, price: Object, subscribed: str
) -> None:
    stripe_double.advance(days=14)
    item = item_of(stripe_double, subscribed)["id"]
    api.v1.subscriptions.update(subscribed, {"items": [{"id": item, "price": dearer(stripe_double, price)["id"]}]})
    assert len(stripe_double.all("invoice")) == 1
    stripe_double.advance(days=15)
    # Half of the month at 9.00 back, half at 18.00, and the next month.
    assert stripe_double.all("invoice")[-1]["amount_paid"] == -450 + 900 + 1800


def test_a_preview_changes_nothing(
    stripe_double: StripeDouble, api: stripe.StripeClient, price: Object, subscribed: str
) -> None:
    before = stripe_double.get(subscribed), len(stripe_double.all("invoice"))
    item = item_of(stripe_double, subscribed)["id"]
    details = {"items": [{"id": item, "price": dearer(stripe_double, price)["id"]}]}
    shown = api.v1.invoices.create_preview({"subscription": subscribed, "subscription_details": details})  # type: ignore[typeddict-item]
    assert [line.amount for line in shown.lines.data] == [-900, 1800, 1800]
    assert (stripe_double.get(subscribed), len(stripe_double.all("invoice"))) == before


def test_a_date_ends_a_subscription(stripe_double: StripeDouble, api: stripe.StripeClient, subscribed: str) -> None:
    stripe_double.cancel_in_portal(subscribed)
    found = stripe_double.get(subscribed)
    assert (found["cancel_at_period_end"], found["cancel_at"]) == (
        False,
        int(end(stripe_double, subscribed).timestamp()),
    )
    with pytest.raises(stripe.InvalidRequestError, match="only specify one"):
        api.v1.subscriptions.update(subscribed, {"cancel_at": "", "cancel_at_period_end": False})
    api.v1.subscriptions.update(subscribed, {"cancel_at": ""})
    assert stripe_double.get(subscribed)["cancel_at"] is None
    api.v1.subscriptions.update(subscribed, {"cancel_at": "max_period_end"})
    stripe_double.advance(days=60)
    assert stripe_double.get(subscribed)["ended_at"] == found["cancel_at"]


def test_a_schedule_changes_the_price_with_its_phase(
    stripe_double: StripeDouble, api: stripe.StripeClient, price: Object, subscribed: str
) -> None:
    other = dearer(stripe_double, price)["id"]
    made = api.v1.subscription_schedules.create({"from_subscription": subscribed})
    now = {"start_date": made.phases[0].start_date, "end_date": made.phases[0].end_date}
    phases = [
        {**now, "items": [{"price": price["id"], "quantity": 1}]},
        {"duration": {"interval": "month"}, "items": [{"price": other, "quantity": 1}]},
    ]
    api.v1.subscription_schedules.update(made.id, {"phases": phases})  # type: ignore[typeddict-item]
    with pytest.raises(stripe.InvalidRequestError, match="managed by the subscription schedule"):
        api.v1.subscriptions.update(subscribed, {"cancel_at_period_end": True})
    with pytest.raises(stripe.InvalidRequestError, match="already attached"):
        api.v1.subscription_schedules.create({"from_subscription": subscribed})
    shown = api.v1.subscriptions.retrieve(subscribed, {"expand": ["schedule"]})
    assert isinstance(shown.schedule, stripe.SubscriptionSchedule)
    stripe_double.advance(days=29)
    assert item_of(stripe_double, subscribed)["price"]["id"] == other
    api.v1.subscription_schedules.release(made.id)
    assert stripe_double.get(subscribed)["schedule"] is None
    with pytest.raises(stripe.InvalidRequestError, match="released"):
        api.v1.subscription_schedules.release(made.id)


def test_paused_collection_takes_no_money(
    stripe_double: StripeDouble, api: stripe.StripeClient, subscribed: str
) -> None:
    api.v1.subscriptions.update(subscribed, {"pause_collection": {"behavior": "void"}})
    stripe_double.advance(days=30)
    assert [invoice["status"] for invoice in stripe_double.all("invoice")] == ["paid", "void"]
    assert stripe_double.get(subscribed)["status"] == "active"
    api.v1.subscriptions.update(subscribed, {"pause_collection": ""})
    stripe_double.advance(days=31)
    assert stripe_double.all("invoice")[-1]["status"] == "paid"


def test_no_more_is_refunded_than_was_paid(
    stripe_double: StripeDouble, api: stripe.StripeClient, subscribed: str
) -> None:
    (payment,) = api.v1.invoice_payments.list({"invoice": stripe_double.get(subscribed)["latest_invoice"]}).data
    intent = str(payment.payment.payment_intent)
    api.v1.refunds.create({"payment_intent": intent, "amount": 400})
    with pytest.raises(stripe.InvalidRequestError, match="greater than unrefunded"):
        api.v1.refunds.create({"payment_intent": intent, "amount": 501})
    assert api.v1.refunds.create({"payment_intent": intent}).amount == 500
    assert len(api.v1.refunds.list({"payment_intent": intent}).data) == 2

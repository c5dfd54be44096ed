"""A stand-in for Stripe on this machine: its API on loopback, the customer's side of it, and its deliveries."""

import http.client
import json
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import stripe
import uvicorn
from sqlalchemy.orm import Session
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dumacle_cli.clients import signatures
from dumacle_cli.clients.stripe import StripeAccount
from dumacle_cli.services.billing import inbox
from dumacle_cli.services.billing.objects import tags
from tests.stripe_double import routes
from tests.stripe_double.account import DAY, HOUR, Account, Object, Refused
from tests.stripe_double.api import Api, Fault

UNWANTED = ("invoice.created",)


@dataclass(frozen=True)
class Delivery:
    """What Stripe posts to a webhook: the event's id, the body, and its Stripe-Signature header."""

    event: str
    body: bytes
    header: bytes


class StripeDouble:
    """One account at a Stripe of our own, and what its customers, its operator and the network do to it."""

    key = "sk_test_double_0123456789"
    secret = "whsec_double_0123456789"

    def __init__(self, url: str) -> None:
        self.url = url
        self.lock = threading.RLock()
        self.account = Account(int(time.time()))
        self.api = Api(self.account, self.key)
        self.webhook = ""
        self.thin = False
        self._late: list[Object] = []

    @property
    def settings(self) -> dict[str, str]:
        """The environment that points the program to this double."""
        return {
            "DUMACLE_STRIPE_SECRET_KEY": self.key,
            "DUMACLE_STRIPE_API_BASE": self.url,
            "DUMACLE_STRIPE_WEBHOOK_SECRETS": self.secret,
            "DUMACLE_CHECKOUT_SUCCESS_URL": "https://example.com/thanks",
            "DUMACLE_CHECKOUT_CANCEL_URL": "https://example.com/plans",
            "DUMACLE_PORTAL_RETURN_URL": "https://example.com/account",
        }

    def billing(self) -> StripeAccount:
        """Return a client of this double."""
        return StripeAccount(self.key, self.url)

    @property
    def requests(self) -> list[str]:
        """The requests so far, as `METHOD /path`."""
        return self.api.requests

    def go_live(self) -> None:
        """Be the account in live mode: its key and its objects are live ones."""
        self.key = self.api.key = "sk_live_double_0123456789"
        self.account.livemode = True

    def begin_again(self, at: int, objects: dict[str, Object]) -> None:
        """Be the same account at a time, with nothing but these objects."""
        with self.lock:
            before, self.account = self.account, Account(at)
            self.account.id, self.account.objects = before.id, _copy(objects)
            self.api, self._late = Api(self.account, self.key), []

    # Time

    @property
    def now(self) -> int:
        """The time of this Stripe, in seconds since 1970 (UTC)."""
        return self.account.now

    @now.setter
    def now(self, at: int) -> None:
        self.account.now = at

    def advance(self, *, days: int = 0, hours: int = 0) -> None:
        """Let time pass: what falls due on the way is done."""
        with self.lock:
            self.account.advance(self.now + days * DAY + hours * HOUR)

    # What is there

    def get(self, object_id: str) -> Object:
        """Return an object as it is now."""
        with self.lock:
            return _copy(self.account.objects[object_id])

    def all(self, kind: str) -> list[Object]:
        """Return the objects of a kind (`subscription`, `event`, ...), the oldest first."""
        with self.lock:
            return [_copy(found) for found in self.account.all(kind)]

    def plant_endpoint(self, session: Session) -> None:
        """Create the webhook endpoint of an installation, whose secret its listeners know."""
        (secret,) = signatures.parse(self.secret)
        metadata = tags("dumacle", fingerprint=secret.fingerprint)
        url, events = "https://example.com/webhooks/stripe", list(inbox.DELIVERED)
        self.account.make("webhook_endpoint", url=url, enabled_events=events, metadata=metadata)
        inbox.note_secrets(session, [secret])

    # Customers, banks and people at Stripe's dashboard

    def complete(self, session: str, currency: str = "") -> Object:
        """Let the customer pay on the page of a checkout, in this currency if it is said; return the subscription."""
        with self.lock:
            return _copy(self.account.complete(self.account.objects[session], currency))

    def add_card(self, customer: str) -> None:
        """Give a customer a payment method."""
        with self.lock:
            self.account.objects[customer]["invoice_settings"]["default_payment_method"] = "pm_double"

    def decline(self, customer: str) -> None:
        """From now on the customer's bank refuses."""
        self.account.declined.add(customer)

    def accept(self, customer: str) -> None:
        """From now on the customer's bank pays again."""
        self.account.declined.discard(customer)

    @property
    def after_dunning(self) -> str:
        """What becomes of a subscription that was not paid in the end: canceled, unpaid or past_due."""
        return self.account.after_dunning

    @after_dunning.setter
    def after_dunning(self, status: str) -> None:
        self.account.after_dunning = status

    def pay(self, invoice: str) -> None:
        """Let the customer pay an open invoice by hand."""
        with self.lock:
            self.account.pay(self.account.objects[invoice])

    def put(self, object_id: str, **fields: Any) -> Object:
        """Change fields of an object at Stripe's dashboard, which makes its event."""
        with self.lock:
            return _copy(self.account.edit(self.account.objects[object_id], **fields))

    def cancel(self, subscription: str) -> Object:
        """End a subscription now."""
        with self.lock:
            return _copy(self.account.end(self.account.objects[subscription]))

    def add_item(self, subscription: str, price: Object, quantity: int = 1, *, first: bool = False) -> None:
        """Add an item to a subscription at Stripe's dashboard, after the others or before them."""
        with self.lock:
            found = self.account.objects[subscription]
            made, data = self.account.item(found, price, quantity), found["items"]["data"]
            data = [made, *data] if first else [*data, made]
            self.account.edit(found, items={**found["items"], "data": data})

    def cancel_in_portal(self, subscription: str) -> None:
        """Let the customer cancel in the portal: in flexible billing it writes the date, and leaves the flag alone."""
        with self.lock:
            found = self.account.objects[subscription]
            end = max(item["current_period_end"] for item in found["items"]["data"])
            self.account.edit(found, cancel_at=end, canceled_at=self.now)

    def switch_in_portal(self, subscription: str, price: Object) -> None:
        """Let the customer change to another price now, if the bank pays what is due at once."""
        with self.lock, suppress(Refused):
            found = self.account.objects[subscription]
            item = found["items"]["data"][0]
            self.account.switch(found, item["id"], price, item["quantity"], "error_if_incomplete")

    def schedule(self, subscription: str, price: Object | None = None) -> Object:
        """Let a schedule manage a subscription, as after a downgrade in the portal to another price."""
        with self.lock:
            found = self.account.objects[subscription]
            made = self.account.schedule(found)
            if price:
                now = made["phases"][0]
                items = [{**now["items"][0], "price": price["id"]}, *now["items"][1:]]
                span = {"start_date": now["end_date"], "end_date": now["end_date"] + 31 * DAY}
                made["phases"].append({**now, **span, "items": items})
            return _copy(made)

    def subscribe(self, customer: str, price: Object) -> Object:
        """Subscribe a customer at the dashboard, where nobody writes metadata."""
        with self.lock:
            found = self.account.objects[customer]
            return _copy(self.account.subscribe(found, price, {}, "allow_incomplete"))

    def delete_customer(self, customer: str) -> None:
        """Delete a customer, whose subscriptions end."""
        with self.lock:
            routes.delete_customer(self.account, customer)

    def emit(self, kind: str, found: Object) -> Object:
        """Make any event about any object."""
        with self.lock:
            return _copy(self.account.emit(kind, found))

    # Faults

    def fail(self, route: str, status: int, times: int = 1, *, after: bool = False, first: int = 0) -> None:
        """Answer requests that begin with `METHOD /path` with a status, `after` they took effect; not the `first`."""
        self.api.faults.append(Fault(route, status, times, after, first))

    def drop(self, number: int = 1) -> None:
        """Lose the oldest deliveries."""
        del self.account.queue[:number]

    def duplicate(self, times: int = 2) -> None:
        """Deliver each event that waits so many times."""
        self.account.queue[:] = [event for event in self.account.queue for _ in range(times)]

    def shuffle(self, seed: int) -> None:
        """Deliver in another order."""
        random.Random(seed).shuffle(self.account.queue)

    def lag(self, number: int = 1) -> None:
        """Hold the oldest deliveries back until those after them have been made."""
        self._late += self.account.queue[:number]
        del self.account.queue[:number]

    # Deliveries

    def take(self) -> list[Delivery]:
        """Empty the queue, and return what would be posted."""
        with self.lock:
            events = [event for event in self.account.queue if event["type"] not in UNWANTED]
            self.account.queue[:], self._late = self._late, []
        return [self._sealed(event) for event in events]

    def deliver(self) -> list[int]:
        """Post the queue to the webhook in order and return the answers, 0 for none; what was not 2xx is kept."""
        answers = []
        for delivery in self.take():
            answers.append(_post(self.webhook, delivery))
            event = self.account.objects[delivery.event]
            if 200 <= answers[-1] < 300:
                event["pending_webhooks"] = 0
            else:
                self.account.queue.append(event)
        return answers

    def _sealed(self, event: Object) -> Delivery:
        body = json.dumps(_thin(event) if self.thin else event).encode()
        return Delivery(event["id"], body, sign(body, self.secret))


def sign(body: bytes, secret: str, at: int | None = None) -> bytes:
    """Return the Stripe-Signature header of a body at a time (seconds since 1970), or now."""
    return str(stripe.WebhookSignature.generate_signature_header(body.decode(), secret, at)).encode()


def _copy(found: Object) -> Object:
    copied: Object = json.loads(json.dumps(found))
    return copied


def _thin(event: Object) -> Object:
    """Return the notice without a snapshot: what happened to which object."""
    found = event["data"]["object"]
    path = found["object"].replace(".", "/")
    return {
        "id": event["id"],
        "object": "v2.core.event",
        "type": f"v1.{event['type']}",
        "created": time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(event["created"])),
        "livemode": event["livemode"],
        "related_object": {"id": found["id"], "type": found["object"], "url": f"/v1/{path}s/{found['id']}"},
    }


def _post(url: str, delivery: Delivery) -> int:
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=10)
    headers = {"Content-Type": "application/json", "Stripe-Signature": delivery.header.decode()}
    try:
        connection.request("POST", place.path, delivery.body, headers)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


@contextmanager
def serving() -> Iterator[Callable[[], StripeDouble]]:
    """Serve on a free port of loopback until the block ends; what is yielded begins a new account and returns it."""
    # asyncio sets TCP_NODELAY only where the protocol is named; without it each answer takes 40 ms.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        served: list[StripeDouble] = []

        def fresh() -> StripeDouble:
            served[:] = [StripeDouble(url)]
            return served[0]

        server = uvicorn.Server(uvicorn.Config(_app(served), log_config=None, lifespan="off", ws="none"))
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        yield fresh
        server.should_exit = True
        thread.join()


def _app(served: list[StripeDouble]) -> Starlette:
    async def answer(request: Request) -> Response:
        text = (await request.body()).decode() or request.url.query
        double = served[0]
        with double.lock:
            given = double.api.answer(request.method, request.url.path, text, request.headers)
        return Response(given.body, given.status, given.headers, "application/json")

    return Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST", "DELETE"])])

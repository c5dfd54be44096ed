"""What others made of Stripe's API: localstripe, a Stripe that signs its own deliveries, and Stripe's official CLI.

`DUMACLE_TEST_LOCALSTRIPE` names a Python that has localstripe, `DUMACLE_TEST_STRIPE_CLI` the program `stripe`.
"""

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from dumacle_cli.clients.stripe import StripeAccount
from dumacle_cli.services.billing.objects import tags
from tests.conftest import Run
from tests.faults.test_listener import connected, listening
from tests.stripe_double.double import StripeDouble

__all__ = ["connected"]
pytestmark = pytest.mark.integration

KEY = "sk_test_localstripe"
JSON = ("-o", "json")
# localstripe binds every address, and writes all it knows to a file after each request.
SERVE = """
import socket, sys
from aiohttp import web
from localstripe import resources, server
resources.Store.dump_to_disk = lambda self: None
web.run_app(server.app, sock=socket.socket(fileno=int(sys.argv[1])), print=None)
"""
CARD = {"card[number]": "4242424242424242", "card[exp_month]": "12", "card[exp_year]": "2035", "card[cvc]": "123"}


class LocalStripe:
    """localstripe on this machine."""

    def __init__(self, url: str) -> None:
        self.url = url

    def post(self, path: str, **form: str) -> Any:
        """Send a request as Stripe's users do, and return the object."""
        request = urllib.request.Request(f"{self.url}{path}", urlencode(form).encode())
        request.add_header("Authorization", f"Bearer {KEY}")
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.loads(answer.read() or b"{}")

    def subscribe(self, customer: str) -> str:
        """Subscribe a customer who pays by card; return the subscription's id."""
        method = self.post("/v1/payment_methods", type="card", **CARD)["id"]
        self.post(f"/v1/payment_methods/{method}/attach", customer=customer)
        self.post(f"/v1/customers/{customer}", **{"invoice_settings[default_payment_method]": method})
        plan = {"id": "pro", "amount": "900", "currency": "eur", "interval": "month", "product[name]": "pro"}
        self.post("/v1/plans", **plan)
        return str(self.post("/v1/subscriptions", customer=customer, **{"items[0][plan]": "pro"})["id"])


@pytest.fixture
def localstripe(tmp_path: Path) -> Iterator[LocalStripe]:
    """A localstripe that ends with the test."""
    python = os.environ.get("DUMACLE_TEST_LOCALSTRIPE")
    if python is None:
        pytest.skip("localstripe is not on this machine")
    with socket.create_server(("127.0.0.1", 0)) as listening_socket:
        number = listening_socket.fileno()
        command = [python, "-c", SERVE, str(number)]
        process = subprocess.Popen(command, pass_fds=[number], cwd=tmp_path, stderr=subprocess.DEVNULL)
        try:
            yield LocalStripe(f"http://127.0.0.1:{listening_socket.getsockname()[1]}")
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def cli(tmp_path: Path, stripe_double: StripeDouble) -> Callable[..., Any]:
    """Stripe's official CLI at the double; what it prints is returned."""
    program = os.environ.get("DUMACLE_TEST_STRIPE_CLI") or shutil.which("stripe")
    if program is None:
        pytest.skip("stripe is not on this machine")
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "STRIPE_API_KEY": stripe_double.key}
    environment["STRIPE_CLI_TELEMETRY_OPTOUT"] = "1"

    def call(*argv: str) -> Any:
        command = [program, *argv, "--api-base", stripe_double.url]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return call


def test_deliveries_that_localstripe_signed_are_received(
    localstripe: LocalStripe, connected: StripeDouble, run: Run
) -> None:
    with closing(StripeAccount(KEY, localstripe.url)) as account, listening() as listener:
        localstripe.post("/_config/webhooks/ours", url=listener.url, secret=connected.secret)
        made = account.create_customer("ada@example.com", "Ada", tags("dumacle", user="1"), "first")
        account.update_customer(made["id"], "ada@example.org", "Ada L.")
        found = account.fetch("customer", made["id"])
        assert found
        assert (found["email"], found["name"]) == ("ada@example.org", "Ada L.")
        assert [each["id"] for each in account.customers()] == [made["id"]]
        subscription = localstripe.subscribe(made["id"])
        events = received(run, "customer.subscription.created")
    assert events["customer.subscription.created"]["object_id"] == subscription
    assert events["customer.subscription.created"]["status"] == "received"
    assert events["customer.created"]["status"] == "ignored"


def received(run: Run, last: str) -> dict[str, Any]:
    """Return the events of the inbox by type, once the last one has arrived; localstripe sends each after a second."""
    until = time.monotonic() + 60
    while True:
        events = {each["type"]: each for each in run("webhooks", "events", "list", *JSON).data}
        if last in events or time.monotonic() > until:
            return events
        time.sleep(0.1)


def test_what_is_sold_is_read_by_the_official_cli(cli: Callable[..., Any], connected: StripeDouble, run: Run) -> None:
    run("plans", "create", "pro", "--price", "9.00", "--storage", "1GiB", "--upload", "1GiB")
    (pushed,) = run("plans", "push", *JSON).data
    price = cli("prices", "retrieve", pushed["price_id"])
    assert (price["unit_amount"], price["currency"], price["product"]) == (900, "eur", pushed["product_id"])
    listed = cli("prices", "list", "--limit", "5")["data"]
    assert [each["lookup_key"] for each in listed] == ["dumacle:pro"]


def test_an_event_that_the_official_cli_resends_is_delivered_again(
    cli: Callable[..., Any], connected: StripeDouble, run: Run
) -> None:
    customer = cli("customers", "create", "--email", "ada@example.com")
    (event,) = connected.all("event")
    endpoint = connected.account.make("webhook_endpoint", url="https://example.com", enabled_events=["*"])
    with listening() as listener:
        connected.webhook = listener.url
        assert connected.deliver() == [200]
        assert cli("events", "resend", event["id"], "--webhook-endpoint", endpoint["id"])["id"] == event["id"]
        assert connected.deliver() == [200]
    (shown,) = run("webhooks", "events", "list", *JSON).data
    assert (shown["id"], shown["deliveries"]) == (event["id"], 2)
    assert connected.get(customer["id"])["email"] == "ada@example.com"

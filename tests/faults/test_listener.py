"""A real `dumacle webhooks serve`, strangers who know its address, and a database that goes away."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from dumacle_cli import private
from dumacle_cli.services.billing import BillingContext, apply
from dumacle_cli.services.billing.objects import tags
from dumacle_cli.store.database import Database
from tests.conftest import Run
from tests.factories import make_plan, make_user
from tests.faults.proxy import Proxy, proxied
from tests.stripe_double.double import StripeDouble, sign

pytestmark = pytest.mark.integration

PATH = "/webhooks/stripe"
PRIVATE = "her private address"
EVENT = {
    "id": "evt_1",
    "object": "event",
    "type": "customer.subscription.updated",
    "created": 1_780_000_000,
    "livemode": False,
    "data": {"object": {"id": "sub_1", "object": "subscription", "note": PRIVATE}},
}


class Listener:
    """A process that listens; its standard error is read as it comes."""

    def __init__(self, *argv: str, before: str = "pass") -> None:
        run = f"{before}\nfrom dumacle_cli.__main__ import run\nrun()"
        command = [sys.executable, "-c", run, "webhooks", "serve", "--set", "listen_port=0", *argv]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
        assert self.process.stderr
        first = self.process.stderr.readline()
        found = re.fullmatch(r"listening on (http://127\.0\.0\.1:(\d+)/webhooks/stripe)\n", first)
        assert found, first + self.process.stderr.read()
        self.url, self.port = found[1], int(found[2])

    def post(self, body: Any, signature: bytes | None = None, path: str = PATH, method: str = "POST") -> int:
        """Send a body, in chunks where it is an iterator, and return the answer's status."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        headers: dict[str, Any] = {} if signature is None else {"Stripe-Signature": signature}
        try:
            connection.request(method, path, body, headers, encode_chunked=not isinstance(body, bytes))
            return connection.getresponse().status
        finally:
            connection.close()

    def stop(self) -> tuple[int, str]:
        """Send SIGTERM, and return the exit status and what was told."""
        self.process.send_signal(signal.SIGTERM)
        _, told = self.process.communicate(timeout=60)
        return self.process.returncode, told


@contextmanager
def listening(*argv: str, before: str = "pass") -> Iterator[Listener]:
    """Run a listener while inside; `before` is what its process does first."""
    started = Listener(*argv, before=before)
    try:
        yield started
    finally:
        started.process.kill()
        started.process.communicate()


@pytest.fixture
def connected(configured: None, environment: Callable[..., None], stripe_double: StripeDouble) -> StripeDouble:
    """The program knows its account at Stripe."""
    environment(**stripe_double.settings)
    return stripe_double


def stored(database: Database) -> list[tuple[str, str, int]]:
    with database.session() as session:
        query = "SELECT id, status, deliveries FROM app.stripe_events ORDER BY id"
        return [tuple(row) for row in session.execute(text(query))]


def packed(event: Any) -> bytes:
    return json.dumps(event).encode()


def test_what_strangers_send_is_refused_and_never_told(connected: StripeDouble, database: Database) -> None:
    genuine = packed(EVENT)
    signature = sign(genuine, connected.secret)
    late = sign(genuine, connected.secret, int(time.time()) - 400)
    early = sign(genuine, connected.secret, int(time.time()) + 400)
    large = b"x" * 300_000
    hostile: dict[str, tuple[int, Any, bytes | None]] = {
        "no signature": (400, genuine, None),
        "an empty signature": (400, genuine, b""),
        "another secret": (400, genuine, sign(genuine, "whsec_of_another")),
        "another body": (400, genuine + b" ", signature),
        "an old signature": (400, genuine, late),
        "a signature of the future": (400, genuine, early),
        "a body that is not UTF-8": (400, b"\xff\xfe\x00", b"t=1,v1=00"),
        "a signature that is not ASCII": (400, genuine, b"t=1,v1=\xe9\xff"),
        "a signature without time": (400, genuine, b"v1=00"),
        "a long signature": (400, genuine, b"t=1," + b"v1=00," * 5000),
        "an empty body": (400, b"", signature),
        "300 KB": (413, large, signature),
        "300 KB in chunks": (413, iter([large[:1000]] * 300), signature),
        "a signed list": (400, b"[]", sign(b"[]", connected.secret)),
        "a signed null": (400, b"null", sign(b"null", connected.secret)),
        "what is signed and no JSON": (400, b"hello", sign(b"hello", connected.secret)),
        "deep nesting": (400, b"[" * 100_000, sign(b"[" * 100_000, connected.secret)),
    }
    for what, change in {
        "no id": {"id": None},
        "an id with a NUL": {"id": "evt_\0"},
        "an id with half a character": {"id": "evt_\ud800"},
        "a type that is none": {"type": ["x"]},
        "no time": {"created": None},
        "a time beyond all calendars": {"created": 10**30},
    }.items():
        body = packed(EVENT | change)
        hostile[what] = (400, body, sign(body, connected.secret))
    with listening() as listener:
        for what, (status, body, header) in hostile.items():
            assert (what, listener.post(body, header)) == (what, status)
        assert listener.post(b"", method="GET") == 405
        assert listener.post(genuine, signature, f"{PATH}/") == 404
        assert listener.post(genuine, signature, "/") == 404
        assert stored(database) == []
        assert listener.post(genuine, signature) == 200
        assert listener.post(b"", method="GET", path="/healthz") == 200
        code, told = listener.stop()
    assert (code, stored(database)) == (0, [("evt_1", "received", 1)])
    assert "answered 400: the delivery is not authentic: no secret matches its signature" in told
    assert PRIVATE not in told
    assert connected.secret not in told
    assert "Traceback" not in told


def test_what_stripe_may_send_is_kept_byte_for_byte(connected: StripeDouble, database: Database) -> None:
    odd = {
        "evt_nul": EVENT | {"note": "a\0b \ud800"},
        "evt_other": EVENT | {"type": "a.type.of.tomorrow"},
        "evt_live": EVENT | {"livemode": True},
        "evt_nothing": EVENT | {"data": {"object": None}},
        "evt_spaces": EVENT,
    }
    bodies = {id_: packed(event | {"id": id_}) for id_, event in odd.items()}
    bodies["evt_spaces"] = b" \n" + bodies["evt_spaces"].replace(b",", b" ,\t") + b"\n"
    with listening() as listener:
        for body in bodies.values():
            assert listener.post(body, sign(body, connected.secret)) == 200
    statuses = {id_: status for id_, status, _ in stored(database)}
    kept = {"evt_nul": "received", "evt_live": "received", "evt_spaces": "received"}
    assert statuses == kept | {"evt_other": "ignored", "evt_nothing": "dead"}
    with database.session() as session:
        found = session.execute(text("SELECT event_id, payload FROM app.stripe_payloads"))
        assert {row.event_id: bytes(row.payload) for row in found} == bodies


def test_secret_that_is_being_replaced(connected: StripeDouble, environment: Callable[..., None]) -> None:
    environment(DUMACLE_STRIPE_WEBHOOK_SECRETS=f"whsec_new, {connected.secret}")
    body = packed(EVENT)
    old, new = sign(body, connected.secret), sign(body, "whsec_new")
    both = new + b"," + old.partition(b",")[2]
    with listening() as listener:
        assert [listener.post(body, each) for each in (old, new, both)] == [200, 200, 200]


def test_secrets_rotate_and_no_delivery_is_refused(
    connected: StripeDouble, environment: Callable[..., None], database: Database, tmp_path: Path
) -> None:
    file = tmp_path / "config.toml"
    environment(DUMACLE_STRIPE_WEBHOOK_SECRETS=None, DUMACLE_CONFIG=str(file))

    def post(secret: str) -> int:
        body = packed(EVENT | {"api_version": "2020-08-27"})
        return listener.post(body, sign(body, secret))

    def known() -> dict[str, str | None]:
        with database.session() as session:
            found = session.execute(text("SELECT label, api_version FROM app.webhook_secrets ORDER BY label"))
            return {row.label: row.api_version for row in found}

    private.write(file, 'stripe_webhook_secrets = "first=whsec_1"')
    with listening() as listener:
        assert (post("whsec_1"), post("whsec_2")) == (200, 400)
        for number in range(2, 6):
            old, new = f"whsec_{number - 1}", f"whsec_{number}"
            private.write(file, f'stripe_webhook_secrets = "old={old}, new{number}={new}"')
            assert [post(secret) for secret in (new, old, new)] == [200] * 3
        private.write(file, "stripe_webhook_secrets = ")
        assert (post("whsec_9"), post("whsec_4")) == (400, 200)
        private.write(file, 'stripe_webhook_secrets = "last=whsec_6"')
        assert post("whsec_6") == 200
        assert post("whsec_4") == 400
        while not {label for label, version in known().items() if version} >= {"first", "last"}:
            time.sleep(0.01)
        code, told = listener.stop()
    assert code == 0
    assert "the signing secrets stay as they were: " in told
    assert "the signing secrets are now: last" in told
    assert "whsec_" not in told


# The database


@pytest.fixture
def proxy(
    connected: StripeDouble, environment: Callable[..., None], database_url: str, tmp_path: Path
) -> Iterator[Proxy]:
    """The listener reaches its database through a proxy that can lose connections."""
    with proxied(database_url, tmp_path) as (proxy, url):
        environment(DUMACLE_DATABASE_URL=url)
        yield proxy


def cut(database_url: str) -> None:
    """End all other connections of this login."""
    with psycopg.connect(database_url) as connection:
        query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        connection.execute(f"{query} AND usename = session_user AND pid <> pg_backend_pid()")


def test_nothing_is_lost_while_the_database_is_down(
    connected: StripeDouble, proxy: Proxy, database: Database, database_url: str
) -> None:
    client = connected.billing()
    product, _ = client.ensure_product(None, "pro", "", tags("dumacle"), "o")
    price = connected.account.announce("price", product=product["id"])
    with database.session() as session:
        user = make_user(session).id
        make_plan(session, "pro", stripe_product_id=product["id"])
    connected.take()
    customer = client.create_customer("", "", tags("dumacle", user=str(user)), "o")
    connected.add_card(customer["id"])
    found = client.subscribe(customer["id"], price["id"], customer["metadata"], "o")
    with listening() as listener:
        connected.webhook = listener.url
        proxy.is_down = True
        cut(database_url)
        assert set(connected.deliver()) == {503}
        assert listener.post(b"", method="GET", path="/healthz") == 503
        assert stored(database) == []
        proxy.is_down = False
        assert set(connected.deliver()) == {200}
        assert listener.post(b"", method="GET", path="/healthz") == 200
    assert apply.apply_object(BillingContext(database, client, "dumacle"), found["id"]) == "applied"
    client.close()
    with database.session() as session:
        query = "SELECT user_id, status FROM app.subscriptions WHERE ended_at IS NULL"
        assert session.execute(text(query)).one() == (user, "active")


def test_answer_of_commit_lost(connected: StripeDouble, proxy: Proxy, database: Database) -> None:
    body = packed(EVENT)
    signature = sign(body, connected.secret)
    with listening() as listener:
        proxy.after = 1
        assert listener.post(body, signature) == 503
        assert listener.post(body, signature) == 200
    assert stored(database) == [("evt_1", "received", 2)]


def test_killed_before_commit_loses_nothing_that_was_answered(connected: StripeDouble, database: Database) -> None:
    bodies = {f"evt_{number}": packed(EVENT | {"id": f"evt_{number}"}) for number in range(200)}
    kept: list[str] = []
    with listening() as listener:

        def post() -> None:
            for id_, body in bodies.items():
                try:
                    if listener.post(body, sign(body, connected.secret)) == 200:
                        kept.append(id_)
                except OSError:
                    return
                except http.client.HTTPException:
                    return

        sender = threading.Thread(target=post)
        sender.start()
        while len(kept) < 20:
            time.sleep(0.001)
        listener.process.kill()
        sender.join()
    assert {id_ for id_, _, _ in stored(database)} >= set(kept)
    assert 20 <= len(kept) < 200


# Stopping


def test_sigterm_waits_for_what_was_begun(connected: StripeDouble, database: Database) -> None:
    body = packed(EVENT)
    answers: list[int] = []
    with listening() as listener, database.session() as session:
        session.execute(text("LOCK TABLE app.stripe_events IN ACCESS EXCLUSIVE MODE"))
        sender = threading.Thread(target=lambda: answers.append(listener.post(body, sign(body, connected.secret))))
        sender.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'app.stripe_events'::regclass"
        while not session.scalar(text(waiting)):
            time.sleep(0.01)
        listener.process.send_signal(signal.SIGTERM)
        session.commit()
        sender.join(30)
        _, told = listener.process.communicate(timeout=30)
    assert (answers, listener.process.returncode) == ([200], 0), told
    assert stored(database) == [("evt_1", "received", 1)]


def test_address_that_is_taken(connected: StripeDouble, run: Run) -> None:
    with listening() as listener:
        failed = run("webhooks", "serve", "--set", f"listen_port={listener.port}", "-o", "json", expect=1)
    assert failed.error["message"] == "the operating system refused: Address already in use"

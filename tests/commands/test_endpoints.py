"""`dumacle webhooks endpoint` against the double of Stripe."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text

from dumacle_cli.clients.signatures import Secret
from dumacle_cli.services.billing import inbox
from dumacle_cli.store.database import Database
from tests.conftest import Run
from tests.stripe_double.double import StripeDouble

pytestmark = pytest.mark.integration

JSON = ("-o", "json")
URL = "https://dumacle.example.com/webhooks/stripe"
ENDPOINT = ("webhooks", "endpoint")


@pytest.fixture(autouse=True)
def account(configured: None, environment: Callable[..., None], stripe_double: StripeDouble) -> StripeDouble:
    """The program knows its account at Stripe."""
    environment(**stripe_double.settings)
    return stripe_double


def know(database: Database, secret: str, label: str) -> None:
    """Do what a listener does when it takes over its secrets."""
    with database.session() as session:
        inbox.note_secrets(session, [Secret(secret.encode(), label)])


def findings(said: Any) -> list[tuple[str, str]]:
    return [(row["status"], row["finding"]) for row in said]


def test_endpoint_is_created_with_all_events_and_its_secret_is_shown_once(
    run: Run, account: StripeDouble, database: Database
) -> None:
    planned = run(*ENDPOINT, "create", URL, "--dry-run", *JSON).data
    assert (planned["secret"], account.all("webhook_endpoint")) == (None, [])
    made = run(*ENDPOINT, "create", URL, *JSON, "--op-id", "a").data
    assert made["secret"].startswith("whsec_")
    (found,) = account.all("webhook_endpoint")
    assert (found["url"], found["enabled_events"]) == (URL, list(inbox.DELIVERED))
    assert "invoice.created" not in found["enabled_events"]
    assert found["metadata"]["fingerprint"] == Secret(made["secret"].encode()).fingerprint
    assert findings(run(*ENDPOINT, "check", *JSON, expect=1).data) == [
        ("failed", "no listener knows its secret"),
        ("warning", "no listener has run in the last day"),
    ]
    know(database, made["secret"], "first")
    assert findings(run(*ENDPOINT, "check", *JSON).data) == [
        ("ok", URL),
        ("warning", "it has signed no delivery yet"),
    ]
    with database.session() as session:
        inbox.note_use(session, "first", found["api_version"])
    assert {status for status, _ in findings(run(*ENDPOINT, "check", *JSON).data)} == {"ok"}
    assert made["secret"] not in run(*ENDPOINT, "check", *JSON).out


def test_rotation_waits_until_the_new_secret_is_known(run: Run, account: StripeDouble, database: Database) -> None:
    refused = run(*ENDPOINT, "rotate", *JSON, expect=7).error["message"]
    assert refused == "there is no endpoint of this installation at Stripe"
    old = run(*ENDPOINT, "create", URL, *JSON).data
    new = run(*ENDPOINT, "rotate", *JSON).data
    assert (new["status"], new["url"], new["secret"] != old["secret"]) == ("waiting", URL, True)
    assert account.get(new["id"])["enabled_events"] == ["terminal.reader.action_failed"]
    lost, new = new, run(*ENDPOINT, "rotate", *JSON).data  # somebody closed the window that showed the secret
    assert lost["id"] not in {found["id"] for found in account.all("webhook_endpoint")}
    refused = run(*ENDPOINT, "rotate", "--finish", *JSON, expect=7).error["message"]
    assert refused == f"no listener knows the secret of endpoint {new['id']} yet"
    assert len(account.all("webhook_endpoint")) == 2
    know(database, new["secret"], "second")
    done = run(*ENDPOINT, "rotate", "--finish", *JSON).data
    assert (done["id"], done["status"], done["label"], done["secret"]) == (new["id"], "active", "second", None)
    (left,) = account.all("webhook_endpoint")
    assert (left["id"], left["enabled_events"]) == (new["id"], list(inbox.DELIVERED))
    assert run(*ENDPOINT, "rotate", "--finish", *JSON, expect=7).error["message"] == "no endpoint is waiting"


def test_check_tells_what_is_wrong(run: Run, account: StripeDouble, database: Database) -> None:
    made = run(*ENDPOINT, "create", URL, *JSON).data
    know(database, made["secret"], "first")
    with database.session() as session:
        inbox.note_use(session, "first", "2020-08-27")
        session.execute(text("UPDATE app.webhook_secrets SET used_at = now() - interval '1 day'"))
    found = account.account.objects[made["id"]]
    found |= {"api_version": "2020-08-27", "enabled_events": ["invoice.paid", "invoice.created"]}
    told = findings(run(*ENDPOINT, "check", *JSON, expect=1).data)
    assert [status for status, _ in told] == ["failed", "warning", "warning", "warning"]
    assert told[0][1].startswith("it does not deliver checkout.session.")
    assert "2020-08-27" in told[2][1]
    assert "2020-08-27" in told[3][1]
    found["status"] = "disabled"
    assert findings(run(*ENDPOINT, "check", *JSON, expect=1).data)[0] == ("failed", "Stripe delivers nothing to it")


def test_doctor_tells_of_an_older_api_version(run: Run, database: Database) -> None:
    know(database, "whsec_1", "first")
    with database.session() as session:
        inbox.note_use(session, "first", "2020-08-27")
    told = {row["check"]: row for row in run("doctor", *JSON).data}["webhook secret first"]
    assert (told["status"], "of API version 2020-08-27" in told["finding"]) == ("warning", True)
    assert told["fix"] == "dumacle webhooks endpoint rotate"

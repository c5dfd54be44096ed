"""`dumacle webhooks` through the only door."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import text

from dumacle_cli.services.billing import inbox
from dumacle_cli.store.database import Database
from tests.conftest import Run

pytestmark = pytest.mark.integration

JSON = ("-o", "json")


def deliver(database: Database, id_: str, object_id: str, type_: str = "customer.subscription.updated") -> bytes:
    event: dict[str, Any] = {"id": id_, "object": "event", "type": type_, "created": 1_780_000_000, "livemode": True}
    event["data"] = {"object": {"id": object_id}}
    body = json.dumps(event).encode()
    inbox.receive(database, [inbox.read(event, body)])
    return body


@pytest.fixture(autouse=True)
def delivered(database: Database) -> bytes:
    """Three events, the last about nothing here."""
    body = deliver(database, "evt_1", "sub_1")
    deliver(database, "evt_2", "sub_2")
    deliver(database, "evt_3", "prod_1", "product.updated")
    return body


def ids(said: Any) -> list[str]:
    return [event["id"] for event in said]


def test_list_is_filtered_and_pages_from_the_latest(run: Run) -> None:
    listing = ("webhooks", "events", "list", *JSON)
    assert ids(run(*listing).data) == ["evt_3", "evt_2", "evt_1"]
    first = run(*listing, "--limit", "2").json
    assert ids(first["data"]) == ["evt_3", "evt_2"]
    assert ids(run(*listing, "--limit", "2", "--after", first["next"]).data) == ["evt_1"]
    assert ids(run(*listing, "--all", "--limit", "1").data) == ["evt_3", "evt_2", "evt_1"]
    assert ids(run(*listing, "--status", "ignored").data) == ["evt_3"]
    assert ids(run(*listing, "--object", "sub_2").data) == ["evt_2"]


def test_show(run: Run, delivered: bytes) -> None:
    shown = run("webhooks", "events", "show", "evt_1", *JSON).data
    assert (shown["type"], shown["object_id"], shown["status"]) == (
        "customer.subscription.updated",
        "sub_1",
        "received",
    )
    assert (shown["livemode"], shown["payload"], shown["attempts"]) == (True, delivered.decode(), 0)
    assert shown["created_at"] == datetime.fromtimestamp(1_780_000_000, UTC).isoformat().replace("+00:00", "Z")


@pytest.mark.parametrize("typed", ["evt_9", "evt\0", "é"])
def test_no_such_event(run: Run, typed: str) -> None:
    for verb in ("show", "retry"):
        failed = run("webhooks", "events", verb, typed, *JSON, expect=6)
        assert failed.error["code"] == "not-found"
        assert failed.error["message"].startswith("there is no event ")


def test_retry_lets_a_worker_apply_again(run: Run, database: Database) -> None:
    with database.session() as session:
        session.execute(text("UPDATE app.stripe_objects SET wanted_at = NULL, have = want, attempts = 6"))
        session.execute(text("UPDATE app.stripe_events SET status = 'dead', error = 'x' WHERE status = 'received'"))
        session.execute(text("DELETE FROM queue.procrastinate_jobs"))
    said = run("webhooks", "events", "retry", "evt_2", "evt_1", *JSON).json
    assert [(event["id"], event["status"], event["error"]) for event in said["data"]] == [
        ("evt_1", "received", None),
        ("evt_2", "received", None),
    ]
    assert said["changed"] is True
    with database.session() as session:
        query = "SELECT count(*) FROM app.stripe_objects WHERE wanted_at <= now() AND want = 2 AND attempts = 0"
        assert session.scalar(text(query)) == 2
        assert session.scalar(text("SELECT count(*) FROM queue.procrastinate_jobs")) == 2


def test_retry_of_what_is_about_nothing(run: Run) -> None:
    failed = run("webhooks", "events", "retry", "evt_1", "evt_3", *JSON, expect=7)
    assert failed.error["message"] == "event evt_3 is about no object that is stored here"


def test_serve_needs_secrets(run: Run, environment: Callable[..., None]) -> None:
    failed = run("webhooks", "serve", *JSON, expect=2)
    assert failed.error["code"] == "not-configured"
    environment(DUMACLE_STRIPE_WEBHOOK_SECRETS="sk_live_typed_by_mistake")
    failed = run("webhooks", "serve", *JSON, expect=2)
    assert failed.error["code"] == "invalid-value"
    assert "sk_live" not in failed.err


def plant(database: Database) -> None:
    """Two events that were applied, one that was given up, and one that waits; evt_3 is about nothing here."""
    deliver(database, "evt_4", "sub_4", "customer.subscription.created")
    deliver(database, "evt_5", "sub_1")
    with database.session() as session:
        session.execute(text("UPDATE app.stripe_objects SET wanted_at = NULL, have = want, attempts = 6"))
        session.execute(text("DELETE FROM queue.procrastinate_jobs"))
        for id_, status, days in (("evt_1", "applied", 100), ("evt_2", "dead", 50), ("evt_5", "applied", 10)):
            values = {"id": id_, "status": status, "days": days}
            change = "UPDATE app.stripe_events SET status = :status, received_at = now() - make_interval(days => :days)"
            session.execute(text(f"{change} WHERE id = :id"), values)


def due(database: Database) -> list[str]:
    with database.session() as session:
        query = """
            SELECT object.id FROM app.stripe_objects AS object
            JOIN queue.procrastinate_jobs ON queueing_lock = 'stripe:' || object.id
            WHERE wanted_at <= now() AND object.attempts = 0 ORDER BY object.id
        """
        return list(session.scalars(text(query)))


def test_retry_and_replay_in_bulk(run: Run, database: Database) -> None:
    plant(database)
    events = ("webhooks", "events")
    assert ids(run(*events, "retry", "--all-failed", "--type", "invoice.", *JSON).data) == []
    assert ids(run(*events, "retry", "--status", "dead", "--dry-run", *JSON).data) == ["evt_2"]
    assert due(database) == []
    assert ids(run(*events, "retry", "--older-than", "30d", *JSON).data) == ["evt_2"]
    assert due(database) == ["sub_2"]
    assert run(*events, "replay", "--max", "1", *JSON, expect=8).error["code"] == "too-many"
    assert ids(run(*events, "replay", "--older-than", "30d", *JSON).data) == ["evt_1"]
    assert ids(run(*events, "replay", *JSON).data) == ["evt_5"]
    assert due(database) == ["sub_1", "sub_2"]


@pytest.mark.parametrize("typed", [(), ("evt_1", "--all-failed"), ("evt_1", "--type", "invoice.")])
def test_retry_takes_events_or_a_filter(run: Run, typed: tuple[str, ...]) -> None:
    run("webhooks", "events", "retry", *typed, *JSON, expect=2)


def test_prune_deletes_settled_events_only(run: Run, database: Database) -> None:
    plant(database)
    prune = ("webhooks", "events", "prune", "--yes", *JSON)
    assert run(*prune, "--older-than", "0s", "--max", "1", expect=8).error["code"] == "too-many"
    asked = (("--older-than", "30d", "--dry-run"), ("--older-than", "30d"), ("--older-than", "30d"))
    assert [run(*prune, *more).data["events"] for more in asked] == [1, 1, 0]
    assert run(*prune, "--older-than", "30d", "--status", "dead").data == {"events": 1}
    assert run(*prune, "--older-than", "0s", "--type", "customer.").data == {"events": 1}
    assert sorted(ids(run("webhooks", "events", "list", *JSON).data)) == ["evt_3", "evt_4"]
    with database.session() as session:
        assert session.scalar(text("SELECT count(*) FROM app.stripe_payloads")) == 2

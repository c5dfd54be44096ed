"""`dumacle worker`, in this process: what waits is done, told, and accounted for."""

import json
from collections.abc import Callable

import pytest
from sqlalchemy import text

from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.services.billing import inbox
from dumacle_cli.store.database import Database
from tests.conftest import Run
from tests.films import Films, Submit, check, films, rows, statuses, submit
from tests.stripe_double.double import StripeDouble

__all__ = ["films", "submit"]
pytestmark = pytest.mark.integration


def test_does_what_waits_and_ends(
    run: Run, submit: Submit, films: Films, database: Database, object_store: ObjectStore
) -> None:
    submit(films(2))
    submit(films(2), preset="hls")
    submit(b"this is no film" * 1000)
    said = run("worker", "--once").err
    assert statuses(database) == ["done", "done", "failed"]
    assert "unit done" in said
    assert "unit failed" in said
    check(database, object_store, 2)
    assert rows(database, "SELECT * FROM queue.procrastinate_jobs") == []
    assert run("worker", "--once").err == ""


def test_logs_in_json(run: Run, submit: Submit, films: Films) -> None:
    submit(films(2))
    started, ended, summary = map(json.loads, run("worker", "--once", "--log-format", "json").err.splitlines())
    assert (started["event"], ended["event"]) == ("unit started", "unit done")
    assert (started["unit"], started["attempt"]) == (ended["unit"], 1)
    assert summary["exit"] == 0


def test_does_what_no_queue_row_speaks_of(
    run: Run, submit: Submit, films: Films, database: Database, object_store: ObjectStore
) -> None:
    submit(films(2))
    with database.session() as session:
        session.execute(text("DELETE FROM queue.procrastinate_jobs"))
    run("worker", "--once")
    check(database, object_store, 1)


def test_media_that_fails_every_time_is_charged_to_nobody(
    run: Run, submit: Submit, database: Database, object_store: ObjectStore, films: Films
) -> None:
    submit(films(2)[:3000])
    run("worker", "--once")
    assert statuses(database) == ["failed"]
    check(database, object_store, 0)


def test_refuses_what_has_no_room(
    run: Run, submit: Submit, database: Database, object_store: ObjectStore, films: Films
) -> None:
    submit(films(2))
    with database.session() as session:
        session.execute(text("UPDATE app.pods SET capacity = used + 1000"))
    run("worker", "--once")
    [found] = rows(database, "SELECT status, error FROM app.transcodes")
    assert found["status"] == "failed"
    assert "pod films is full" in found["error"]
    check(database, object_store, 0)


def test_names_of_queues(run: Run) -> None:
    assert "there are" in run("worker", "--queues", "nothing", expect=2).err
    assert "stripe_secret_key" in run("worker", "--queues", "webhooks", expect=2).err


def test_applies_what_stripe_reported(
    run: Run, database: Database, stripe_double: StripeDouble, environment: Callable[..., None]
) -> None:
    environment(**stripe_double.settings)
    with database.session() as session:
        inbox.request_refresh(session, [("customer", "cus_gone")])
    said = run("worker", "--once").err
    assert "stripe " in said
    assert "object cus_gone" in said
    assert rows(database, "SELECT id FROM app.stripe_objects WHERE have < want OR lease_token IS NOT NULL") == []
    assert rows(database, "SELECT * FROM queue.procrastinate_jobs") == []

"""Nothing of the program waits for ever, and whoever waited in vain is told who held it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from sqlalchemy import NullPool, create_engine, make_url

from dumacle_cli.errors import BootstrapRunning, DatabaseBusy, Exit, MigrationRunning
from dumacle_cli.local.servers import OWNER, Servers
from dumacle_cli.store import bootstrap, identity, schema
from dumacle_cli.store.database import Database
from tests.conftest import ROOT, Run
from tests.factories import make_file, make_grant, make_pod, make_user

pytestmark = pytest.mark.integration


@contextmanager
def holding(url: str, statement: str, *, autocommit: bool = False) -> Iterator[psycopg.Connection[Any]]:
    """Another session that holds what the statement took."""
    with psycopg.connect(url, autocommit=autocommit, application_name="a script") as other:
        other.execute(statement.encode())
        yield other
        other.rollback()


def test_a_bootstrap_says_who_holds_its_lock(embedded: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "LOCK_SECONDS", 0.2)
    taken = f"SELECT pg_advisory_lock({bootstrap.LOCK})"
    with (
        holding(embedded.admin_url, taken, autocommit=True),
        pytest.raises(BootstrapRunning, match=r"postgres holds it \(process \d+; since .*Z; a script; SELECT pg_adv"),
    ):
        bootstrap.bootstrap(embedded.admin_url, "never_made", OWNER, embedded.owner_password)


def test_a_migration_says_who_holds_its_lock(
    owner_url: str, monkeypatch: pytest.MonkeyPatch, embedded: Servers, copied: str
) -> None:
    monkeypatch.setattr(schema, "PATIENCE", 0.2)
    engine = create_engine(make_url(owner_url).set(drivername="postgresql+psycopg"), poolclass=NullPool)
    with holding(owner_url, f"SELECT pg_advisory_lock({schema.LOCK})", autocommit=True), engine.connect() as connection:
        for work in (lambda: schema.downgrade(connection, "0015"), lambda: schema.repair(connection)):
            with pytest.raises(MigrationRunning, match=f"{OWNER} holds it .*; a script; SELECT pg_advisory_lock"):
                work()
    engine.dispose()


def test_upgrading_ends_with_9_and_names_the_process(
    owner_url: str, invoke: Run, environment: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "PATIENCE", 0.2)
    monkeypatch.setattr(identity, "is_complete", lambda _: False)
    environment(DUMACLE_DATABASE_URL=owner_url)
    with holding(owner_url, f"SELECT pg_advisory_lock({schema.LOCK})", autocommit=True) as other:
        refused = invoke("db", "upgrade", "-o", "json", expect=Exit.LOCKED).error
        assert f"process {other.info.backend_pid};" in refused["message"]
    assert refused["code"] == "migration-running"


def test_a_change_says_who_holds_the_row(
    database: Database, owner_url: str, run: Run, environment: Callable[..., None]
) -> None:
    environment(DUMACLE_LOCK_TIMEOUT="0.2")
    with database.session() as session:
        bob = make_user(session, "bob@example.com")
        pod = make_pod(session, "films")
        make_grant(session, pod, bob)
        make_file(session, pod, bob, "film.mp4")
    with holding(owner_url, "SELECT id FROM app.files FOR UPDATE"):
        began = time.monotonic()
        refused = run("files", "delete", "film.mp4", "--owner", "bob@example.com", "--yes", expect=Exit.TEMPORARY).err
        assert time.monotonic() - began < 10
    # A superadmin sees that, but not the statement of the schema's owner.
    assert f"{OWNER} holds locks in app.files (process " in refused
    run("files", "delete", "film.mp4", "--owner", "bob@example.com", "--yes")


def test_what_stands_in_quotes_is_not_shown(owner_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "PATIENCE", 0.2)
    secret = f"SELECT pg_advisory_lock({schema.LOCK}) WHERE 'hunter2' <> 'hunter3"
    with (
        holding(owner_url, f"{secret}'", autocommit=True),
        pytest.raises(MigrationRunning) as refusal,
    ):
        schema.downgrade(owner_url, "0015")
    assert "…" in str(refusal.value)
    assert "hunter" not in str(refusal.value)


def test_a_repair_waits_for_another_only(
    database: Database, owner_url: str, database_url: str, run: Run, environment: Callable[..., None]
) -> None:
    environment(DUMACLE_LOCK_TIMEOUT="0.2")
    with holding(owner_url, "SELECT pg_advisory_lock(7036874417766401)", autocommit=True):
        run("pods", "check", "--repair")
    with holding(database_url, "SELECT app.lock_installation()"):
        refused = run("pods", "check", "--repair", expect=Exit.TEMPORARY).err
    assert f"{ROOT} holds locks in app.installation" in refused


def test_no_advisory_lock_is_for_logins_where_a_superuser_bootstrapped(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as root:
        for call in (
            "pg_advisory_lock(1)",
            "pg_advisory_lock_shared(1)",
            "pg_advisory_xact_lock(1, 2)",
            "pg_try_advisory_lock(1)",
            "pg_try_advisory_xact_lock_shared(1)",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                root.execute(f"SELECT {call}".encode())


def test_a_busy_table_says_who_reads_it(owner_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "LOCK_SECONDS", 0.2)
    with holding(database_url, "SELECT count(*) FROM app.files"), pytest.raises(DatabaseBusy, match=ROOT):
        schema.downgrade(owner_url, "0015")

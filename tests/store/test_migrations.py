"""The migrations: they make what the models say, and they go up and down over rows that exist."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import URL, Connection, text
from sqlalchemy.exc import IntegrityError

from dumacle_cli.errors import DatabaseBusy, MigrationRunning, NotConfigured
from dumacle_cli.store import models, revisions, schema
from tests.store.rows import fill

pytestmark = pytest.mark.integration

ROOT = str(Path(schema.__file__).parents[2])
REVISIONS = sorted(file.name[:4] for file in Path(schema.folder(), "versions").glob("[0-9]*.py"))
EVERY = os.environ.get("DUMACLE_TEST_REVISIONS") == "all"
STARTS = REVISIONS if EVERY else sorted({*REVISIONS[::9], *REVISIONS[-2:], revisions.PREVIOUS})
"""Where ways up begin; a long run takes every revision."""

CATALOG = {
    "columns": """
        SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
               collname, pg_get_expr(d.adbin, d.adrelid)
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid LEFT JOIN pg_collation l ON l.oid = a.attcollation
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE c.relnamespace = 'app'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped""",
    "constraints": """
        SELECT conrelid::regclass::text, conname, contype, pg_get_constraintdef(oid)
        FROM pg_constraint WHERE connamespace = 'app'::regnamespace AND contype <> 't'""",
    "indexes": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'app'",
    "storage": """
        SELECT relname, reloptions::text FROM pg_class WHERE relnamespace = 'app'::regnamespace AND relkind = 'r'""",
}


def catalog(connection: Connection) -> dict[str, list[Any]]:
    """What the catalogs say about our schema, less the table of the revision."""
    connection.rollback()
    found = {name: sorted(map(repr, connection.execute(text(query)))) for name, query in CATALOG.items()}
    return {name: [row for row in rows if "schema_version" not in row] for name, rows in found.items()}


def counts(connection: Connection) -> dict[str, int]:
    tables = connection.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'app'")).all()
    return {
        table: connection.execute(text(f"SELECT count(*) FROM app.{table}")).scalar_one()
        for table in tables
        if table not in ("schema_version", "acting")
    }


def test_up_from_nothing(migrated: Connection) -> None:
    assert schema.current(migrated) == revisions.OWN
    assert schema.pending(migrated) == []
    assert migrated.scalar(text("SELECT count(*) FROM queue.procrastinate_jobs")) == 0


def test_says_what_an_upgrade_would_do(connection: Connection, pg_url: URL) -> None:
    assert schema.current(connection) is None
    assert [step.split()[0] for step in schema.pending(connection)] == REVISIONS
    schema.upgrade(pg_url, "0007")
    connection.rollback()
    assert [step.split()[0] for step in schema.pending(connection)] == REVISIONS[7:]


def test_models_and_migrations_agree(migrated: Connection) -> None:
    assert schema.check(migrated) == []
    by_migrations = catalog(migrated)
    migrated.execute(text("DROP SCHEMA app CASCADE"))
    migrated.execute(text("CREATE SCHEMA app"))
    for name in ("actor", "billing_account"):
        migrated.execute(text(f"CREATE FUNCTION app.{name}() RETURNS bigint LANGUAGE sql RETURN NULL::bigint"))
    models.complete().metadata.create_all(migrated)
    migrated.commit()
    assert catalog(migrated) == by_migrations
    assert len(by_migrations["indexes"]) > 80


def test_check_names_a_difference(migrated: Connection) -> None:
    migrated.execute(text("ALTER TABLE app.pods ALTER COLUMN bucket DROP NOT NULL"))
    assert any("pods" in line and "bucket" in line for line in schema.check(migrated))


def test_down_to_nothing_and_up_again(migrated: Connection, pg_url: URL) -> None:
    before = catalog(migrated)
    functions = text("SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'app'::regnamespace")
    migrated.rollback()
    schema.downgrade(pg_url, "base")
    assert counts(migrated) == {}
    assert migrated.scalars(functions).all() == []
    assert schema.current(migrated) is None
    migrated.rollback()
    schema.upgrade(pg_url)
    assert catalog(migrated) == before


def test_each_revision_goes_down_and_up_over_rows(connection: Connection, pg_url: URL) -> None:
    for revision, previous in zip(REVISIONS, ["base", *REVISIONS], strict=False):
        schema.upgrade(pg_url, revision)
        schema.downgrade(pg_url, previous)
        schema.upgrade(pg_url, revision)
        fill(connection, revision)
    assert all(counts(connection).values())
    # The last one also with rows of its own.
    connection.rollback()
    schema.downgrade(pg_url, REVISIONS[-2])
    schema.upgrade(pg_url)


@pytest.mark.parametrize("start", STARTS)
def test_up_from_each_revision_keeps_rows(start: str, connection: Connection, pg_url: URL) -> None:
    for revision in REVISIONS[: REVISIONS.index(start) + 1]:
        schema.upgrade(pg_url, revision)
        fill(connection, revision)
    before = counts(connection)
    connection.rollback()
    schema.upgrade(pg_url)
    after = counts(connection)
    assert {table: after[table] for table in before} == before
    assert schema.check(connection) == []


def test_bounds_mend_what_lies_beyond_them(connection: Connection, pg_url: URL) -> None:
    for revision in REVISIONS[: REVISIONS.index("0015") + 1]:
        schema.upgrade(pg_url, revision)
        fill(connection, revision)
    for planted in (
        "UPDATE app.files SET uploaded_at = 'infinity', verified_at = '0044-03-15 BC', error = repeat('x', 20000)",
        "UPDATE app.users SET updated_at = '294276-12-31', name = repeat('é', 2000)",
        "UPDATE app.operations SET result = to_jsonb(repeat('x', 17000000)), created_at = '-infinity'",
        "UPDATE app.runs SET totals = to_jsonb(repeat('x', 70000)), host = 'host'",
    ):
        connection.execute(text(planted))
    connection.commit()
    schema.upgrade(pg_url)
    found = connection.execute(
        text("""
            SELECT (uploaded_at, verified_at)
                    = (timestamptz '2999-12-31 23:59:59+00', timestamptz '1970-01-01 00:00:00+00'),
                length(error), (SELECT max(octet_length(name)) FROM app.users),
                (SELECT count(result) FROM app.operations), (SELECT min(created_at) FROM app.operations) > '-infinity',
                (SELECT min(totals || host) FROM (SELECT totals::text, host FROM app.runs) AS runs)
            FROM app.files LIMIT 1
        """)
    ).one()
    assert tuple(found) == (True, 2048, 512, 0, True, "{}host")


UPGRADE = """
import os
from dumacle_cli.errors import MigrationRunning
from dumacle_cli.store import schema
try:
    schema.upgrade(os.environ["DATABASE"])
    print("done")
except MigrationRunning as refusal:
    print(refusal.code)
"""


def test_two_upgrades_at_once(connection: Connection, pg_url: URL) -> None:
    environment = {**os.environ, "DATABASE": pg_url.render_as_string(hide_password=False), "PYTHONPATH": ROOT}
    command = [sys.executable, "-c", UPGRADE]
    racers = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outcomes = {racer.communicate()[0].strip() for racer in racers}
    assert "done" in outcomes
    assert outcomes <= {"done", "migration-running"}
    assert schema.check(connection) == []


def test_refuses_while_another_migrates(connection: Connection, pg_url: URL) -> None:
    connection.execute(text(f"SELECT pg_advisory_lock({0x64756D61636C65})"))
    with pytest.raises(MigrationRunning):
        schema.upgrade(pg_url)
    assert schema.current(connection) is None


def test_does_not_wait_for_ever_behind_a_reader(
    connection: Connection, pg_url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "LOCK_SECONDS", 0.2)
    schema.upgrade(pg_url)
    connection.execute(text("SELECT count(*) FROM app.subscriptions"))
    with pytest.raises(DatabaseBusy, match=r"postgres holds locks in app\.subscriptions .*; SELECT count"):
        schema.downgrade(pg_url, "0007")
    # Each step is a transaction of its own; that of 0037 sets the rights to that table.
    assert schema.current(connection) == "0037"


def test_identity_waits_for_no_reader_either(
    connection: Connection, pg_url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "LOCK_SECONDS", 0.2)
    schema.upgrade(pg_url, "0012")
    before = catalog(connection)
    connection.execute(text("SELECT count(*) FROM app.users"))
    with pytest.raises(DatabaseBusy):
        schema.upgrade(pg_url)
    assert catalog(connection) == before
    schema.upgrade(pg_url)
    assert schema.check(connection) == []


def test_the_lock_and_limits_are_given_back(connection: Connection) -> None:
    schema.upgrade(connection, "0001")
    assert connection.scalar(text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")) == 0
    assert connection.scalar(text("SHOW lock_timeout")) == "0"


def test_head_is_the_schema_of_this_release(migrated: Connection) -> None:
    assert schema.current(migrated) == revisions.OWN == REVISIONS[-1]
    assert revisions.PREVIOUS in REVISIONS


REFUSED = {
    "an address with capitals": "INSERT INTO app.users (email) VALUES ('Ada@example.com')",
    "the same live address": "INSERT INTO app.users (email) VALUES ('ada@example.com')",
    "a full pod": "UPDATE app.pods SET used = 600, reserved = 500",
    "two live subscriptions": "INSERT INTO app.subscriptions (user_id, plan_id, status)"
    " SELECT user_id, plan_id, 'active' FROM app.subscriptions",
    "two live files at a path": "INSERT INTO app.files (pod_id, owner_id, path, size)"
    " SELECT pod_id, owner_id, path, size FROM app.files",
    "another file's version": "UPDATE app.files SET version_id = (SELECT max(version_id) FROM app.files)",
    "an overspent lease": "UPDATE app.leases SET spent = granted + 1",
    "two live transcodes": "INSERT INTO app.transcodes (file_id, version_id, preset)"
    " SELECT file_id, version_id, preset FROM app.transcodes",
    "a unit that runs without a lease": "UPDATE app.units SET status = 'running'",
    "an anchor before what was used": "INSERT INTO app.quota_anchors"
    " SELECT user_id, now() - interval '1 year', now() FROM app.quota_counters",
}


def is_refused(connection: Connection, statement: str) -> bool:
    try:
        connection.execute(text(statement))
        connection.commit()
    except IntegrityError:
        connection.rollback()
        return True
    return False


def test_what_the_database_itself_refuses(migrated: Connection) -> None:
    for revision in REVISIONS:
        fill(migrated, revision)
    accepted = [what for what, statement in REFUSED.items() if not is_refused(migrated, statement)]
    assert accepted == []


def test_a_deleted_name_is_free_again(migrated: Connection) -> None:
    for _ in range(2):
        migrated.execute(text("INSERT INTO app.users (email) VALUES ('ada@example.com')"))
        migrated.execute(text("UPDATE app.users SET deleted_at = now()"))
    assert counts(migrated)["users"] == 2


def test_a_longest_path_fits_into_every_index(migrated: Connection) -> None:
    for revision in REVISIONS[:2]:
        fill(migrated, revision)
    path = text(
        "INSERT INTO app.files (pod_id, owner_id, size, path) SELECT p.id, u.id, 1,"
        " left((SELECT string_agg(encode(sha256(n::text::bytea), 'base64'), '/') FROM generate_series(1, 99) n), 2048)"
        " FROM app.pods p, app.users u"
    )
    migrated.execute(path)
    assert migrated.scalar(text("SELECT min(octet_length(path)) FROM app.files")) == 2048


def test_the_queue_works_from_any_search_path(migrated: Connection) -> None:
    driver = migrated.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    job = "(ARRAY[ROW('q', 't', 0, NULL, NULL, '{}', NULL)::queue.procrastinate_job_to_defer_v1])"
    driver.execute("SET search_path = pg_catalog")
    row = driver.execute(f"SELECT queue.procrastinate_defer_jobs_v1{job}").fetchone()
    assert row is not None
    assert len(row[0]) == 1


def test_a_developer_gets_the_next_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "50% of a checkout"
    shutil.copytree(schema.folder(), copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(schema, "folder", lambda: copy)
    made = schema.revision("add tags to files")
    assert made == copy / "versions" / f"{int(revisions.OWN) + 1:04d}_add_tags_to_files.py"
    namespace: dict[str, Any] = {}
    exec(compile(made.read_text(), made, "exec"), namespace)
    assert namespace["down_revision"] == revisions.OWN


def test_outside_of_a_checkout_there_is_no_next_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "folder", lambda: tmp_path / "_migrations")
    with pytest.raises(NotConfigured, match="a checkout is not configured"):
        schema.revision("add tags to files")

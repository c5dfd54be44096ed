"""Migrations are frozen: what they load never changes, and all of it together is the present state."""

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL, Connection, NullPool, create_engine, text

from dumacle_cli.store import revisions, schema, sql
from tests.store.conftest import new_database
from tests.store.test_migrations import REVISIONS, STARTS

MIGRATIONS = schema.folder()
GUARD = "guard"
"""What `db bootstrap` loads as a superuser, and no migration."""
BY_IDENTITY = ("roles", "identity", "erasure", "policies", "audit", "logins", "matrix", "provisioner")

CATALOGS = {
    "columns": """
        SELECT c.oid::regclass, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
               (SELECT array_agg(g ORDER BY g::text)::text FROM unnest(a.attacl) AS g),
               (SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = a.attrelid AND adnum = a.attnum)
        FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
        WHERE c.relnamespace IN {schemas} AND c.relkind IN ('r', 'c') AND a.attnum > 0 AND NOT a.attisdropped""",
    "tables": """
        SELECT oid::regclass, reloptions::text, relrowsecurity,
               (SELECT array_agg(a ORDER BY a::text)::text FROM unnest(relacl) AS a) FROM pg_class
        WHERE relnamespace IN {schemas} AND relkind IN ('r', 'S')""",
    "constraints": """
        SELECT conrelid::regclass, conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace IN {schemas}""",
    "indexes": "SELECT indexrelid::regclass, pg_get_indexdef(indexrelid) FROM pg_index JOIN pg_class ON oid = indrelid"
    " WHERE relnamespace IN {schemas}",
    "functions": """
        SELECT oid::regprocedure, prosrc, pg_get_function_result(oid), prosecdef, provolatile, proconfig::text,
               (SELECT array_agg(a ORDER BY a::text)::text FROM unnest(proacl) AS a)
        FROM pg_proc WHERE pronamespace IN {schemas}""",
    "policies": "SELECT polrelid::regclass, polname, pg_get_expr(polqual, polrelid) FROM pg_policy",
    "triggers": "SELECT tgrelid::regclass, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
}
SCHEMAS = "(SELECT oid FROM pg_namespace WHERE nspname IN ('app', 'login', 'queue'))"


def state(connection: Connection) -> dict[str, list[str]]:
    """What the catalogs say about our schemas, with the installation's own prefix left out."""
    connection.rollback()
    prefix = str(connection.scalar(text("SELECT prefix FROM app.installation")))
    queries = {name: query.replace("{schemas}", SCHEMAS) for name, query in CATALOGS.items()}
    rows = {name: connection.exec_driver_sql(query).fetchall() for name, query in queries.items()}
    connection.rollback()
    return {name: sorted(str(tuple(row)).replace(prefix, "PREFIX") for row in found) for name, found in rows.items()}


@pytest.mark.unit
def test_the_latest_copy_of_each_file_is_the_present_one() -> None:
    latest = sql.frozen(MIGRATIONS, revisions.OWN)
    changed = [name for name in sql.names() if name != GUARD and latest(name) != sql.read(name)]
    assert changed == [], "write a migration that loads a copy of these files: see CONTRIBUTING.md"


@pytest.mark.unit
def test_no_copy_is_of_a_file_that_is_not_there() -> None:
    copied = {copy.stem[5:] for copy in (MIGRATIONS / "sql").glob("*.sql")}
    assert copied == set(sql.names()) - {GUARD}


@pytest.mark.unit
def test_what_was_released_did_not_change() -> None:
    listed = dict(reversed(line.split()) for line in (MIGRATIONS / "released.sha256").read_text().splitlines())
    there = {
        f"{path.parent.name}/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest()
        for folder, pattern in (("versions", "*.py"), ("sql", "*.sql"))
        for path in (MIGRATIONS / folder).glob(pattern)
        if path.name[:4] <= revisions.PREVIOUS
    }
    assert there == listed


@pytest.fixture(scope="module")
def upgraded(cluster: dict[str, str]) -> Iterator[Connection]:
    """A connection to a database that the migrations made, for all who leave it as it was."""
    with new_database(cluster) as url:
        schema.upgrade(url)
        with create_engine(url, poolclass=NullPool).connect() as opened:
            yield opened


@pytest.fixture(scope="module")
def made(upgraded: Connection) -> dict[str, list[str]]:
    """What the migrations made."""
    return state(upgraded)


@pytest.mark.integration
def test_the_migrations_make_the_present_state(upgraded: Connection, made: dict[str, list[str]]) -> None:
    for name in set(sql.names()) - {GUARD, *BY_IDENTITY}:
        sql.run(upgraded, sql.read(name))
    schema.repair(upgraded)
    again = state(upgraded)
    assert {n: set(r) ^ set(made[n]) for n, r in again.items()} == {n: set() for n in made}
    assert schema.check(upgraded) == []
    assert min(len(rows) for rows in made.values()) > 20


@pytest.mark.integration
@pytest.mark.parametrize("start", [start for start in STARTS if start != REVISIONS[-1]])
def test_a_way_down_and_up_again_leads_to_the_same_state(
    start: str, upgraded: Connection, made: dict[str, list[str]]
) -> None:
    schema.downgrade(upgraded.engine.url, start)
    schema.upgrade(upgraded.engine.url)
    assert state(upgraded) == made


NEXT = '''"""Count something more."""

from pathlib import Path

from alembic import op

from dumacle_cli.store import sql

revision = {revision!r}
down_revision = {down_revision!r}


def upgrade() -> None:
    op.execute("ALTER TABLE app.quota_counters ADD COLUMN extra bigint NOT NULL DEFAULT 0")
    sql.run(op.get_bind(), sql.frozen(Path(__file__).parents[1], revision)("quotas"))


def downgrade() -> None:
    op.execute("DROP FUNCTION app.extra(app.quota_counters)")
    op.execute("ALTER TABLE app.quota_counters DROP COLUMN extra")
'''
USES_IT = """
CREATE OR REPLACE FUNCTION app.extra(p_counter app.quota_counters) RETURNS bigint LANGUAGE sql IMMUTABLE
RETURN p_counter.extra;
"""


@pytest.mark.integration
@pytest.mark.parametrize("start", ["base", "0004", "0013", revisions.OWN])
def test_a_next_migration_may_add_a_column_that_the_sql_files_use(
    start: str, connection: Connection, pg_url: URL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if start != "base":
        schema.upgrade(pg_url, start)
    following = f"{int(revisions.OWN) + 1:04d}"
    copy = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "versions" / f"{following}_count_more.py").write_text(
        NEXT.format(revision=following, down_revision=revisions.OWN)
    )
    (copy / "sql" / f"{following}_quotas.sql").write_text(sql.read("quotas") + USES_IT)
    monkeypatch.setattr(schema, "folder", lambda: copy)
    schema.upgrade(pg_url)
    assert schema.current(connection) == following
    assert connection.scalar(text("SELECT count(app.extra(c)) FROM app.quota_counters AS c")) == 0

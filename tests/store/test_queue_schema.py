"""The schema of the queue is that of the installed procrastinate, and every database has it.

Migration 0009 loads procrastinate's complete schema instead of its migrations: on PostgreSQL 16 they cannot run in a
single transaction ("unsafe use of new value of enum type"). So a new procrastinate changes fresh databases, but not
existing ones: until a migration of Dumacle runs the new files of the package, they would differ.
"""

import shutil
from pathlib import Path

import pytest
from procrastinate.schema import SchemaManager
from sqlalchemy import URL, Connection, text

from dumacle_cli.store import revisions, schema, sql

LAST = "03.04.00_50_post_add_retry_failed_job_procedure.sql"
"""The last of procrastinate's migrations that databases of the present revision contain."""
# Without the triggers that notify: migration 0017 drops them.
CATALOG = text(r"""
    SELECT 'function', oid::regprocedure::text, prosrc FROM pg_proc WHERE pronamespace = 'queue'::regnamespace
    UNION ALL SELECT 'trigger', tgrelid::regclass || '.' || tgname, pg_get_triggerdef(t.oid)
        FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = tgrelid
        WHERE relnamespace = 'queue'::regnamespace AND NOT tgisinternal AND tgname !~ '_notify_queue_'
    UNION ALL SELECT 'type', t.oid::regtype::text, enumlabel FROM pg_type AS t JOIN pg_enum ON enumtypid = t.oid
        WHERE typnamespace = 'queue'::regnamespace
    UNION ALL SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = 'queue'
    UNION ALL SELECT 'constraint', conrelid::regclass || '.' || conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'queue'::regnamespace
    UNION ALL SELECT 'column', attrelid::regclass || '.' || attname, format_type(atttypid, atttypmod) || attnotnull
        || coalesce(pg_get_expr(adbin, adrelid), '')
        FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
        LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE relnamespace = 'queue'::regnamespace AND attnum > 0 AND NOT attisdropped AND relkind IN ('r', 'c')
    ORDER BY 1, 2, 3
""")


def shipped() -> list[Path]:
    """The migrations in the installed procrastinate, in order."""
    return sorted(Path(SchemaManager.get_migrations_path()).glob("*.sql"))


def catalog(connection: Connection) -> list[tuple[str, str, str]]:
    """What PostgreSQL knows of the schema `queue`."""
    connection.execute(text("SET search_path = queue, pg_temp"))
    found = [(kind, name, definition) for kind, name, definition in connection.execute(CATALOG)]
    connection.rollback()
    return found


@pytest.mark.unit
def test_procrastinate_has_no_newer_migration() -> None:
    newer = [file.name for file in shipped() if file.name > LAST]
    assert newer == [], "write a migration that runs these files, then name the last one here: see CONTRIBUTING.md"
    assert LAST in [file.name for file in shipped()]


@pytest.mark.integration
def test_a_new_database_has_the_schema_of_the_package(migrated: Connection) -> None:
    ours = catalog(migrated)
    install(migrated, [SchemaManager.get_schema()])
    assert set(catalog(migrated)) ^ set(ours) == set()
    assert len(ours) > 40


@pytest.mark.integration
def test_a_database_of_an_older_procrastinate_has_it_too(migrated: Connection) -> None:
    ours = catalog(migrated)
    install(migrated, [file.read_text("utf-8") for file in shipped()])
    assert set(catalog(migrated)) ^ set(ours) == set()


NEXT = """
from pathlib import Path

from alembic import op
from procrastinate.schema import SchemaManager

from dumacle_cli.store import sql

revision = {revision!r}
down_revision = {down_revision!r}


def upgrade() -> None:
    with op.get_context().autocommit_block():
        for name in {names!r}:
            file = Path(SchemaManager.get_migrations_path(), name)
            sql.run(op.get_bind(), f"SET search_path = queue, pg_temp; {{file.read_text('utf-8')}}; RESET search_path")
"""


@pytest.mark.integration
def test_a_migration_can_run_the_files_of_a_newer_procrastinate(
    migrated: Connection, pg_url: URL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = catalog(migrated)
    newer = [file.name for file in shipped() if file.name > "02.06"]
    install(migrated, [file.read_text("utf-8") for file in shipped() if file.name not in newer])
    assert catalog(migrated) != ours
    copy = tmp_path / "migrations"
    shutil.copytree(schema.folder(), copy, ignore=shutil.ignore_patterns("__pycache__"))
    next_ = f"{int(revisions.OWN) + 1:04d}"
    migration = NEXT.format(revision=next_, down_revision=revisions.OWN, names=newer)
    (copy / "versions" / f"{next_}_queue.py").write_text(migration)
    monkeypatch.setattr(schema, "folder", lambda: copy)
    schema.upgrade(pg_url)
    assert set(catalog(migrated)) ^ set(ours) == set()


def install(connection: Connection, scripts: list[str]) -> None:
    """Replace the schema `queue` with what these scripts create, each in a transaction of its own."""
    for script in ["DROP SCHEMA queue CASCADE; CREATE SCHEMA queue", *scripts]:
        with connection.begin():
            sql.run(connection, f"SET search_path = queue, pg_temp; {script}")

"""The queue: procrastinate's own schema, in a schema of its own."""

from importlib import resources

from alembic import op

from dumacle_cli.store import sql

revision = "0009"
down_revision = "0008"

# Its functions name their tables without a schema, and must find them from any session.
PIN_SEARCH_PATH = """
DO $$
DECLARE
    function regprocedure;
BEGIN
    FOR function IN SELECT oid FROM pg_proc WHERE pronamespace = 'queue'::regnamespace LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = queue, pg_temp', function);
    END LOOP;
END $$
"""

LAST = "03.04.00_50_post_add_retry_failed_job_procedure.sql"


def scripts() -> list[str]:
    """Return the migrations that the package ships, in order, up to the one named here; a later one is one of ours."""
    folder = resources.files("procrastinate") / "sql" / "migrations"
    shipped = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [(folder / name).read_text(encoding="utf-8") for name in shipped if name <= LAST]


def upgrade() -> None:
    connection = op.get_bind()
    sql.run(connection, "CREATE SCHEMA queue; SET LOCAL search_path = queue, pg_temp")
    for script in scripts():
        sql.run(connection, script)
    sql.run(connection, PIN_SEARCH_PATH)
    sql.run(connection, "SET LOCAL search_path TO DEFAULT")


def downgrade() -> None:
    op.execute("DROP SCHEMA queue CASCADE")

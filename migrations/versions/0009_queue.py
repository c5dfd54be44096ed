"""The queue: procrastinate's own schema, in a schema of its own."""

from alembic import op
from procrastinate.schema import SchemaManager

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


def upgrade() -> None:
    connection = op.get_bind()
    sql.run(connection, "CREATE SCHEMA queue; SET LOCAL search_path = queue, pg_temp")
    sql.run(connection, SchemaManager.get_schema())
    sql.run(connection, PIN_SEARCH_PATH)
    sql.run(connection, "SET LOCAL search_path TO DEFAULT")


def downgrade() -> None:
    op.execute("DROP SCHEMA queue CASCADE")

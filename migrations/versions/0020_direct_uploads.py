"""Reservations for files that clients send to the store themselves."""

from pathlib import Path

from alembic import op

from dumacle_cli.store import identity, sql

revision = "0020"
down_revision = "0019"

MIGRATIONS = Path(__file__).parents[1]
READ, BEFORE = sql.frozen(MIGRATIONS, revision), sql.frozen(MIGRATIONS, down_revision)


def upgrade() -> None:
    connection = op.get_bind()
    sql.run(connection, READ("direct"))
    identity.install(connection, READ)


def downgrade() -> None:
    connection = op.get_bind()
    for function in sql.functions(READ("direct")):
        op.execute(f"DROP FUNCTION app.{function}")
    identity.install(connection, BEFORE)

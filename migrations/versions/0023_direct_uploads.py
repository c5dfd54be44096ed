"""Reservations for files that clients send to the store themselves, and which files pods and plans accept."""

from pathlib import Path

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from dumacle_cli.store import identity, sql

revision = "0023"
down_revision = "0022"

MIGRATIONS = Path(__file__).parents[1]
READ, BEFORE = sql.frozen(MIGRATIONS, revision), sql.frozen(MIGRATIONS, down_revision)
TABLES = ("pods", "plans")
CHECKS = {
    "allowed_types": "cardinality(allowed_types) > 0 AND octet_length(allowed_types::text) <= 4096",
    "max_file_size": "max_file_size >= 0",
}


def upgrade() -> None:
    connection = op.get_bind()
    for table in TABLES:
        op.add_column(table, sa.Column("allowed_types", postgresql.ARRAY(sa.Text())), schema="app")
        op.add_column(table, sa.Column("max_file_size", sa.BigInteger()), schema="app")
        for column, check in CHECKS.items():
            op.create_check_constraint(op.f(f"ck_{table}_{column}"), table, check, schema="app")
    sql.run(connection, READ("direct"))
    identity.install(connection, READ)


def downgrade() -> None:
    connection = op.get_bind()
    for function in sql.functions(READ("direct")):
        op.execute(f"DROP FUNCTION app.{function}")
    identity.install(connection, BEFORE)
    for table in TABLES:
        for column in CHECKS:
            op.drop_column(table, column, schema="app")

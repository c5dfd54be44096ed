"""Whoever writes is asked again at COMMIT whether they still may."""

import sqlalchemy as sa
from alembic import op

from dumacle_cli.store import identity, sql

revision = "0016"
down_revision = "0015"

# What the functions that stay call: in the release before, nobody is asked at COMMIT.
UNASKED = """
    CREATE OR REPLACE FUNCTION app.note_actor() RETURNS void LANGUAGE sql BEGIN ATOMIC END;
    CREATE OR REPLACE FUNCTION app.note_own() RETURNS void LANGUAGE sql BEGIN ATOMIC END;
"""


def upgrade() -> None:
    connection = op.get_bind()
    op.create_table(
        "acting",
        sa.Column("transaction", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("own", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.PrimaryKeyConstraint("transaction", name=op.f("pk_acting")),
        schema="app",
        prefixes=["UNLOGGED"],
    )
    for name in ("leases", "bookings", "units", "closings", "jobs"):
        sql.load(connection, name)
    identity.install(connection)


def downgrade() -> None:
    op.drop_table("acting", schema="app")
    sql.run(op.get_bind(), UNASKED)

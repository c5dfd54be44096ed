"""Whoever writes is asked again at COMMIT whether they still may."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.create_table(
        "acting",
        sa.Column("transaction", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("own", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.PrimaryKeyConstraint("transaction", name=op.f("pk_acting")),
        schema="app",
        prefixes=["UNLOGGED"],
    )


def downgrade() -> None:
    op.drop_table("acting", schema="app")

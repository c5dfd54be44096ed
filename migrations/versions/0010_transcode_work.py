"""What transcoding counts and publishes: seconds charged, bytes reserved, crashes, and where to start playing."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("transcodes", sa.Column("seconds", sa.BigInteger()), schema="app")
    op.create_check_constraint(op.f("ck_transcodes_seconds"), "transcodes", "seconds >= 0", schema="app")
    op.add_column("units", sa.Column("reserved", sa.BigInteger(), server_default="0", nullable=False), schema="app")
    op.create_check_constraint(op.f("ck_units_reserved"), "units", "reserved >= 0", schema="app")
    op.add_column("units", sa.Column("crashes", sa.BigInteger(), server_default="0", nullable=False), schema="app")
    op.create_check_constraint(op.f("ck_units_crashes"), "units", "crashes >= 0", schema="app")
    op.add_column("renditions", sa.Column("entry", sa.Text(), server_default="", nullable=False), schema="app")
    op.add_column("renditions", sa.Column("frames", sa.BigInteger()), schema="app")
    op.add_column("renditions", sa.Column("rungs", postgresql.JSONB(astext_type=sa.Text())), schema="app")


def downgrade() -> None:
    for column in ("rungs", "frames", "entry"):
        op.drop_column("renditions", column, schema="app")
    for column in ("crashes", "reserved"):
        op.drop_column("units", column, schema="app")
    op.drop_column("transcodes", "seconds", schema="app")

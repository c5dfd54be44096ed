"""A file remembers the version whose object was found missing or different, so that it is uploaded again."""

from pathlib import Path

import sqlalchemy as sa
from alembic import op

from dumacle_cli.store import identity, sql

revision = "0020"
down_revision = "0019"

MIGRATIONS = Path(__file__).parents[1]
READ, BEFORE = sql.frozen(MIGRATIONS, revision), sql.frozen(MIGRATIONS, down_revision)


def upgrade() -> None:
    op.add_column("files", sa.Column("lost_version_id", sa.BigInteger(), nullable=True), schema="app")
    identity.install(op.get_bind(), READ)


def downgrade() -> None:
    op.drop_column("files", "lost_version_id", schema="app")
    identity.install(op.get_bind(), BEFORE)

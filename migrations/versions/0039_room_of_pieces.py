"""A film that is put together takes the room of its pieces."""

from pathlib import Path

from alembic import op

from dumacle_cli.store import sql

revision = "0039"
down_revision = "0038"

MIGRATIONS = Path(__file__).parents[1]
READ, BEFORE = sql.frozen(MIGRATIONS, revision), sql.frozen(MIGRATIONS, down_revision)


def upgrade() -> None:
    sql.run(op.get_bind(), READ("units"))


def downgrade() -> None:
    sql.run(op.get_bind(), BEFORE("units"))

"""What a transcode does about a damaged source, and how much of it was damaged."""

from pathlib import Path

from alembic import op

from dumacle_cli.store import identity, sql

revision = "0031"
down_revision = "0030"

MIGRATIONS = Path(__file__).parents[1]
READ, BEFORE = sql.frozen(MIGRATIONS, revision), sql.frozen(MIGRATIONS, down_revision)

COLUMNS = """
    ALTER TABLE app.transcodes ADD COLUMN damage text NOT NULL DEFAULT 'repair',
        ADD CONSTRAINT ck_transcodes_damage CHECK (damage IN ('refuse', 'repair'));
    ALTER TABLE app.renditions ADD COLUMN damaged double precision NOT NULL DEFAULT 0,
        ADD CONSTRAINT ck_renditions_damaged CHECK (damaged BETWEEN 0 AND 1);
"""
NO_COLUMNS = """
    ALTER TABLE app.transcodes DROP COLUMN damage;
    ALTER TABLE app.renditions DROP COLUMN damaged;
"""


def upgrade() -> None:
    connection = op.get_bind()
    sql.run(connection, COLUMNS)
    sql.run(connection, READ("units"))
    identity.install(connection, READ)


def downgrade() -> None:
    connection = op.get_bind()
    sql.run(connection, NO_COLUMNS)
    sql.run(connection, BEFORE("units"))
    identity.install(connection, BEFORE)

"""Objects that several versions of one owner in one pod share, and the index that finds contents."""

from pathlib import Path

from alembic import op
from psycopg.errors import UniqueViolation

from dumacle_cli.errors import Conflict
from dumacle_cli.store import identity, sql

revision = "0026"
down_revision = "0025"

MIGRATIONS = Path(__file__).parents[1]
READ, BEFORE = sql.frozen(MIGRATIONS, revision), sql.frozen(MIGRATIONS, down_revision)

# The indexes first: reading goes on while they are built, and nothing does while the constraint is dropped.
SHARED = """
    CREATE INDEX ix_versions_key ON app.versions (key);
    CREATE INDEX ix_files_owner_id_sha256_live ON app.files (owner_id, sha256)
        WHERE deleted_at IS NULL AND sha256 IS NOT NULL;
    ALTER TABLE app.versions DROP CONSTRAINT uq_versions_key;
"""
ALONE = """
    ALTER TABLE app.versions ADD CONSTRAINT uq_versions_key UNIQUE (key);
    DROP INDEX app.ix_versions_key, app.ix_files_owner_id_sha256_live;
"""


def upgrade() -> None:
    connection = op.get_bind()
    sql.run(connection, SHARED)
    sql.run(connection, READ("objects"))
    identity.install(connection, READ)


def downgrade() -> None:
    connection = op.get_bind()
    try:
        sql.run(connection, ALONE)
    except UniqueViolation:
        # A migration cannot copy objects, and the release before would delete an object with its first version.
        reason = "files share objects, which the release before does not know"
        advice = "upload them again with --force, then: dumacle files purge --older-than 0s"
        raise Conflict(reason=reason, advice=advice) from None
    op.execute("DROP FUNCTION app.share_objects(bigint[], bytea[])")
    identity.install(connection, BEFORE)

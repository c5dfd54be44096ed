"""Uploads that send their files to the secondary provider, and that stay in use of it while they run."""

from pathlib import Path

from alembic import op

from dumacle_cli.store import identity, sql

revision = "0025"
down_revision = "0024"

MIGRATIONS = Path(__file__).parents[1]
READ, BEFORE = sql.frozen(MIGRATIONS, revision), sql.frozen(MIGRATIONS, down_revision)


def upgrade() -> None:
    connection = op.get_bind()
    sql.run(connection, "ALTER TABLE app.pods ADD COLUMN copies_during_uploads boolean NOT NULL DEFAULT false")
    sql.run(connection, READ("copies"))
    identity.install(connection, READ)


def downgrade() -> None:
    connection = op.get_bind()
    sql.run(connection, BEFORE("copies"))
    op.execute("DROP FUNCTION app.is_pod_in_use(bigint)")
    sql.run(connection, "DROP TRIGGER audit ON app.pods")  # it names the column
    sql.run(connection, "ALTER TABLE app.pods DROP COLUMN copies_during_uploads")
    identity.install(connection, BEFORE)

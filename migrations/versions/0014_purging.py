"""Purging and erasing by functions only, so that what goes is counted as it goes; no login names an instant to come."""

from pathlib import Path

from alembic import op

from dumacle_cli.store import identity, sql

revision = "0014"
down_revision = "0013"

READ = sql.frozen(Path(__file__).parents[1], revision)

# In the release before, a purge deletes rows itself, and then says what to give back.
BY_HAND = """
DO $$
DECLARE
    name text;
BEGIN
    FOR name IN
        SELECT quote_ident(r.rolname) FROM app.installation AS i, pg_roles AS r
        WHERE r.rolname IN (i.prefix || '_superadmins', i.prefix || '_admins', i.prefix || '_crons')
    LOOP
        EXECUTE 'GRANT EXECUTE ON FUNCTION app.release_storage TO ' || name;
        EXECUTE 'GRANT DELETE ON app.files, app.versions, app.transcodes, app.renditions TO ' || name;
        EXECUTE 'GRANT UPDATE (updated_at) ON app.pods TO ' || name;
    END LOOP;
END $$
"""


def upgrade() -> None:
    connection = op.get_bind()
    for name in ("leases", "bookings", "closings"):
        sql.run(connection, READ(name))
    identity.install(connection, READ)


def downgrade() -> None:
    sql.run(op.get_bind(), BY_HAND)

"""What a function checks it locks, what one login takes is bounded, and changes of contents are in the audit log."""

from pathlib import Path

from alembic import op

from dumacle_cli.store import identity, sql

revision = "0019"
down_revision = "0018"

MIGRATIONS = Path(__file__).parents[1]
READ, BEFORE = sql.frozen(MIGRATIONS, revision), sql.frozen(MIGRATIONS, "0015")
FUNCTIONS = ("leases", "bookings", "units", "closings", "jobs", "objects")
IDENTITY = ("identity", "erasure", "audit")
OTHERWISE = ("login_user(bigint, boolean)", "logins_of(bigint, text)")
"""What has another signature in the release before."""


# Every service had this limit; whoever chose another keeps it. What has none gets that of its duty.
NO_LIMIT = """
DO $$
DECLARE
    name text;
BEGIN
    PERFORM set_config('role', pg_get_userbyid(nspowner)::text, true) FROM pg_namespace WHERE nspname = 'login';
    FOR name IN
        SELECT l.rolname FROM pg_roles AS l JOIN pg_auth_members AS m ON m.member = l.oid
        JOIN pg_roles AS g ON g.oid = m.roleid
        WHERE l.rolconnlimit = 100 AND l.rolcanlogin AND pg_has_role(l.oid, 'MEMBER WITH ADMIN OPTION')
            AND g.rolname ~ '_(ingest|worker|listener|cron)s$'
    LOOP
        EXECUTE format('ALTER ROLE %I CONNECTION LIMIT -1', name);
    END LOOP;
    RESET ROLE;
END $$
"""


def upgrade() -> None:
    connection = op.get_bind()
    sql.run(connection, NO_LIMIT)
    for name in FUNCTIONS:
        sql.run(connection, READ(name))
    identity.install(connection, READ)


def downgrade() -> None:
    connection = op.get_bind()
    files = (*FUNCTIONS, *IDENTITY)
    known = {function for name in files for function in sql.functions(BEFORE(name))}
    added = [function for name in files for function in sql.functions(READ(name)) if function not in known]
    for function in (*added, *OTHERWISE):
        op.execute(f"DROP FUNCTION IF EXISTS app.{function} CASCADE")
    for name in FUNCTIONS:
        sql.run(connection, BEFORE(name))
    identity.install(connection, BEFORE)

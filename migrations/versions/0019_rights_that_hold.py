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


def upgrade() -> None:
    connection = op.get_bind()
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

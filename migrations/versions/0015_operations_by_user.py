"""Operation ids are each user's own: nobody takes another's, and a repeat from a later session finds its operation."""

from pathlib import Path

from alembic import op

from dumacle_cli.store import identity, sql

revision = "0015"
down_revision = "0014"

READ = sql.frozen(Path(__file__).parents[1], revision)

# A session's login is gone once it ended; then the record of changes may still know whose it was.
BY_USER = """
    UPDATE app.operations AS o SET user_id = coalesce(
        (SELECT user_id FROM app.logins WHERE role = o.login),
        (SELECT actor_id FROM app.audit WHERE operation_id = o.id AND actor_id IS NOT NULL LIMIT 1),
        0
    );
    ALTER TABLE app.operations
        ALTER COLUMN user_id SET DEFAULT coalesce(app.actor(), 0),
        ALTER COLUMN user_id SET NOT NULL,
        DROP CONSTRAINT pk_operations,
        ADD CONSTRAINT pk_operations PRIMARY KEY (id, user_id);
"""
# An id has one operation in the release before: the first.
BY_ID = """
    DELETE FROM app.operations AS o USING app.operations AS earlier
    WHERE earlier.id = o.id AND (earlier.created_at, earlier.user_id) < (o.created_at, o.user_id);
    ALTER TABLE app.operations
        DROP CONSTRAINT pk_operations,
        ADD CONSTRAINT pk_operations PRIMARY KEY (id),
        ALTER COLUMN user_id DROP NOT NULL;
"""


def upgrade() -> None:
    connection = op.get_bind()
    identity.install(connection, READ)
    sql.run(connection, BY_USER)


def downgrade() -> None:
    sql.run(op.get_bind(), BY_ID)

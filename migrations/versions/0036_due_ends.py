"""When Dumacle has to end a subscription, because Stripe refused to do that later."""

from pathlib import Path

from alembic import op

from dumacle_cli.store import identity, sql

revision = "0036"
down_revision = "0035"

READ = sql.frozen(Path(__file__).parents[1], revision)
BETWEEN = "BETWEEN '1970-01-01 00:00:00+00' AND '2999-12-31 23:59:59+00'"
BEFORE = ("current_period_start", "current_period_end", "cancel_at", "trial_end", "resumes_at")
LAST = ("started_at", "ended_at", "updated_at")
COLUMN = """
    ALTER TABLE app.subscriptions ADD COLUMN end_due_at timestamptz;
    CREATE INDEX ix_subscriptions_end_due_at ON app.subscriptions (end_due_at) WHERE end_due_at IS NOT NULL;
"""


def upgrade() -> None:
    connection = op.get_bind()
    sql.run(connection, COLUMN)
    _bound((*BEFORE, "end_due_at", *LAST))
    identity.install(connection, READ)


def downgrade() -> None:
    _bound((*BEFORE, *LAST))
    op.drop_column("subscriptions", "end_due_at", schema="app")


def _bound(times: tuple[str, ...]) -> None:
    op.drop_constraint(op.f("ck_subscriptions_times"), "subscriptions", schema="app")
    within = " AND ".join(f"{column} {BETWEEN}" for column in times)
    op.create_check_constraint(op.f("ck_subscriptions_times"), "subscriptions", within, schema="app")

"""What Stripe says of a subscription beside its status, the plans that follow it, and the e-mail Stripe was told."""

from pathlib import Path

from alembic import op

from dumacle_cli.store import identity, sql

revision = "0027"
down_revision = "0026"

MIGRATIONS = Path(__file__).parents[1]
READ, BEFORE = sql.frozen(MIGRATIONS, revision), sql.frozen(MIGRATIONS, down_revision)
BETWEEN = "BETWEEN '1970-01-01 00:00:00+00' AND '2999-12-31 23:59:59+00'"
TIMES = ("current_period_start", "current_period_end", "started_at", "ended_at", "updated_at")
MORE_TIMES = (*TIMES[:2], "cancel_at", "trial_end", "resumes_at", *TIMES[2:])
TEXTS = ("stripe_subscription_id", "stripe_customer_id")
MORE_TEXTS = (*TEXTS, "pause_collection", "unknown_status", "stripe_schedule_id")

# Defaults are constants, so no row is written; the new CHECKs are validated after they stand.
COLUMNS = """
    ALTER TABLE app.customers ADD COLUMN email text;
    ALTER TABLE app.subscriptions
        ADD COLUMN cancel_at timestamptz,
        ADD COLUMN trial_end timestamptz,
        ADD COLUMN pause_collection text,
        ADD COLUMN resumes_at timestamptz,
        ADD COLUMN unknown_status text,
        ADD COLUMN quantity bigint NOT NULL DEFAULT '1',
        ADD COLUMN plan_items bigint NOT NULL DEFAULT '1',
        ADD COLUMN stripe_schedule_id text,
        ADD COLUMN next_plan_id bigint CONSTRAINT fk_subscriptions_next_plan_id
            REFERENCES app.plans (id) ON DELETE RESTRICT,
        ADD COLUMN fallback_plan_id bigint CONSTRAINT fk_subscriptions_fallback_plan_id
            REFERENCES app.plans (id) ON DELETE RESTRICT,
        ADD CONSTRAINT ck_subscriptions_quantity CHECK (quantity >= 0 AND plan_items >= 0);
    CREATE INDEX ix_subscriptions_questionable ON app.subscriptions (user_id)
        WHERE status NOT IN ('canceled', 'incomplete_expired')
            AND (ended_at IS NOT NULL OR unknown_status IS NOT NULL OR plan_items <> 1);
"""


def upgrade() -> None:
    connection = op.get_bind()
    sql.run(connection, COLUMNS)
    _check("customers", "texts", {"stripe_customer_id": "<= 255", "email": "<= 320"})
    _bound_subscriptions(MORE_TIMES, MORE_TEXTS)
    identity.install(connection, READ)


def downgrade() -> None:
    identity.install(op.get_bind(), BEFORE)
    _check("customers", "texts", {"stripe_customer_id": "<= 255"})
    _bound_subscriptions(TIMES, TEXTS)
    op.execute("ALTER TABLE app.customers DROP COLUMN email")
    op.execute("DROP INDEX app.ix_subscriptions_questionable")
    gone = ("cancel_at", "trial_end", "pause_collection", "resumes_at", "unknown_status", "quantity", "plan_items")
    for column in (*gone, "stripe_schedule_id", "next_plan_id", "fallback_plan_id"):
        op.drop_column("subscriptions", column, schema="app")


def _bound_subscriptions(times: tuple[str, ...], texts: tuple[str, ...]) -> None:
    op.drop_constraint(op.f("ck_subscriptions_times"), "subscriptions", schema="app")
    within = " AND ".join(f"{column} {BETWEEN}" for column in times)
    op.create_check_constraint(op.f("ck_subscriptions_times"), "subscriptions", within, schema="app")
    _check("subscriptions", "texts", dict.fromkeys(texts, "<= 255"))


def _check(table: str, name: str, lengths: dict[str, str]) -> None:
    op.drop_constraint(op.f(f"ck_{table}_{name}"), table, schema="app")
    within = " AND ".join(f"octet_length({column}) {limit}" for column, limit in lengths.items())
    op.create_check_constraint(op.f(f"ck_{table}_{name}"), table, within, schema="app")

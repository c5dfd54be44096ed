"""Stripe's customers, and what applying an event needs: how often an object was wanted and had, and who holds it."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0012"
down_revision = "0011"

STATUSES = "status IN ('received', 'applied', 'ignored', 'foreign', 'parked', 'dead')"


def upgrade() -> None:
    op.create_table(
        "customers",
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("stripe_customer_id", sa.Text(collation="C"), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["app.users.id"], name=op.f("fk_customers_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_customers")),
        sa.UniqueConstraint("stripe_customer_id", name=op.f("uq_customers_stripe_customer_id")),
        schema="app",
    )
    op.create_index(
        "ix_subscriptions_status_id",
        "subscriptions",
        ["status", "id"],
        schema="app",
        postgresql_where=sa.text("status <> 'active'"),
    )
    _alter_events()
    # A body may hold an escaped NUL, which jsonb refuses.
    op.execute("ALTER TABLE app.stripe_payloads ALTER payload TYPE bytea USING convert_to(payload::text, 'UTF8')")
    _alter_objects()


def _alter_events() -> None:
    op.drop_constraint(op.f("ck_stripe_events_status"), "stripe_events", schema="app")
    op.execute("UPDATE app.stripe_events SET status = 'received' WHERE status = 'failed'")
    op.create_check_constraint(op.f("ck_stripe_events_status"), "stripe_events", STATUSES, schema="app")
    op.drop_constraint(op.f("ck_stripe_events_attempts"), "stripe_events", schema="app")
    op.drop_column("stripe_events", "attempts", schema="app")
    for column in (
        sa.Column("livemode", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("deliveries", sa.BigInteger(), server_default="1", nullable=False),
        sa.Column("want", sa.BigInteger()),
        sa.Column("applied_at", postgresql.TIMESTAMP(timezone=True)),
    ):
        op.add_column("stripe_events", column, schema="app")


def _alter_objects() -> None:
    for column in (
        sa.Column("livemode", sa.Boolean()),
        sa.Column("want", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("have", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("lease_token", sa.Uuid()),
    ):
        op.add_column("stripe_objects", column, schema="app")
    op.execute("UPDATE app.stripe_objects SET leased_until = NULL")
    op.create_check_constraint(
        op.f("ck_stripe_objects_have"), "stripe_objects", "have BETWEEN 0 AND want", schema="app"
    )
    op.create_check_constraint(
        op.f("ck_stripe_objects_lease"),
        "stripe_objects",
        "(lease_token IS NULL) = (leased_until IS NULL)",
        schema="app",
    )


def downgrade() -> None:
    for constraint in ("lease", "have"):
        op.drop_constraint(op.f(f"ck_stripe_objects_{constraint}"), "stripe_objects", schema="app")
    for column in ("lease_token", "have", "want", "livemode"):
        op.drop_column("stripe_objects", column, schema="app")
    op.execute(
        "DELETE FROM app.stripe_payloads WHERE NOT pg_input_is_valid(convert_from(payload, 'UTF8'), 'jsonb')",
    )
    op.execute("ALTER TABLE app.stripe_payloads ALTER payload TYPE jsonb USING convert_from(payload, 'UTF8')::jsonb")
    for column in ("applied_at", "want", "deliveries", "livemode"):
        op.drop_column("stripe_events", column, schema="app")
    op.add_column(
        "stripe_events", sa.Column("attempts", sa.BigInteger(), server_default="0", nullable=False), schema="app"
    )
    op.create_check_constraint(op.f("ck_stripe_events_attempts"), "stripe_events", "attempts >= 0", schema="app")
    op.drop_constraint(op.f("ck_stripe_events_status"), "stripe_events", schema="app")
    op.execute("UPDATE app.stripe_events SET status = 'failed' WHERE status IN ('parked', 'dead')")
    op.execute("UPDATE app.stripe_events SET status = 'applied' WHERE status IN ('ignored', 'foreign')")
    op.create_check_constraint(
        op.f("ck_stripe_events_status"), "stripe_events", "status IN ('received', 'applied', 'failed')", schema="app"
    )
    op.drop_index("ix_subscriptions_status_id", "subscriptions", schema="app")
    op.drop_table("customers", schema="app")

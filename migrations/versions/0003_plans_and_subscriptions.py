"""What is sold, and who bought it."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "plans",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("price", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("interval", sa.Text(), nullable=False),
        sa.Column("default_pod_id", sa.BigInteger()),
        sa.Column("storage_limit", sa.BigInteger()),
        sa.Column("upload_limit", sa.BigInteger()),
        sa.Column("transcode_limit", sa.BigInteger()),
        sa.Column("stripe_product_id", sa.Text()),
        sa.Column("stripe_price_id", sa.Text()),
        sa.Column("lookup_key", sa.Text()),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("archived_at", postgresql.TIMESTAMP(timezone=True)),
        sa.CheckConstraint("currency ~ '^[a-z]{3}$'", name=op.f("ck_plans_currency")),
        sa.CheckConstraint("interval IN ('month', 'year')", name=op.f("ck_plans_interval")),
        sa.CheckConstraint("octet_length(name) BETWEEN 1 AND 255", name=op.f("ck_plans_name")),
        sa.CheckConstraint("price >= 0", name=op.f("ck_plans_price")),
        sa.CheckConstraint("storage_limit >= 0", name=op.f("ck_plans_storage_limit")),
        sa.CheckConstraint("transcode_limit >= 0", name=op.f("ck_plans_transcode_limit")),
        sa.CheckConstraint("upload_limit >= 0", name=op.f("ck_plans_upload_limit")),
        sa.ForeignKeyConstraint(
            ["default_pod_id"], ["app.pods.id"], name=op.f("fk_plans_default_pod_id"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_plans")),
        sa.UniqueConstraint("lookup_key", name=op.f("uq_plans_lookup_key")),
        sa.UniqueConstraint("name", name=op.f("uq_plans_name")),
        sa.UniqueConstraint("stripe_price_id", name=op.f("uq_plans_stripe_price_id")),
        schema="app",
    )
    op.create_index(op.f("ix_plans_default_pod_id"), "plans", ["default_pod_id"], schema="app")
    op.create_table(
        "subscriptions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("plan_id", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("stripe_subscription_id", sa.Text()),
        sa.Column("stripe_customer_id", sa.Text()),
        sa.Column("current_period_start", postgresql.TIMESTAMP(timezone=True)),
        sa.Column("current_period_end", postgresql.TIMESTAMP(timezone=True)),
        sa.Column("cancel_at_period_end", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("started_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("ended_at", postgresql.TIMESTAMP(timezone=True)),
        sa.Column("updated_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "status IN ('active', 'trialing', 'past_due', 'unpaid', 'canceled', 'incomplete', "
            "'incomplete_expired', 'paused')",
            name=op.f("ck_subscriptions_status"),
        ),
        sa.ForeignKeyConstraint(
            ["plan_id"], ["app.plans.id"], name=op.f("fk_subscriptions_plan_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["app.users.id"], name=op.f("fk_subscriptions_user_id"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subscriptions")),
        sa.UniqueConstraint("stripe_subscription_id", name=op.f("uq_subscriptions_stripe_subscription_id")),
        schema="app",
    )
    op.create_index(op.f("ix_subscriptions_plan_id_id"), "subscriptions", ["plan_id", "id"], schema="app")
    op.create_index(
        op.f("ix_subscriptions_stripe_customer_id"),
        "subscriptions",
        ["stripe_customer_id"],
        schema="app",
        postgresql_where=sa.text("stripe_customer_id IS NOT NULL"),
    )
    op.create_index(op.f("ix_subscriptions_user_id_id"), "subscriptions", ["user_id", "id"], schema="app")
    op.create_index(
        "uq_subscriptions_user_live",
        "subscriptions",
        ["user_id"],
        unique=True,
        schema="app",
        postgresql_where=sa.text("ended_at IS NULL"),
    )


def downgrade() -> None:
    op.drop_table("subscriptions", schema="app")
    op.drop_table("plans", schema="app")

"""Quotas, and the functions that compute their periods."""

from pathlib import Path

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from dumacle_cli.store import sql

revision = "0004"
down_revision = "0003"

READ = sql.frozen(Path(__file__).parents[1], revision)

FUNCTIONS = (
    "close_quota_periods(timestamptz, integer)",
    "consume_quota(text, bigint, text, bigint, timestamptz)",
    "open_quota_counter(bigint, text, timestamptz)",
    "quota_usage(bigint, text, timestamptz)",
    "quota_limit(bigint, text, timestamptz)",
    "quota_inherited(bigint, text, timestamptz)",
    "quota_window(bigint, text, timestamptz)",
    "quota_anchor(bigint, timestamptz)",
    "quota_period_end(timestamptz, timestamptz)",
    "quota_period_start(timestamptz, timestamptz)",
    "quota_period_number(timestamptz, timestamptz)",
)


def upgrade() -> None:
    op.create_table(
        "quota_anchors",
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("effective_from", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("anchor", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["app.users.id"], name=op.f("fk_quota_anchors_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "effective_from", name=op.f("pk_quota_anchors")),
        schema="app",
    )
    op.create_table(
        "quota_counters",
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("period_start", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("period_end", postgresql.TIMESTAMP(timezone=True)),
        sa.Column("used", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("reserved", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("closed_at", postgresql.TIMESTAMP(timezone=True)),
        sa.CheckConstraint("(metric = 'storage') = (period_end IS NULL)", name=op.f("ck_quota_counters_period_end")),
        sa.CheckConstraint("metric IN ('storage', 'upload', 'transcode')", name=op.f("ck_quota_counters_metric")),
        sa.CheckConstraint("period_start < period_end", name=op.f("ck_quota_counters_period")),
        sa.CheckConstraint("reserved >= 0", name=op.f("ck_quota_counters_reserved")),
        sa.CheckConstraint("used >= 0", name=op.f("ck_quota_counters_used")),
        sa.ForeignKeyConstraint(
            ["user_id"], ["app.users.id"], name=op.f("fk_quota_counters_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "metric", "period_start", name=op.f("pk_quota_counters")),
        schema="app",
        postgresql_with={"fillfactor": "80"},
    )
    op.create_index(
        "ix_quota_counters_open",
        "quota_counters",
        ["period_end"],
        schema="app",
        postgresql_where=sa.text("closed_at IS NULL AND metric <> 'storage'"),
    )
    op.create_table(
        "quota_limits",
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("limit", sa.BigInteger()),
        sa.CheckConstraint("metric IN ('storage', 'upload', 'transcode')", name=op.f("ck_quota_limits_metric")),
        sa.CheckConstraint('"limit" >= 0', name=op.f("ck_quota_limits_limit")),
        sa.ForeignKeyConstraint(
            ["user_id"], ["app.users.id"], name=op.f("fk_quota_limits_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "metric", name=op.f("pk_quota_limits")),
        schema="app",
    )
    op.create_table(
        "quota_grants",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("period_start", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("metric IN ('storage', 'upload', 'transcode')", name=op.f("ck_quota_grants_metric")),
        sa.CheckConstraint("amount > 0", name=op.f("ck_quota_grants_amount")),
        sa.ForeignKeyConstraint(
            ["user_id"], ["app.users.id"], name=op.f("fk_quota_grants_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quota_grants")),
        schema="app",
    )
    op.create_index(
        op.f("ix_quota_grants_user_id_metric_period_start"),
        "quota_grants",
        ["user_id", "metric", "period_start"],
        schema="app",
    )
    op.create_table(
        "quota_entries",
        sa.Column("id", sa.Text(collation="C"), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("period_start", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("delta", sa.BigInteger(), nullable=False),
        sa.Column("occurred_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.CheckConstraint("metric IN ('storage', 'upload', 'transcode')", name=op.f("ck_quota_entries_metric")),
        sa.ForeignKeyConstraint(
            ["user_id"], ["app.users.id"], name=op.f("fk_quota_entries_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quota_entries")),
        schema="app",
    )
    op.create_index(op.f("ix_quota_entries_occurred_at"), "quota_entries", ["occurred_at"], schema="app")
    op.create_index(
        op.f("ix_quota_entries_user_id_metric_period_start"),
        "quota_entries",
        ["user_id", "metric", "period_start"],
        schema="app",
    )
    op.create_table(
        "quota_closings",
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("period_start", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("period_end", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("used", sa.BigInteger(), nullable=False),
        sa.Column("limit", sa.BigInteger()),
        sa.Column("plan_id", sa.BigInteger()),
        sa.Column("closed_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("metric IN ('storage', 'upload', 'transcode')", name=op.f("ck_quota_closings_metric")),
        sa.ForeignKeyConstraint(
            ["plan_id"], ["app.plans.id"], name=op.f("fk_quota_closings_plan_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["app.users.id"], name=op.f("fk_quota_closings_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "metric", "period_start", name=op.f("pk_quota_closings")),
        schema="app",
    )
    op.create_index(op.f("ix_quota_closings_closed_at"), "quota_closings", ["closed_at"], schema="app")
    op.create_index(op.f("ix_quota_closings_plan_id"), "quota_closings", ["plan_id"], schema="app")
    for name in ("quotas", "closings"):
        sql.run(op.get_bind(), READ(name))


def downgrade() -> None:
    op.execute("DROP TRIGGER cut_quota_periods ON app.quota_anchors")
    op.execute("DROP FUNCTION app.cut_quota_periods()")
    for function in FUNCTIONS:
        op.execute(f"DROP FUNCTION app.{function}")
    op.drop_table("quota_closings", schema="app")
    op.drop_table("quota_entries", schema="app")
    op.drop_table("quota_grants", schema="app")
    op.drop_table("quota_limits", schema="app")
    op.drop_table("quota_counters", schema="app")
    op.drop_table("quota_anchors", schema="app")

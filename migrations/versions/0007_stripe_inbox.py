"""Stripe's deliveries, and the objects they hint at."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "stripe_events",
        sa.Column("id", sa.Text(collation="C"), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("object_id", sa.Text(collation="C")),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("received_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("status", sa.Text(), server_default="received", nullable=False),
        sa.Column("attempts", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("error", sa.Text()),
        sa.CheckConstraint("status IN ('received', 'applied', 'failed')", name=op.f("ck_stripe_events_status")),
        sa.CheckConstraint("attempts >= 0", name=op.f("ck_stripe_events_attempts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stripe_events")),
        schema="app",
    )
    op.create_index(
        op.f("ix_stripe_events_object_id_received_at"), "stripe_events", ["object_id", "received_at"], schema="app"
    )
    op.create_index(op.f("ix_stripe_events_received_at_id"), "stripe_events", ["received_at", "id"], schema="app")
    op.create_index(
        "ix_stripe_events_unapplied",
        "stripe_events",
        ["status", "received_at"],
        schema="app",
        postgresql_where=sa.text("status <> 'applied'"),
    )
    op.create_table(
        "stripe_payloads",
        sa.Column("event_id", sa.Text(collation="C"), nullable=False),
        sa.Column("payload", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(
            ["event_id"], ["app.stripe_events.id"], name=op.f("fk_stripe_payloads_event_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_stripe_payloads")),
        schema="app",
    )
    op.create_table(
        "stripe_objects",
        sa.Column("id", sa.Text(collation="C"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("wanted_at", postgresql.TIMESTAMP(timezone=True)),
        sa.Column("leased_until", postgresql.TIMESTAMP(timezone=True)),
        sa.Column("fetched_at", postgresql.TIMESTAMP(timezone=True)),
        sa.Column("attempts", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("state", postgresql.JSONB(astext_type=sa.Text())),
        sa.CheckConstraint("attempts >= 0", name=op.f("ck_stripe_objects_attempts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stripe_objects")),
        schema="app",
        postgresql_with={"fillfactor": "80"},
    )
    op.create_index(op.f("ix_stripe_objects_kind_id"), "stripe_objects", ["kind", "id"], schema="app")
    op.create_index(
        "ix_stripe_objects_wanted",
        "stripe_objects",
        ["wanted_at"],
        schema="app",
        postgresql_where=sa.text("wanted_at IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_table("stripe_objects", schema="app")
    op.drop_table("stripe_payloads", schema="app")
    op.drop_table("stripe_events", schema="app")

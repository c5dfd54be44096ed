"""Operations that take effect once, and the record of changes."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "operations",
        sa.Column("id", sa.Text(collation="C"), nullable=False),
        sa.Column("command", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("result", postgresql.JSONB(astext_type=sa.Text())),
        sa.Column("login", sa.Text(), server_default=sa.text("session_user"), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_operations")),
        schema="app",
    )
    op.create_index(op.f("ix_operations_created_at"), "operations", ["created_at"], schema="app")
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("login", sa.Text(), server_default=sa.text("session_user"), nullable=False),
        sa.Column("actor_id", sa.BigInteger()),
        sa.Column("on_behalf_of", sa.BigInteger()),
        sa.Column("operation_id", sa.Text()),
        sa.Column("table_name", sa.Text(), nullable=False),
        sa.Column("row_id", sa.Text(collation="C"), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("before", postgresql.JSONB(astext_type=sa.Text())),
        sa.Column("after", postgresql.JSONB(astext_type=sa.Text())),
        sa.CheckConstraint("action IN ('insert', 'update', 'delete')", name=op.f("ck_audit_action")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
        schema="app",
    )
    op.create_index(op.f("ix_audit_actor_id_id"), "audit", ["actor_id", "id"], schema="app")
    op.create_index(op.f("ix_audit_at_id"), "audit", ["at", "id"], schema="app")
    op.create_index(op.f("ix_audit_table_name_row_id_id"), "audit", ["table_name", "row_id", "id"], schema="app")


def downgrade() -> None:
    op.drop_table("audit", schema="app")
    op.drop_table("operations", schema="app")

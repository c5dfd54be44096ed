"""Users, and the PostgreSQL roles they act with."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from dumacle_cli.store import sql

revision = "0001"
down_revision = None


# Whom functions ask; before 0013 nobody is known.
NOBODY = """
    CREATE FUNCTION app.actor() RETURNS bigint LANGUAGE sql STABLE RETURN NULL::bigint;
    CREATE FUNCTION app.act() RETURNS text LANGUAGE sql STABLE RETURN 'owner';
    CREATE FUNCTION app.sees_all() RETURNS boolean LANGUAGE sql STABLE RETURN true;
"""


def upgrade() -> None:
    sql.run(op.get_bind(), NOBODY)
    op.create_table(
        "users",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("email", sa.Text(collation="C"), nullable=False),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("role", sa.Text(), server_default="enduser", nullable=False),
        sa.Column("status", sa.Text(), server_default="active", nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("deleted_at", postgresql.TIMESTAMP(timezone=True)),
        sa.CheckConstraint("role IN ('superadmin', 'admin', 'enduser', 'service')", name=op.f("ck_users_role")),
        sa.CheckConstraint("status IN ('active', 'disabled')", name=op.f("ck_users_status")),
        sa.CheckConstraint(
            "email = lower(btrim(email)) AND octet_length(email) BETWEEN 1 AND 320", name=op.f("ck_users_email")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        schema="app",
        postgresql_with={"fillfactor": "90"},
    )
    op.create_index(
        "ix_users_email_id_deleted",
        "users",
        ["email", "id"],
        schema="app",
        postgresql_where=sa.text("deleted_at IS NOT NULL"),
    )
    op.create_index(
        "ix_users_email_id_disabled",
        "users",
        ["email", "id"],
        schema="app",
        postgresql_where=sa.text("status = 'disabled' AND deleted_at IS NULL"),
    )
    op.create_index(
        "ix_users_id_deleted", "users", ["id"], schema="app", postgresql_where=sa.text("deleted_at IS NOT NULL")
    )
    op.create_index(
        "ix_users_id_disabled",
        "users",
        ["id"],
        schema="app",
        postgresql_where=sa.text("status = 'disabled' AND deleted_at IS NULL"),
    )
    op.create_index(
        "ix_users_role_email_live",
        "users",
        ["role", "email"],
        schema="app",
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_index(
        "ix_users_role_id_live", "users", ["role", "id"], schema="app", postgresql_where=sa.text("deleted_at IS NULL")
    )
    op.create_index(
        "uq_users_email_live",
        "users",
        ["email"],
        unique=True,
        schema="app",
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_table(
        "logins",
        sa.Column("role", sa.Text(collation="C"), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("duty", sa.Text()),
        sa.Column("valid_until", postgresql.TIMESTAMP(timezone=True)),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("(kind = 'service') = (duty IS NOT NULL)", name=op.f("ck_logins_duty")),
        sa.CheckConstraint("kind <> 'session' OR valid_until IS NOT NULL", name=op.f("ck_logins_valid_until")),
        sa.CheckConstraint("kind IN ('personal', 'session', 'service')", name=op.f("ck_logins_kind")),
        sa.ForeignKeyConstraint(["user_id"], ["app.users.id"], name=op.f("fk_logins_user_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("role", name=op.f("pk_logins")),
        schema="app",
    )
    op.create_index(op.f("ix_logins_user_id"), "logins", ["user_id"], schema="app")
    op.create_index(
        "ix_logins_valid_until",
        "logins",
        ["valid_until"],
        schema="app",
        postgresql_where=sa.text("valid_until IS NOT NULL"),
    )


def downgrade() -> None:
    op.execute("DROP FUNCTION IF EXISTS app.act, app.actor, app.sees_all")
    op.drop_table("logins", schema="app")
    op.drop_table("users", schema="app")

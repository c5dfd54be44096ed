"""Pods, grants, and where their bytes lie."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "pods",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        sa.Column("capacity", sa.BigInteger(), nullable=False),
        sa.Column("used", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("reserved", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("primary_provider", sa.Text(), nullable=False),
        sa.Column("secondary_provider", sa.Text()),
        sa.Column("bucket", sa.Text(), nullable=False),
        sa.Column("prefix", sa.Text(), server_default="", nullable=False),
        sa.Column("use_custom_s3", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("use_custom_wasabi", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("use_custom_oracle", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("deleted_at", postgresql.TIMESTAMP(timezone=True)),
        sa.CheckConstraint(
            "primary_provider IN ('s3', 'wasabi', 'oracle', 'local')", name=op.f("ck_pods_primary_provider")
        ),
        sa.CheckConstraint(
            "secondary_provider IN ('s3', 'wasabi', 'oracle', 'local')", name=op.f("ck_pods_secondary_provider")
        ),
        sa.CheckConstraint("octet_length(name) BETWEEN 1 AND 255", name=op.f("ck_pods_name")),
        sa.CheckConstraint("reserved >= 0", name=op.f("ck_pods_reserved")),
        sa.CheckConstraint("secondary_provider <> primary_provider", name=op.f("ck_pods_two_providers")),
        sa.CheckConstraint("used + reserved <= capacity", name=op.f("ck_pods_capacity")),
        sa.CheckConstraint("used >= 0", name=op.f("ck_pods_used")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pods")),
        schema="app",
        postgresql_with={"fillfactor": "50"},
    )
    op.create_index(
        "uq_pods_name_live", "pods", ["name"], unique=True, schema="app", postgresql_where=sa.text("deleted_at IS NULL")
    )
    op.create_table(
        "pod_grants",
        sa.Column("pod_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("is_default", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("granted_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["pod_id"], ["app.pods.id"], name=op.f("fk_pod_grants_pod_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["app.users.id"], name=op.f("fk_pod_grants_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("pod_id", "user_id", name=op.f("pk_pod_grants")),
        schema="app",
    )
    op.create_index(op.f("ix_pod_grants_user_id_pod_id"), "pod_grants", ["user_id", "pod_id"], schema="app")
    op.create_index(
        "uq_pod_grants_default",
        "pod_grants",
        ["user_id"],
        unique=True,
        schema="app",
        postgresql_where=sa.text("is_default"),
    )
    op.create_table(
        "provider_defaults",
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text()),
        sa.Column("region", sa.Text()),
        sa.Column("bucket", sa.Text()),
        sa.Column("path_style", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("updated_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "provider IN ('s3', 'wasabi', 'oracle', 'local')", name=op.f("ck_provider_defaults_provider")
        ),
        sa.PrimaryKeyConstraint("provider", name=op.f("pk_provider_defaults")),
        schema="app",
    )
    op.create_table(
        "credentials",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("pod_id", sa.BigInteger()),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text()),
        sa.Column("region", sa.Text()),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
        sa.Column("wrapped_key", sa.LargeBinary(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("proven_at", postgresql.TIMESTAMP(timezone=True)),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("provider IN ('s3', 'wasabi', 'oracle', 'local')", name=op.f("ck_credentials_provider")),
        sa.ForeignKeyConstraint(["pod_id"], ["app.pods.id"], name=op.f("fk_credentials_pod_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credentials")),
        sa.UniqueConstraint(
            "pod_id", "provider", name=op.f("uq_credentials_pod_id_provider"), postgresql_nulls_not_distinct=True
        ),
        schema="app",
    )
    op.create_index(op.f("ix_credentials_key_id"), "credentials", ["key_id"], schema="app")


def downgrade() -> None:
    op.drop_table("credentials", schema="app")
    op.drop_table("provider_defaults", schema="app")
    op.drop_table("pod_grants", schema="app")
    op.drop_table("pods", schema="app")

"""Transcodes, their units and renditions."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "transcodes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("file_id", sa.BigInteger(), nullable=False),
        sa.Column("version_id", sa.BigInteger(), nullable=False),
        sa.Column("preset", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="queued", nullable=False),
        sa.Column("progress", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("priority", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("attempts", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", postgresql.TIMESTAMP(timezone=True)),
        sa.Column("ended_at", postgresql.TIMESTAMP(timezone=True)),
        sa.CheckConstraint(
            "status IN ('queued', 'running', 'publishing', 'done', 'failed', 'cancelled', 'quarantined')",
            name=op.f("ck_transcodes_status"),
        ),
        sa.CheckConstraint("attempts >= 0", name=op.f("ck_transcodes_attempts")),
        sa.CheckConstraint("progress BETWEEN 0 AND 100", name=op.f("ck_transcodes_progress")),
        sa.ForeignKeyConstraint(["file_id"], ["app.files.id"], name=op.f("fk_transcodes_file_id"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(
            ["version_id"], ["app.versions.id"], name=op.f("fk_transcodes_version_id"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_transcodes")),
        schema="app",
        postgresql_with={"fillfactor": "80"},
    )
    op.create_index(op.f("ix_transcodes_file_id_id"), "transcodes", ["file_id", "id"], schema="app")
    op.create_index(
        "ix_transcodes_priority_live",
        "transcodes",
        ["status", "priority", "id"],
        schema="app",
        postgresql_where=sa.text("status IN ('queued', 'running', 'publishing')"),
    )
    op.create_index(op.f("ix_transcodes_status_id"), "transcodes", ["status", "id"], schema="app")
    op.create_index(op.f("ix_transcodes_version_id"), "transcodes", ["version_id"], schema="app")
    op.create_index(
        "uq_transcodes_live",
        "transcodes",
        ["version_id", "preset"],
        unique=True,
        schema="app",
        postgresql_where=sa.text("status IN ('queued', 'running', 'publishing')"),
    )
    op.create_table(
        "units",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("transcode_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="queued", nullable=False),
        sa.Column("attempt", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("lease_token", sa.Uuid()),
        sa.Column("lease_until", postgresql.TIMESTAMP(timezone=True)),
        sa.Column("worker", sa.Text()),
        sa.Column("first_frame", sa.BigInteger()),
        sa.Column("last_frame", sa.BigInteger()),
        sa.Column("error", sa.Text()),
        sa.Column("started_at", postgresql.TIMESTAMP(timezone=True)),
        sa.Column("ended_at", postgresql.TIMESTAMP(timezone=True)),
        sa.CheckConstraint(
            "(status = 'running') = (lease_token IS NOT NULL AND lease_until IS NOT NULL)", name=op.f("ck_units_lease")
        ),
        sa.CheckConstraint("kind IN ('chunk', 'audio', 'finalize')", name=op.f("ck_units_kind")),
        sa.CheckConstraint(
            "status IN ('queued', 'running', 'done', 'failed', 'cancelled')", name=op.f("ck_units_status")
        ),
        sa.CheckConstraint("first_frame BETWEEN 0 AND last_frame", name=op.f("ck_units_frames")),
        sa.ForeignKeyConstraint(
            ["transcode_id"], ["app.transcodes.id"], name=op.f("fk_units_transcode_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_units")),
        sa.UniqueConstraint("transcode_id", "number", name=op.f("uq_units_transcode_id_number")),
        schema="app",
        postgresql_with={"fillfactor": "70"},
    )
    op.create_index(
        "ix_units_lease_until_running",
        "units",
        ["lease_until"],
        schema="app",
        postgresql_where=sa.text("status = 'running'"),
    )
    op.create_table(
        "renditions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("transcode_id", sa.BigInteger(), nullable=False),
        sa.Column("file_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("prefix", sa.Text(collation="C"), nullable=False),
        sa.Column("width", sa.BigInteger()),
        sa.Column("height", sa.BigInteger()),
        sa.Column("bitrate", sa.BigInteger()),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("duration_ms", sa.BigInteger()),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "kind IN ('hls', 'mp4', 'audio', 'poster', 'sprite', 'vtt')", name=op.f("ck_renditions_kind")
        ),
        sa.CheckConstraint("size >= 0", name=op.f("ck_renditions_size")),
        sa.ForeignKeyConstraint(["file_id"], ["app.files.id"], name=op.f("fk_renditions_file_id"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(
            ["transcode_id"], ["app.transcodes.id"], name=op.f("fk_renditions_transcode_id"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_renditions")),
        sa.UniqueConstraint("transcode_id", "name", name=op.f("uq_renditions_transcode_id_name")),
        schema="app",
    )
    op.create_index(op.f("ix_renditions_file_id_id"), "renditions", ["file_id", "id"], schema="app")


def downgrade() -> None:
    op.drop_table("renditions", schema="app")
    op.drop_table("units", schema="app")
    op.drop_table("transcodes", schema="app")

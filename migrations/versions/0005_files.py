"""Runs, leases, files, versions and copies."""

from pathlib import Path

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from dumacle_cli.store import sql

revision = "0005"
down_revision = "0004"

READ = sql.frozen(Path(__file__).parents[1], revision)

FUNCTIONS = (
    "reap_leases(timestamptz)",
    "close_lease(bigint)",
    "trim_lease(bigint, bigint)",
    "take_lease(bigint, bigint, bigint, bigint, bigint, double precision, timestamptz)",
    "release_storage(bigint, bigint, bigint)",
)


def upgrade() -> None:
    op.create_table(
        "runs",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        sa.Column("pod_id", sa.BigInteger(), nullable=False),
        sa.Column("owner_id", sa.BigInteger(), nullable=False),
        sa.Column("prefix", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("selection_hash", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.Text(), server_default="running", nullable=False),
        sa.Column("planned_files", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("planned_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column(
            "totals", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.BigInteger(), nullable=False),
        sa.Column("started_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("heartbeat_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("ended_at", postgresql.TIMESTAMP(timezone=True)),
        sa.CheckConstraint("(status = 'running') = (ended_at IS NULL)", name=op.f("ck_runs_ended_at")),
        sa.CheckConstraint(
            "status IN ('running', 'done', 'partial', 'failed', 'interrupted')", name=op.f("ck_runs_status")
        ),
        sa.ForeignKeyConstraint(["owner_id"], ["app.users.id"], name=op.f("fk_runs_owner_id"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["pod_id"], ["app.pods.id"], name=op.f("fk_runs_pod_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
        schema="app",
        postgresql_with={"fillfactor": "70"},
    )
    op.create_index(
        "ix_runs_heartbeat_running",
        "runs",
        ["heartbeat_at"],
        schema="app",
        postgresql_where=sa.text("status = 'running'"),
    )
    op.create_index(op.f("ix_runs_name_id"), "runs", ["name", "id"], schema="app")
    op.create_index(op.f("ix_runs_owner_id_id"), "runs", ["owner_id", "id"], schema="app")
    op.create_index(op.f("ix_runs_pod_id_id"), "runs", ["pod_id", "id"], schema="app")
    op.create_index(
        "uq_runs_running",
        "runs",
        ["pod_id", "owner_id", "prefix", "selection_hash"],
        unique=True,
        schema="app",
        postgresql_where=sa.text("status = 'running'"),
    )
    op.create_table(
        "leases",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("pod_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("run_id", sa.BigInteger()),
        sa.Column("granted", sa.BigInteger(), nullable=False),
        sa.Column("spent", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("period_start", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("until", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("closed_at", postgresql.TIMESTAMP(timezone=True)),
        sa.CheckConstraint("spent BETWEEN 0 AND granted", name=op.f("ck_leases_spent")),
        sa.ForeignKeyConstraint(["pod_id"], ["app.pods.id"], name=op.f("fk_leases_pod_id"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["run_id"], ["app.runs.id"], name=op.f("fk_leases_run_id"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["user_id"], ["app.users.id"], name=op.f("fk_leases_user_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_leases")),
        schema="app",
        postgresql_with={"fillfactor": "70"},
    )
    op.create_index(
        "ix_leases_pod_id_open", "leases", ["pod_id"], schema="app", postgresql_where=sa.text("closed_at IS NULL")
    )
    op.create_index(
        op.f("ix_leases_run_id"), "leases", ["run_id"], schema="app", postgresql_where=sa.text("run_id IS NOT NULL")
    )
    op.create_index(
        "ix_leases_until_open", "leases", ["until"], schema="app", postgresql_where=sa.text("closed_at IS NULL")
    )
    op.create_index(
        "ix_leases_user_id_open", "leases", ["user_id"], schema="app", postgresql_where=sa.text("closed_at IS NULL")
    )
    op.create_table(
        "files",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("pod_id", sa.BigInteger(), nullable=False),
        sa.Column("owner_id", sa.BigInteger(), nullable=False),
        sa.Column("version_id", sa.BigInteger()),
        sa.Column("run_id", sa.BigInteger()),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("mtime_ns", sa.BigInteger()),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("uploaded_at", postgresql.TIMESTAMP(timezone=True)),
        sa.Column("verified_at", postgresql.TIMESTAMP(timezone=True)),
        sa.Column("deleted_at", postgresql.TIMESTAMP(timezone=True)),
        sa.Column("purging_at", postgresql.TIMESTAMP(timezone=True)),
        sa.Column("upload_progress", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("upload_status", sa.Text(), server_default="planned", nullable=False),
        sa.Column("path", sa.Text(collation="C"), nullable=False),
        sa.Column("sha256", sa.LargeBinary()),
        sa.Column("content_type", sa.Text(), server_default="application/octet-stream", nullable=False),
        sa.Column("error", sa.Text()),
        sa.CheckConstraint(
            "upload_status IN ('planned', 'uploading', 'completing', 'uploaded', 'verified', "
            "'changed', 'refused', 'cancelled', 'failed')",
            name=op.f("ck_files_upload_status"),
        ),
        sa.CheckConstraint("octet_length(path) BETWEEN 1 AND 2048", name=op.f("ck_files_path")),
        sa.CheckConstraint("octet_length(sha256) = 32", name=op.f("ck_files_sha256")),
        sa.CheckConstraint("purging_at IS NULL OR deleted_at IS NOT NULL", name=op.f("ck_files_purging_at")),
        sa.CheckConstraint("size >= 0", name=op.f("ck_files_size")),
        sa.CheckConstraint("upload_progress BETWEEN 0 AND 100", name=op.f("ck_files_upload_progress")),
        sa.ForeignKeyConstraint(["owner_id"], ["app.users.id"], name=op.f("fk_files_owner_id"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["pod_id"], ["app.pods.id"], name=op.f("fk_files_pod_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_files")),
        schema="app",
        postgresql_with={"fillfactor": "90"},
    )
    op.create_index(
        "ix_files_deleted_at_id",
        "files",
        ["deleted_at", "id"],
        schema="app",
        postgresql_where=sa.text("deleted_at IS NOT NULL"),
    )
    for place in ("owner_id", "pod_id"):
        op.create_index(
            f"ix_files_{place}_deleted_at_id",
            "files",
            [place, "deleted_at", "id"],
            schema="app",
            postgresql_where=sa.text("deleted_at IS NOT NULL"),
        )
    op.create_index(
        "ix_files_owner_id_id_live",
        "files",
        ["owner_id", "id"],
        schema="app",
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_index(
        "ix_files_owner_id_path_live",
        "files",
        ["owner_id", "path", "id"],
        schema="app",
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_index(
        "ix_files_owner_id_size_live",
        "files",
        ["owner_id", "size", "id"],
        schema="app",
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_index(
        "ix_files_pod_id_id_live",
        "files",
        ["pod_id", "id"],
        schema="app",
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_index(
        "ix_files_pod_id_path_live",
        "files",
        ["pod_id", "path", "id"],
        schema="app",
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_index(
        "ix_files_pod_id_size_live",
        "files",
        ["pod_id", "size", "id"],
        schema="app",
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_index(
        "ix_files_run_id_id_unfinished",
        "files",
        ["run_id", "id"],
        schema="app",
        postgresql_where=sa.text("run_id IS NOT NULL AND upload_status NOT IN ('uploaded', 'verified')"),
    )
    op.create_index(
        "ix_files_upload_status_id_live",
        "files",
        ["upload_status", "id"],
        schema="app",
        postgresql_where=sa.text("deleted_at IS NULL AND upload_status <> 'uploaded'"),
    )
    op.create_index(
        "uq_files_path_live",
        "files",
        ["pod_id", "owner_id", "path"],
        unique=True,
        schema="app",
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_table(
        "versions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("file_id", sa.BigInteger(), nullable=False),
        sa.Column("lease_id", sa.BigInteger()),
        sa.Column("run_id", sa.BigInteger()),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("mtime_ns", sa.BigInteger()),
        sa.Column("part_size", sa.BigInteger()),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("stored_at", postgresql.TIMESTAMP(timezone=True)),
        sa.Column("status", sa.Text(), server_default="planned", nullable=False),
        sa.Column("key", sa.Text(collation="C"), nullable=False),
        sa.Column("sha256", sa.LargeBinary()),
        sa.Column("md5", sa.LargeBinary()),
        sa.Column("etag", sa.Text()),
        sa.Column("content_type", sa.Text(), server_default="application/octet-stream", nullable=False),
        sa.Column("upload_id", sa.Text()),
        sa.CheckConstraint(
            "status IN ('planned', 'uploading', 'completing', 'stored', 'superseded', 'failed', 'purging')",
            name=op.f("ck_versions_status"),
        ),
        sa.CheckConstraint(
            "status NOT IN ('stored', 'superseded') OR stored_at IS NOT NULL", name=op.f("ck_versions_stored_at")
        ),
        sa.CheckConstraint("octet_length(key) BETWEEN 1 AND 1024", name=op.f("ck_versions_key")),
        sa.CheckConstraint("octet_length(md5) = 16", name=op.f("ck_versions_md5")),
        sa.CheckConstraint("octet_length(sha256) = 32", name=op.f("ck_versions_sha256")),
        sa.CheckConstraint("part_size > 0", name=op.f("ck_versions_part_size")),
        sa.CheckConstraint("size >= 0", name=op.f("ck_versions_size")),
        sa.ForeignKeyConstraint(["file_id"], ["app.files.id"], name=op.f("fk_versions_file_id"), ondelete="NO ACTION"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_versions")),
        sa.UniqueConstraint("file_id", "id", name=op.f("uq_versions_file_id_id")),
        sa.UniqueConstraint("key", name=op.f("uq_versions_key")),
        schema="app",
        postgresql_with={"fillfactor": "90"},
    )
    op.create_index(
        "ix_versions_lease_id_unfinished",
        "versions",
        ["lease_id", "id"],
        schema="app",
        postgresql_where=sa.text("status IN ('planned', 'uploading', 'completing')"),
    )
    op.create_index(
        "ix_versions_status_id_leftover",
        "versions",
        ["status", "id"],
        schema="app",
        postgresql_where=sa.text("status IN ('superseded', 'failed', 'purging')"),
    )
    op.create_table(
        "copies",
        sa.Column("version_id", sa.BigInteger(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="pending", nullable=False),
        sa.Column("etag", sa.Text()),
        sa.Column("checked_at", postgresql.TIMESTAMP(timezone=True)),
        sa.CheckConstraint("provider IN ('s3', 'wasabi', 'oracle', 'local')", name=op.f("ck_copies_provider")),
        sa.CheckConstraint("status IN ('pending', 'stored', 'failed', 'missing')", name=op.f("ck_copies_status")),
        sa.ForeignKeyConstraint(
            ["version_id"], ["app.versions.id"], name=op.f("fk_copies_version_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("version_id", "provider", name=op.f("pk_copies")),
        schema="app",
    )
    op.create_index(
        "ix_copies_status_unstored",
        "copies",
        ["status", "version_id"],
        schema="app",
        postgresql_where=sa.text("status <> 'stored'"),
    )
    op.create_foreign_key(
        op.f("fk_files_id_version_id"),
        "files",
        "versions",
        ["id", "version_id"],
        ["file_id", "id"],
        source_schema="app",
        referent_schema="app",
        initially="DEFERRED",
        deferrable=True,
    )
    sql.run(op.get_bind(), READ("leases"))


def downgrade() -> None:
    for function in FUNCTIONS:
        op.execute(f"DROP FUNCTION app.{function}")
    op.drop_constraint("fk_files_id_version_id", "files", schema="app")
    op.drop_table("copies", schema="app")
    op.drop_table("versions", schema="app")
    op.drop_table("files", schema="app")
    op.drop_table("leases", schema="app")
    op.drop_table("runs", schema="app")

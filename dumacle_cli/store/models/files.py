"""Files, and the versions of their content."""

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    SmallInteger,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from dumacle_cli.store.models import pods, users  # noqa: F401 - foreign keys refer to them
from dumacle_cli.store.models.base import ERROR_BYTES, KIB, Base, Created, Id, Sorted, one_of, texts, times

UPLOAD_STATUSES = (
    "planned",
    "uploading",
    "completing",
    "uploaded",
    "verified",
    "changed",
    "refused",
    "cancelled",
    "failed",
)
VERSION_STATUSES = ("planned", "uploading", "completing", "stored", "superseded", "failed", "purging")
# A B-tree entry holds at most 2,704 bytes, and the path is part of three.
PATH_BYTES = 2048
PART_ETAGS_BYTES = 1024 * KIB

_LIVE = text("deleted_at IS NULL")
_DELETED = text("deleted_at IS NOT NULL")
_UNFINISHED = "upload_status NOT IN ('uploaded', 'verified')"


class File(Base):
    """One media object of one owner in one pod at one path; `version_id` is its present content.

    `lost_version_id` is the version whose object was last found missing or different; it may be an earlier one.
    """

    __tablename__ = "files"

    id: Mapped[Id]
    pod_id: Mapped[int] = mapped_column(ForeignKey("app.pods.id", ondelete="RESTRICT"))
    owner_id: Mapped[int] = mapped_column(ForeignKey("app.users.id", ondelete="RESTRICT"))
    version_id: Mapped[int | None]
    run_id: Mapped[int | None]
    size: Mapped[int]
    mtime_ns: Mapped[int | None]
    created_at: Mapped[Created]
    uploaded_at: Mapped[datetime | None]
    verified_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]
    purging_at: Mapped[datetime | None]
    upload_progress: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    upload_status: Mapped[str] = mapped_column(server_default="planned")
    path: Mapped[Sorted]
    sha256: Mapped[bytes | None]
    content_type: Mapped[str] = mapped_column(server_default="application/octet-stream")
    error: Mapped[str | None]

    # Not an attribute, so that other statements leave it out: the schema of the release before has no such column.
    __mapper_args__ = {"exclude_properties": ["lost_version_id"]}  # noqa: RUF012 - its type is the base class's
    __table_args__ = (
        Column("lost_version_id", BigInteger),
        times("created_at", "uploaded_at", "verified_at", "deleted_at", "purging_at"),
        texts(content_type=255, error=ERROR_BYTES),
        # run_id, and lease_id of versions, are no foreign keys: an index on each would serve nothing but the rare
        # deletion of a run. Their numbers are never used again.
        # The pair, not version_id alone: a file can only point to a version of its own, and deleting a version
        # looks the file up by its primary key. Deferred, because file and version come and go in one transaction.
        ForeignKeyConstraint(
            ["id", "version_id"],
            ["app.versions.file_id", "app.versions.id"],
            deferrable=True,
            initially="DEFERRED",
            use_alter=True,
        ),
        CheckConstraint(f"octet_length(path) BETWEEN 1 AND {PATH_BYTES}", name="path"),
        CheckConstraint("size >= 0", name="size"),
        CheckConstraint("octet_length(sha256) = 32", name="sha256"),
        one_of("upload_status", UPLOAD_STATUSES),
        CheckConstraint("upload_progress BETWEEN 0 AND 100", name="upload_progress"),
        CheckConstraint("purging_at IS NULL OR deleted_at IS NOT NULL", name="purging_at"),
        Index("uq_files_path_live", "pod_id", "owner_id", "path", unique=True, postgresql_where=_LIVE),
        Index("ix_files_owner_id_id_live", "owner_id", "id", postgresql_where=_LIVE),
        Index("ix_files_owner_id_path_live", "owner_id", "path", "id", postgresql_where=_LIVE),
        Index("ix_files_owner_id_size_live", "owner_id", "size", "id", postgresql_where=_LIVE),
        Index(
            "ix_files_owner_id_sha256_live",
            "owner_id",
            "sha256",
            postgresql_where=text("deleted_at IS NULL AND sha256 IS NOT NULL"),
        ),
        Index("ix_files_pod_id_id_live", "pod_id", "id", postgresql_where=_LIVE),
        Index("ix_files_pod_id_path_live", "pod_id", "path", "id", postgresql_where=_LIVE),
        Index("ix_files_pod_id_size_live", "pod_id", "size", "id", postgresql_where=_LIVE),
        Index(
            "ix_files_upload_status_id_live",
            "upload_status",
            "id",
            postgresql_where=text("deleted_at IS NULL AND upload_status <> 'uploaded'"),
        ),
        Index(
            "ix_files_run_id_id_unfinished",
            "run_id",
            "id",
            postgresql_where=text(f"run_id IS NOT NULL AND {_UNFINISHED}"),
        ),
        Index("ix_files_deleted_at_id", "deleted_at", "id", postgresql_where=_DELETED),
        Index("ix_files_owner_id_deleted_at_id", "owner_id", "deleted_at", "id", postgresql_where=_DELETED),
        Index("ix_files_pod_id_deleted_at_id", "pod_id", "deleted_at", "id", postgresql_where=_DELETED),
        {"postgresql_with": {"fillfactor": "90"}},
    )


class Version(Base):
    """One attempt to store a content under a key that is written once and never again.

    Versions of the same content, owner and pod may share a key; its object is deleted with the last of them.
    """

    __tablename__ = "versions"

    id: Mapped[Id]
    file_id: Mapped[int] = mapped_column(ForeignKey("app.files.id", ondelete="NO ACTION"))
    lease_id: Mapped[int | None]
    run_id: Mapped[int | None]
    size: Mapped[int]
    mtime_ns: Mapped[int | None]
    part_size: Mapped[int | None]
    created_at: Mapped[Created]
    stored_at: Mapped[datetime | None]
    status: Mapped[str] = mapped_column(server_default="planned")
    key: Mapped[Sorted]
    sha256: Mapped[bytes | None]
    md5: Mapped[bytes | None]
    etag: Mapped[str | None]
    content_type: Mapped[str] = mapped_column(server_default="application/octet-stream")
    upload_id: Mapped[str | None]
    part_etags: Mapped[str | None] = mapped_column(deferred=True)
    """The ETags of all parts, one a line, from when they are stored until the upload is completed."""

    __table_args__ = (
        times("created_at", "stored_at"),
        texts(etag=1024, content_type=255, upload_id=2048, part_etags=PART_ETAGS_BYTES),
        UniqueConstraint("file_id", "id"),
        CheckConstraint("octet_length(key) BETWEEN 1 AND 1024", name="key"),
        CheckConstraint("size >= 0", name="size"),
        CheckConstraint("part_size > 0", name="part_size"),
        CheckConstraint("octet_length(sha256) = 32", name="sha256"),
        CheckConstraint("octet_length(md5) = 16", name="md5"),
        one_of("status", VERSION_STATUSES),
        CheckConstraint("status NOT IN ('stored', 'superseded') OR stored_at IS NOT NULL", name="stored_at"),
        Index(None, "key"),
        Index(
            "ix_versions_lease_id_unfinished",
            "lease_id",
            "id",
            postgresql_where=text("status IN ('planned', 'uploading', 'completing')"),
        ),
        Index(
            "ix_versions_status_id_leftover",
            "status",
            "id",
            postgresql_where=text("status IN ('superseded', 'failed', 'purging')"),
        ),
        {"postgresql_with": {"fillfactor": "90"}},
    )

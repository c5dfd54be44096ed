"""Bulk commands and the capacity that they claim."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, text
from sqlalchemy.orm import Mapped, mapped_column

from dumacle_cli.store.models import pods, users  # noqa: F401 - foreign keys refer to them
from dumacle_cli.store.models.base import ERROR_BYTES, KIB, Base, Created, Id, Sorted, documents, one_of, texts, times

RUN_STATUSES = ("running", "joined", "done", "partial", "failed", "interrupted", "cancelled")


class Run(Base):
    """One bulk command; at most one with the same pod, owner, prefix and selection runs, and others join it.

    Each process has a row of its own, with a heartbeat and leases: the first is `running`, the others are `joined` to
    it. The first may leave at `left_at`, before the others have ended. `parameters` is what was typed.
    """

    __tablename__ = "runs"

    id: Mapped[Id]
    name: Mapped[Sorted]
    pod_id: Mapped[int] = mapped_column(ForeignKey("app.pods.id", ondelete="RESTRICT"))
    owner_id: Mapped[int] = mapped_column(ForeignKey("app.users.id", ondelete="RESTRICT"))
    prefix: Mapped[Sorted] = mapped_column(server_default="")
    selection_hash: Mapped[bytes] = mapped_column(LargeBinary)
    status: Mapped[str] = mapped_column(server_default="running")
    planned_files: Mapped[int] = mapped_column(server_default="0")
    planned_bytes: Mapped[int] = mapped_column(server_default="0")
    totals: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    host: Mapped[str]
    pid: Mapped[int]
    started_at: Mapped[Created]
    heartbeat_at: Mapped[Created]
    ended_at: Mapped[datetime | None]
    joined_id: Mapped[int | None] = mapped_column(ForeignKey("app.runs.id", ondelete="NO ACTION"))
    left_at: Mapped[datetime | None]
    cancelled_at: Mapped[datetime | None]
    error: Mapped[str | None]
    parameters: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))

    __table_args__ = (
        times("started_at", "heartbeat_at", "ended_at", "left_at", "cancelled_at"),
        texts(name=1024, prefix=2048, host=255, selection_hash=255, error=ERROR_BYTES),
        documents(totals=64 * KIB, parameters=256 * KIB),
        one_of("status", RUN_STATUSES),
        CheckConstraint("(status IN ('running', 'joined')) = (ended_at IS NULL)", name="ended_at"),
        Index(
            "uq_runs_running",
            "pod_id",
            "owner_id",
            "prefix",
            "selection_hash",
            unique=True,
            postgresql_where=text("status = 'running'"),
        ),
        Index(None, "joined_id", postgresql_where=text("joined_id IS NOT NULL")),
        Index(None, "name", "id"),
        Index(None, "owner_id", "id"),
        Index(None, "pod_id", "id"),
        Index("ix_runs_heartbeat_running", "heartbeat_at", postgresql_where=text("status IN ('running', 'joined')")),
        {"postgresql_with": {"fillfactor": "70"}},
    )


class Lease(Base):
    """Bytes of a pod, of a storage quota and of an upload period that one run may spend until it ends."""

    __tablename__ = "leases"

    id: Mapped[Id]
    pod_id: Mapped[int] = mapped_column(ForeignKey("app.pods.id", ondelete="RESTRICT"))
    user_id: Mapped[int] = mapped_column(ForeignKey("app.users.id", ondelete="RESTRICT"))
    run_id: Mapped[int | None] = mapped_column(ForeignKey("app.runs.id", ondelete="RESTRICT"))
    granted: Mapped[int]
    spent: Mapped[int] = mapped_column(server_default="0")
    period_start: Mapped[datetime]
    until: Mapped[datetime]
    created_at: Mapped[Created]
    closed_at: Mapped[datetime | None]

    __table_args__ = (
        times("period_start", "until", "created_at", "closed_at"),
        CheckConstraint("spent BETWEEN 0 AND granted", name="spent"),
        Index("ix_leases_until_open", "until", postgresql_where=text("closed_at IS NULL")),
        Index("ix_leases_pod_id_open", "pod_id", postgresql_where=text("closed_at IS NULL")),
        Index("ix_leases_user_id_open", "user_id", postgresql_where=text("closed_at IS NULL")),
        Index(None, "run_id", postgresql_where=text("run_id IS NOT NULL")),
        {"postgresql_with": {"fillfactor": "70"}},
    )

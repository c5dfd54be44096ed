"""Where contents and renditions are besides the primary provider of their pod, and providers that do not answer.

What has no row at the primary provider is stored there.
"""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, SmallInteger, func, text
from sqlalchemy.orm import Mapped, mapped_column

from dumacle_cli.store.models import files, transcodes  # noqa: F401 - foreign keys refer to them
from dumacle_cli.store.models.base import ERROR_BYTES, Base, Created, one_of, texts, times
from dumacle_cli.store.models.pods import PROVIDERS

STATUSES = ("pending", "stored", "failed", "missing")
_UNSTORED = text("status <> 'stored'")


class _State:
    """The state of a copy at one provider; no worker tries before `due_at`, and the error is that of the last attempt.

    While a copy is being made, `due_at` is when another worker may take it over.
    """

    provider: Mapped[str] = mapped_column(primary_key=True, sort_order=1)
    status: Mapped[str] = mapped_column(server_default="pending")
    etag: Mapped[str | None]
    checked_at: Mapped[datetime | None]
    created_at: Mapped[Created]
    due_at: Mapped[datetime] = mapped_column(server_default=func.now())
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    error: Mapped[str | None]


class Copy(_State, Base):
    """The state of a version's object at one provider."""

    __tablename__ = "copies"

    version_id: Mapped[int] = mapped_column(ForeignKey("app.versions.id", ondelete="CASCADE"), primary_key=True)

    __table_args__ = (
        times("checked_at", "created_at", "due_at"),
        texts(etag=1024, error=ERROR_BYTES),
        one_of("provider", PROVIDERS),
        one_of("status", STATUSES),
        Index("ix_copies_due_at_unstored", "due_at", "version_id", postgresql_where=_UNSTORED),
    )


class RenditionCopy(_State, Base):
    """The state of a rendition's objects at one provider."""

    __tablename__ = "rendition_copies"

    rendition_id: Mapped[int] = mapped_column(ForeignKey("app.renditions.id", ondelete="CASCADE"), primary_key=True)

    __table_args__ = (
        times("checked_at", "created_at", "due_at"),
        texts(etag=1024, error=ERROR_BYTES),
        one_of("provider", PROVIDERS),
        one_of("status", STATUSES),
        Index("ix_rendition_copies_due_at_unstored", "due_at", "rendition_id", postgresql_where=_UNSTORED),
    )


class Outage(Base):
    """A provider of a pod that did not answer `since`, last tried at `seen_at`."""

    __tablename__ = "outages"

    pod_id: Mapped[int] = mapped_column(ForeignKey("app.pods.id", ondelete="CASCADE"), primary_key=True)
    provider: Mapped[str] = mapped_column(primary_key=True)
    since: Mapped[datetime] = mapped_column(server_default=func.now())
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())
    error: Mapped[str]

    __table_args__ = (
        times("since", "seen_at"),
        texts(error=ERROR_BYTES),
        one_of("provider", PROVIDERS),
    )

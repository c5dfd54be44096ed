"""Findings: what is wrong with billing, until it is put right."""

from sqlalchemy import ForeignKey, Index, PrimaryKeyConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from dumacle_cli.store.models import users  # noqa: F401 - a foreign key refers to it
from dumacle_cli.store.models.base import KIB, Base, Created, Sorted, one_of, texts, times

SEVERITIES = ("warning", "error")


class Finding(Base):
    """Something about an object that is wrong until it is put right; the row is deleted when it is."""

    __tablename__ = "findings"

    kind: Mapped[Sorted]
    object_id: Mapped[Sorted]
    user_id: Mapped[int | None] = mapped_column(ForeignKey("app.users.id", ondelete="CASCADE"))
    severity: Mapped[str]
    sentence: Mapped[str]
    fix: Mapped[str]
    first_seen_at: Mapped[Created]
    last_seen_at: Mapped[Created]

    __table_args__ = (
        PrimaryKeyConstraint("object_id", "kind"),
        times("first_seen_at", "last_seen_at"),
        texts(kind=64, object_id=255, sentence=8 * KIB, fix=8 * KIB),
        one_of("severity", SEVERITIES),
        Index(None, "user_id", postgresql_where=text("user_id IS NOT NULL")),
    )

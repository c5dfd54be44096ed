"""Parts of multipart uploads that are not complete yet."""

from sqlalchemy import CheckConstraint, ForeignKey, SmallInteger
from sqlalchemy.orm import Mapped, mapped_column

from dumacle_cli.store.models import files  # noqa: F401 - a foreign key refers to it
from dumacle_cli.store.models.base import Base, texts


class Part(Base):
    """A part that the store took, as its answer said: its size (bytes), its ETag, and the SHA-256 of what was sent.

    The rows of a version are of its present multipart upload; they are deleted when that is completed.
    """

    __tablename__ = "parts"

    version_id: Mapped[int] = mapped_column(ForeignKey("app.versions.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    size: Mapped[int]
    etag: Mapped[str]
    sha256: Mapped[bytes]

    __table_args__ = (
        texts(etag=1024),
        CheckConstraint("number BETWEEN 1 AND 10000", name="number"),
        CheckConstraint("size >= 0", name="size"),
        CheckConstraint("octet_length(sha256) = 32", name="sha256"),
    )

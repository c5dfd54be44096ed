"""Users, and their logins in PostgreSQL."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, Text, text, true
from sqlalchemy.orm import Mapped, mapped_column

from dumacle_cli.store.models.base import Base, Created, Id, Sorted, Updated, one_of, texts, times

ROLES = ("superadmin", "admin", "enduser", "service")
USER_STATUSES = ("active", "disabled")
LOGIN_KINDS = ("personal", "session", "service")


class User(Base):
    """A person or service; a deletion keeps the row and frees the e-mail."""

    __tablename__ = "users"

    id: Mapped[Id]
    email: Mapped[Sorted]
    name: Mapped[str] = mapped_column(server_default="")
    role: Mapped[str] = mapped_column(server_default="enduser")
    status: Mapped[str] = mapped_column(server_default="active")
    created_at: Mapped[Created]
    updated_at: Mapped[Updated]
    deleted_at: Mapped[datetime | None]

    __table_args__ = (
        times("created_at", "updated_at", "deleted_at"),
        texts(name=1024),
        CheckConstraint("email = lower(btrim(email)) AND octet_length(email) BETWEEN 1 AND 320", name="email"),
        one_of("role", ROLES),
        one_of("status", USER_STATUSES),
        Index("uq_users_email_live", "email", unique=True, postgresql_where=text("deleted_at IS NULL")),
        Index("ix_users_role_id_live", "role", "id", postgresql_where=text("deleted_at IS NULL")),
        Index("ix_users_role_email_live", "role", "email", postgresql_where=text("deleted_at IS NULL")),
        Index("ix_users_id_disabled", "id", postgresql_where=text("status = 'disabled' AND deleted_at IS NULL")),
        Index(
            "ix_users_email_id_disabled",
            "email",
            "id",
            postgresql_where=text("status = 'disabled' AND deleted_at IS NULL"),
        ),
        Index("ix_users_id_deleted", "id", postgresql_where=text("deleted_at IS NOT NULL")),
        Index("ix_users_email_id_deleted", "email", "id", postgresql_where=text("deleted_at IS NOT NULL")),
        {"postgresql_with": {"fillfactor": "90"}},
    )


class Login(Base):
    """A PostgreSQL login role and the user it stands for."""

    __tablename__ = "logins"

    role: Mapped[str] = mapped_column(Text(collation="C"), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("app.users.id", ondelete="RESTRICT"), index=True)
    kind: Mapped[str]
    duty: Mapped[str | None]
    valid_until: Mapped[datetime | None]
    created_at: Mapped[Created]

    __table_args__ = (
        times("valid_until", "created_at"),
        one_of("kind", LOGIN_KINDS),
        CheckConstraint("(kind = 'service') = (duty IS NOT NULL)", name="duty"),
        CheckConstraint("kind <> 'session' OR valid_until IS NOT NULL", name="valid_until"),
        Index("ix_logins_valid_until", "valid_until", postgresql_where=text("valid_until IS NOT NULL")),
    )


class Installation(Base):
    """The name of this installation in the cluster, and the longest session; one row."""

    __tablename__ = "installation"

    id: Mapped[bool] = mapped_column(primary_key=True, server_default=true())
    prefix: Mapped[str]
    session_hours: Mapped[int] = mapped_column(server_default="24")

    __table_args__ = (
        CheckConstraint("id", name="one"),
        CheckConstraint("session_hours BETWEEN 1 AND 8760", name="session_hours"),
    )

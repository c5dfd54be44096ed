"""Operations, which take effect once, and the audit log."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, false, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from dumacle_cli.store.models.base import Base, Created, Id, Sorted, documents, one_of, texts, times
from dumacle_cli.store.operations import RESULT_BYTES

ACTIONS = ("insert", "update", "delete")

# Audit rows of sets, by the first and last of their ids: app.audit_of searches them for one row.
_IS_SET = "row_id ~ '^[0-9]+[.][.][0-9]+$'"
_SPAN = "int8range(split_part(row_id, '..', 1)::bigint, split_part(row_id, '..', 2)::bigint, '[]')"


class Operation(Base):
    """One mutation; its row is written in the same transaction, so a repeat finds it.

    Each user has their own ids, with any login; the owner of the schema, who is no user, has those of user 0.
    """

    __tablename__ = "operations"

    id: Mapped[Sorted] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(primary_key=True, server_default=text("COALESCE(app.actor(), 0)"))
    command: Mapped[str]
    fingerprint: Mapped[str]
    result: Mapped[Any | None] = mapped_column(JSONB)
    login: Mapped[str] = mapped_column(server_default=text("session_user"))
    created_at: Mapped[Created] = mapped_column(index=True)

    __table_args__ = (
        times("created_at"),
        texts(id=1024, command=255, fingerprint=255, login=255),
        documents(result=RESULT_BYTES),
        Index(None, "user_id"),
    )


class Acting(Base):
    """The role with which a login writes in the transaction with this number; checked and deleted at COMMIT.

    `own` is set if the transaction itself takes that right away.
    """

    __tablename__ = "acting"

    transaction: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    role: Mapped[str]
    own: Mapped[bool] = mapped_column(server_default=false())

    __table_args__ = ({"prefixes": ["UNLOGGED"]},)


class Audit(Base):
    """Who changed which row of which table, when and how; append-only, without foreign keys, to outlive the rows."""

    __tablename__ = "audit"

    id: Mapped[Id]
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    login: Mapped[str] = mapped_column(server_default=text("session_user"))
    actor_id: Mapped[int | None]
    on_behalf_of: Mapped[int | None]
    operation_id: Mapped[str | None]
    table_name: Mapped[str]
    row_id: Mapped[Sorted]
    action: Mapped[str]
    before: Mapped[dict[str, Any] | None]
    after: Mapped[dict[str, Any] | None]

    __table_args__ = (
        one_of("action", ACTIONS),
        Index(None, "at", "id"),
        Index(None, "actor_id", "at", "id"),
        Index(None, "login", "at", "id"),
        # Erasing a user searches the changes of their rows.
        Index(None, "on_behalf_of", postgresql_where=text("on_behalf_of IS NOT NULL")),
        Index(None, "table_name", "at", "id"),
        Index(None, "table_name", "row_id", "id"),
        Index(None, "operation_id", "at", "id", postgresql_where=text("operation_id IS NOT NULL")),
        # Insertions and updates need no index: they are so many that a listing finds some soon.
        Index("ix_audit_at_id_delete", "at", "id", postgresql_where=text("action = 'delete'")),
        Index("ix_audit_sets", text(_SPAN), postgresql_using="gist", postgresql_where=text(_IS_SET)),
    )

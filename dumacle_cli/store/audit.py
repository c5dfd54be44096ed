"""Queries about the audit log, which triggers write."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Row, Select, func, select, text
from sqlalchemy.orm import Session

from dumacle_cli.store import paging
from dumacle_cli.store.models import Audit, User

Found = Row[tuple[Audit, str | None, str | None]]
"""An audit row, and the e-mails of its actor and of the owner of the changed row."""


@dataclass(frozen=True, slots=True)
class Filter:
    """The filters of audit rows, all of which must match; `since` is inclusive, `until` exclusive."""

    actor_id: int | None = None
    login: str | None = None
    table: str | None = None
    row: str | None = None
    action: str | None = None
    operation: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def page(
    session: Session, wanted: Filter, after: str | None, limit: int, *, latest_first: bool = True
) -> paging.Page[Found]:
    """Return a page of audit rows by time."""
    query = _matching(wanted)
    found = session.execute(paging.keyset(query, [Audit.at, Audit.id], after, limit, descending=latest_first)).all()
    return paging.page(found, limit, lambda row: [row.Audit.at.isoformat(), row.Audit.id])


def tables(session: Session) -> list[str]:
    """Return the names of the audited tables."""
    return list(session.scalars(_TABLES))


def find(session: Session, id_: int) -> Found | None:
    """Return an audit row, or None."""
    return session.execute(_with_emails().where(Audit.id == id_)).one_or_none()


_TABLES = text("""
    SELECT DISTINCT c.relname FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid
    WHERE c.relnamespace = 'app'::regnamespace AND t.tgname LIKE 'audit%' ORDER BY c.relname
""")


def _with_emails() -> Select[tuple[Audit, str | None, str | None]]:
    actor = select(User.email).where(User.id == Audit.actor_id).scalar_subquery()
    owner = select(User.email).where(User.id == Audit.on_behalf_of).scalar_subquery()
    return select(Audit, actor.label("actor"), owner.label("owner"))


def _matching(wanted: Filter) -> Select[tuple[Audit, str | None, str | None]]:
    query = _with_emails()
    given = {
        Audit.actor_id: wanted.actor_id,
        Audit.login: wanted.login,
        Audit.table_name: wanted.table,
        Audit.action: wanted.action,
        Audit.operation_id: wanted.operation,
    }
    query = query.where(*(column == value for column, value in given.items() if value is not None))
    if wanted.row is not None:
        query = query.where(Audit.id.in_(select(func.app.audit_of(wanted.table, wanted.row))))
    if wanted.since is not None:
        query = query.where(Audit.at >= wanted.since)
    if wanted.until is not None:
        query = query.where(Audit.at < wanted.until)
    return query

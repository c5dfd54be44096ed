"""The audit log: who changed what, when and how."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy.orm import Session

from dumacle_cli.errors import InvalidValue, NotFound
from dumacle_cli.ids import parse_id
from dumacle_cli.services import users
from dumacle_cli.store import audit as store
from dumacle_cli.store import models, paging

Action = Literal["insert", "update", "delete"]


@dataclass(frozen=True, slots=True)
class Search:
    """Filters of the audit log, which all apply; `since` is included, `until` is not.

    `actor` is a user's id or e-mail; `target` is `TABLE` or `TABLE:ID`, of users also `users:EMAIL`.
    """

    actor: str | None = None
    login: str | None = None
    target: str | None = None
    action: Action | None = None
    operation: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One audited change of a row, or of a set of rows `first..last`; `target` is the table and the id.

    `actor` is null for the owner of the schema; `on_behalf_of` is the owner of the row, if that is another user.
    """

    id: int
    at: datetime
    actor: str | None
    login: str
    on_behalf_of: str | None
    operation: str | None
    action: str
    target: str


@dataclass(frozen=True, slots=True)
class Value:
    """The values of a column before and after."""

    column: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class ChangeDetail(Change):
    """A change, column by column."""

    changes: list[Value]


@dataclass(frozen=True, slots=True)
class ChangeRecord(Change):
    """A change as it is stored: the row before and after; of an update, only the columns that differ."""

    before: dict[str, Any] | None
    after: dict[str, Any] | None


def list_(session: Session, search: Search, *, after: str | None, limit: int) -> paging.Page[Change]:
    """Return a page of changes, latest first; raises NotFound for a user, and InvalidValue."""
    found = store.page(session, _filter(session, search), after, limit)
    return paging.Page([Change(**_facts(row)) for row in found.items], found.after)


def export(session: Session, search: Search, *, after: str | None, limit: int) -> paging.Page[ChangeRecord]:
    """Return a page of changes with the state before and after, earliest first; raises as `list_` does."""
    found = store.page(session, _filter(session, search), after, limit, latest_first=False)
    items = [ChangeRecord(**_facts(row), before=row.Audit.before, after=row.Audit.after) for row in found.items]
    return paging.Page(items, found.after)


def show(session: Session, change: str) -> ChangeDetail:
    """Return the change with this id, column by column; raises NotFound."""
    id_ = parse_id(change)
    row = None if id_ is None else store.find(session, id_)
    if row is None:
        raise NotFound("change", change)
    return ChangeDetail(**_facts(row), changes=_values(row.Audit.before or {}, row.Audit.after or {}))


def _filter(session: Session, search: Search) -> store.Filter:
    for name in ("login", "target", "operation"):
        given = getattr(search, name) or ""
        if not given.isprintable():
            raise InvalidValue(name=f"--{name}", value=repr(given), reason="it has characters that no name has")
    table, row = _target(session, search.target)
    return store.Filter(
        actor_id=None if search.actor is None else _user_id(session, search.actor),
        login=search.login,
        table=table,
        row=row,
        action=search.action,
        operation=search.operation,
        since=search.since,
        until=search.until,
    )


def _target(session: Session, typed: str | None) -> tuple[str | None, str | None]:
    if typed is None:
        return None, None
    table, _, row = typed.partition(":")
    known = store.tables(session)
    if table not in known:
        raise InvalidValue(name="--target", value=repr(typed), reason=f"the audited tables are {', '.join(known)}")
    return table, str(_user_id(session, row)) if row and table == "users" else row or None


def _user_id(session: Session, typed: str) -> int:
    """Return the id of a user; an id is not checked, because audited changes outlive their users."""
    user_id = parse_id(typed)
    return users.get_any(session, typed).id if user_id is None else user_id


def _facts(row: store.Found) -> dict[str, Any]:
    audit: models.Audit = row.Audit
    return {
        "id": audit.id,
        "at": audit.at,
        "actor": _person(row.actor, audit.actor_id),
        "login": audit.login,
        "on_behalf_of": _person(row.owner, audit.on_behalf_of),
        "operation": audit.operation_id,
        "action": audit.action,
        "target": f"{audit.table_name}:{audit.row_id}",
    }


def _person(email: str | None, id_: int | None) -> str | None:
    """Return the e-mail of a user, or the id if they were purged."""
    return email or (None if id_ is None else str(id_))


def _values(before: dict[str, Any], after: dict[str, Any]) -> list[Value]:
    columns = [*before, *(column for column in after if column not in before)]
    values = (Value(column, before.get(column), after.get(column)) for column in columns)
    return [value for value in values if (value.before, value.after) != (None, None)]

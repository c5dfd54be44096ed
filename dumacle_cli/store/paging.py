"""Keyset pages: a listing goes on after the last row that was seen, however deep, at the price of the first page."""

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Select, literal, tuple_
from sqlalchemy.orm import InstrumentedAttribute

from dumacle_cli.errors import InvalidValue

T = TypeVar("T")
Query = TypeVar("Query", bound=Select[*tuple[Any, ...]])
Column = ColumnElement[Any] | InstrumentedAttribute[Any]


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some rows of a listing, and the token of the next page where there is one."""

    items: list[T]
    after: str | None


def keyset(
    query: Query, columns: Sequence[Column], after: str | None, limit: int, *, descending: bool = False
) -> Query:
    """Order a query by these columns, the last of them unique, and start behind the token; asks for one row more."""
    if after:
        here = tuple_(*columns)
        parts = zip(_decode(after, len(columns)), columns, strict=True)
        seen = tuple_(*(literal(part, column.type) for part, column in parts))
        query = query.where(here < seen if descending else here > seen)
    return query.order_by(*(column.desc() if descending else column for column in columns)).limit(limit + 1)


def page(rows: Sequence[T], limit: int, key: Callable[[T], Sequence[Any]]) -> Page[T]:
    """Cut the one row more off again, and make the token from the last row's key."""
    kept = list(rows[:limit])
    return Page(kept, _encode(key(kept[-1])) if len(rows) > limit else None)


def every(fetch: Callable[[str | None], Page[T]], after: str | None) -> Iterator[T]:
    """Iterate over all pages from here on, holding one at a time."""
    while True:
        found = fetch(after)
        yield from found.items
        if found.after is None:
            return
        after = found.after


def _encode(key: Sequence[Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(list(key)).encode()).decode().rstrip("=")


def _decode(token: str, length: int) -> list[Any]:
    try:
        key = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except ValueError:
        key = None
    if not isinstance(key, list) or len(key) != length or not all(isinstance(part, str | int) for part in key):
        raise InvalidValue(name="--after", value=repr(token), reason="it is not a token of this listing")
    return key

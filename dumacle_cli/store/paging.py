"""Keyset pagination: each page continues after the last row of the one before, so all pages cost the same."""

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
    """A page of a listing, and the token for the next page, if there is one."""

    items: list[T]
    after: str | None


def keyset(
    query: Query, columns: Sequence[Column], after: str | None, limit: int, *, descending: bool = False
) -> Query:
    """Sort a query by these columns, of which the last is unique, and start after the token; selects one extra row."""
    if after:
        here = tuple_(*columns)
        parts = zip(_decode(after, len(columns)), columns, strict=True)
        seen = tuple_(*(literal(part, column.type) for part, column in parts))
        query = query.where(here < seen if descending else here > seen)
    return query.order_by(*(column.desc() if descending else column for column in columns)).limit(limit + 1)


def page(rows: Sequence[T], limit: int, key: Callable[[T], Sequence[Any]]) -> Page[T]:
    """Remove the extra row, and make the token from the key of the last row."""
    kept = list(rows[:limit])
    return Page(kept, _encode(key(kept[-1])) if len(rows) > limit else None)


def every(fetch: Callable[[str | None], Page[T]], after: str | None) -> Iterator[T]:
    """Iterate over all pages from here on, with one page in memory at a time."""
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
        raise InvalidValue(name="--after", value=repr(token), reason="it is not a token from this listing")
    return key

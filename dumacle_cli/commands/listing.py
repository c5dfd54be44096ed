"""What every list command shares: pages by keyset, or everything as a stream."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from dumacle_cli.context import Context
from dumacle_cli.output.forms import Shown

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dumacle_cli.store.paging import Page

T = TypeVar("T")
Fetch = Callable[["Session", str | None], "Page[T]"]

Limit = Annotated[int, typer.Option("--limit", metavar="N", min=1, max=1000, help="Rows of a page.")]
After = Annotated[str, typer.Option("--after", metavar="TOKEN", help="Go on behind this page.")]
All = Annotated[bool, typer.Option("--all", help="All rows, as a stream.")]


def listing(context: Context, fetch: "Fetch[T]", after: str, everything: bool, **filters: str) -> Shown:
    """Show one page of a listing, or with `--all` every row in constant memory; `filters` name columns."""
    implied = frozenset(name for name, asked in filters.items() if asked)
    if everything:
        return Shown(_stream(context, fetch, after or None), implied=implied)
    with context.session() as session:
        page = fetch(session, after or None)
    return Shown(page.items, next=page.after, implied=implied)


def _stream(context: Context, fetch: "Fetch[T]", after: str | None) -> Iterator[T]:
    from dumacle_cli.store import paging

    def one(token: str | None) -> "Page[T]":
        with context.session() as session:
            return fetch(session, token)

    yield from paging.every(one, after)

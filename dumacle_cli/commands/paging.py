"""Lists, page by page or with --all as a stream."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from dumacle_cli.context import Context
from dumacle_cli.output.result import Result, Rows

if TYPE_CHECKING:
    from dumacle_cli.store.paging import Page

T = TypeVar("T")


def listing(context: Context, fetch: "Callable[..., Page[T]]", *args: Any, **filters: Any) -> Rows[T]:
    """Return one page of what `fetch(session, *args, **filters, after=, limit=)` finds, or with --all every row."""
    options = context.options
    if options.everything:
        return Result(stream(context, fetch, *args, after=options.after or None, limit=options.limit, **filters))
    with context.session() as session:
        page = fetch(session, *args, after=options.after or None, limit=options.limit, **filters)
    return Result(page.items, next=page.after)


def stream(
    context: Context, fetch: "Callable[..., Page[T]]", *args: Any, after: str | None = None, **filters: Any
) -> Iterator[T]:
    """Yield every row in constant memory, each page in a transaction of its own."""
    from dumacle_cli.store import paging

    def one(token: str | None) -> "Page[T]":
        with context.session() as session:
            return fetch(session, *args, after=token, **filters)

    yield from paging.every(one, after)

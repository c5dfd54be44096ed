"""Lists, page by page or with --all as a stream, and results that are computed while they are written."""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from dumacle_cli.context import Context
from dumacle_cli.output.result import Result, Rows

if TYPE_CHECKING:
    from dumacle_cli.store.paging import Page

T = TypeVar("T")


class Item(Protocol):
    """A row that tells what went wrong with it."""

    @property
    def error(self) -> str | None:
        """What went wrong, or None."""


R = TypeVar("R", bound=Item)


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


def streamed(context: Context, found: Iterator[R], result: Rows[R]) -> Rows[R]:
    """Let the rows be computed while they are written; with --quiet only those with an error are."""
    result.data = found
    if context.options.quiet:
        failed = (each for each in found if each.error is not None)
        result.data = chain([first], failed) if (first := next(failed, None)) else ()
    return result

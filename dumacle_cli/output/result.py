"""What a command returns to be shown, and the formats it can be shown in."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Generic, Self, TypeVar

from dumacle_cli.errors import Exit

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class OutputFormat(StrEnum):
    """How results are written to standard output."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"


@dataclass(slots=True)
class Result(Generic[T_co]):
    """The data that a command returns, with what the output says besides.

    `data` is a dataclass, a list of them, or an iterator of them that is written in constant memory and that may set
    the other fields before it ends. `note` is written to standard error. `columns` replace those of the command's
    table, `hidden` ones are left out. `target` is the database that a destructive command acted on. The declaration of
    the command sets `dry_run` and `operation`.
    """

    data: T_co
    changed: bool | None = None
    operation: str | None = None
    next: str | None = None
    dry_run: bool = False
    exit: Exit = Exit.DONE
    note: str = ""
    hidden: frozenset[str] = frozenset()
    target: str = ""
    columns: tuple[str, ...] = ()

    def without(self, **filters: str) -> Self:
        """Hide the columns that were filtered to a single value, which every row would repeat."""
        return replace(self, hidden=frozenset(name for name, value in filters.items() if value))


Rows = Result[Iterable[T]]


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """How the results of one command look: the name of their schema, their type, and the columns of their table."""

    schema: str
    returns: type
    many: bool
    changes: bool = False
    columns: tuple[str, ...] = ()
    empty: str = "nothing to show"

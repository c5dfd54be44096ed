"""The four forms of output, and what a command hands over to be shown."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from dumacle_cli.errors import Exit


class Form(StrEnum):
    """How results are written to standard output."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"


@dataclass(slots=True)
class Shown:
    """A result with what output must know of it besides its data.

    `data` is a dataclass, a list of them, or an iterator of them that is written in constant memory, and that may set
    the other facts by its end; `note` goes to standard error for a person. Tables leave out the `implied` columns,
    which hold in every row what was asked for. `target` is told of what may destroy much: the database it acted on.
    """

    data: object | Iterable[object]
    changed: bool | None = None
    operation: str | None = None
    next: str | None = None
    dry_run: bool = False
    exit: Exit = Exit.DONE
    note: str = ""
    implied: frozenset[str] = frozenset()
    target: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """How the results of one command look: their schema name, their type, and the columns of their table."""

    schema: str
    returns: type
    many: bool
    mutates: bool = False
    columns: tuple[str, ...] = ()
    empty: str = "nothing to show"
    extra: dict[str, Any] = field(default_factory=dict)

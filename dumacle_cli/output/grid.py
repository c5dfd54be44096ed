"""A table before it is laid out: its cells and headings, and how wide a text is."""

import unicodedata
from dataclasses import dataclass
from typing import NamedTuple

GAP = "  "
"""What separates two columns."""


class Cell(NamedTuple):
    """The text of a cell with a style of rich; a list has one line per item."""

    text: str
    style: str = ""


@dataclass(frozen=True, slots=True)
class Grid:
    """A table ready for layout: title, column headings, rows, and the kinds of columns.

    The headings of a stream are shown once, above its first table. A link is `alone` on its line, to be copied.
    """

    rows: list[list[Cell]]
    headings: tuple[str, ...] | None = None
    headed: bool = False
    right: frozenset[int] = frozenset()
    instants: frozenset[int] = frozenset()
    title: str = ""
    alone: str = ""


def cells(text: str) -> int:
    """Return how many cells of a terminal a text takes: wide letters two, marks on others none."""
    return len(text) if text.isascii() else sum(map(_cells, text))


def _cells(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me") or "\u1160" <= char <= "\u11ff":
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1

"""Tables on a terminal: fitted to its width and coloured."""

from collections.abc import Iterable, Iterator
from typing import TextIO, cast

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from dumacle_cli.escapes import safe
from dumacle_cli.output.grid import GAP, Cell, Grid, cells
from dumacle_cli.output.streams import Outlet

WHOLE = 20
"""Characters up to which a column is not folded on a narrow terminal, unless it is the widest."""

NARROWEST = 8
"""Characters below which a column is not folded: the cells would take too many lines."""

_PIPE_WIDTH = 20_000
"""Wider than any row, so that a pipe gets each on one line."""


class Screen(Console):
    """A console that leaves a broken pipe to `main`."""

    def on_broken_pipe(self) -> None:
        """Raise BrokenPipeError, where rich would exit with a status of its own."""
        raise BrokenPipeError


def console(out: Outlet, color: bool | None) -> Console:
    """Make a console for this stream; colour and width follow the terminal, and a pipe is wide and plain."""
    terminal = out.isatty()
    return Screen(
        file=cast("TextIO", out.unescaped),
        force_terminal=color if color is not None else terminal,
        no_color=not color if color is not None else None,
        width=None if terminal else _PIPE_WIDTH,
        highlight=False,
        emoji=False,
        markup=False,
        soft_wrap=not terminal,
        legacy_windows=False,
    )


def write(grids: Iterable[Grid], out: Outlet, color: bool | None) -> None:
    """Write tables, without the blanks that would fill up their last columns."""
    here = console(out, color)
    for grid in grids:
        with here.capture() as captured:
            _print(here, grid)
        here.file.writelines(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def _print(here: Console, grid: Grid) -> None:
    indent = len(GAP) if grid.title else 0
    if grid.title:
        here.print(Text(grid.title, style="bold"))
    if grid.alone or not grid.headings:
        _print_whole(here, grid)
        return
    table = _table(grid)
    least = sum(column.min_width or 0 for column in table.columns) + len(GAP) * (len(table.columns) - 1)
    if indent + least > here.width:  # rich would cut cells, or leave columns out
        for record in _records(grid):
            _print_whole(here, record, " " * indent)
            here.print()
    else:
        here.print(Padding(table, (0, 0, 0, indent)))


def _print_whole(here: Console, grid: Grid, indent: str = "") -> None:
    """Print fields, each on a line that only the terminal wraps, so that it can be copied whole."""
    if grid.alone:
        here.print(Text(grid.alone), soft_wrap=True)
    width = max((cells(row[0].text) for row in grid.rows), default=0)
    for name, value in grid.rows:
        for number, text in enumerate(value.text.split("\n")):
            head = "" if number else name.text
            line = Text(indent).append(head, style=name.style).append(" " * (width - cells(head)) + GAP)
            here.print(line.append(safe(text), style=value.style), soft_wrap=True)


def _records(grid: Grid) -> Iterator[Grid]:
    """Yield each row as a table of its own, a line per column."""
    for row in grid.rows:
        yield Grid([[Cell(heading, "bold"), cell] for heading, cell in zip(grid.headings or (), row, strict=True)])


def _table(grid: Grid) -> Table:
    """Make a table with a minimum readable width for each column."""
    table = Table(box=None, show_header=grid.headed, header_style="bold", pad_edge=False, padding=(0, len(GAP), 0, 0))
    headings = grid.headings or ("",) * len(grid.rows[0])
    widths = [max(cells(cell.text) for cell in column) for column in zip(*grid.rows, strict=True)]
    widest = max((width for place, width in enumerate(widths) if place not in grid.instants), default=0)
    for place, (heading, width) in enumerate(zip(headings, widths, strict=True)):
        whole = place in grid.instants or width < min(widest, WHOLE + 1)
        side = "right" if place in grid.right else "left"
        least = max(width, len(heading)) if whole else max(min(width, NARROWEST), *map(len, heading.split() or [""]))
        table.add_column(heading, justify=side, overflow="fold", no_wrap=whole, min_width=least)  # type: ignore[arg-type]
    for row in grid.rows:
        table.add_row(*map(_text, row))
    return table


def _text(cell: Cell) -> Text:
    return Text(safe(cell.text, keep="\n"), style=cell.style)

"""Tables on a terminal: fitted to its width and coloured."""

from collections.abc import Iterable
from typing import TextIO

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from dumacle_cli.output.tables import GAP, Cell, Grid

WHOLE = 20
"""Characters up to which a column is not folded on a narrow terminal, unless it is the widest."""

_PIPE_WIDTH = 20_000
"""Wider than any row, so that a pipe gets each on one line."""


class Screen(Console):
    """A console that leaves it to `main` what a reader who left means."""

    def on_broken_pipe(self) -> None:
        """Raise what rich would make an exit status of its own of; raises BrokenPipeError."""
        raise BrokenPipeError


def console(out: TextIO, color: bool | None) -> Console:
    """Make a console for this stream; colour and width follow the terminal, and a pipe is wide and plain."""
    terminal = out.isatty()
    return Screen(
        file=out,
        force_terminal=color if color is not None else terminal,
        no_color=not color if color is not None else None,
        width=None if terminal else _PIPE_WIDTH,
        highlight=False,
        emoji=False,
        markup=False,
        soft_wrap=not terminal,
        legacy_windows=False,
    )


def write(grids: Iterable[Grid], out: TextIO, color: bool | None) -> None:
    """Write tables, without the blanks that would fill up their last columns."""
    here = console(out, color)
    for grid in grids:
        with here.capture() as captured:
            _print(here, grid)
        here.file.writelines(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def _print(here: Console, grid: Grid) -> None:
    if grid.title:
        here.print(Text(grid.title, style="bold"))
    here.print(Padding(_table(grid), (0, 0, 0, len(GAP) if grid.title else 0)))


def _table(grid: Grid) -> Table:
    table = Table(
        box=None, show_header=bool(grid.headings), header_style="bold", pad_edge=False, padding=(0, len(GAP), 0, 0)
    )
    headings = grid.headings or ("",) * len(grid.rows[0])
    widths = [max(len(cell.text) for cell in column) for column in zip(*grid.rows, strict=True)]
    widest = max((width for place, width in enumerate(widths) if place not in grid.instants), default=0)
    for place, (heading, width) in enumerate(zip(headings, widths, strict=True)):
        whole = place in grid.instants or width < min(widest, WHOLE + 1)
        side = "right" if place in grid.right else "left"
        table.add_column(heading, justify=side, overflow="fold", no_wrap=whole)  # type: ignore[arg-type]
    for row in grid.rows:
        table.add_row(*map(_text, row))
    return table


def _text(cell: Cell) -> Text:
    return Text(cell.text, style=cell.style)

"""Tables for people: columns that fit the terminal, sizes in IEC units, instants in UTC."""

from dataclasses import fields, is_dataclass
from itertools import islice
from typing import Any, TextIO, get_args, get_type_hints

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from dumacle_cli.output import documents
from dumacle_cli.output.forms import Shown, View
from dumacle_cli.plain import marked
from dumacle_cli.units import parse_instant, show_duration, show_instant, show_size

CHUNK = 500
"""Rows whose widths are settled together when a listing streams."""

WHOLE = 20
"""Characters up to which a column is not folded on a narrow terminal, unless it is the widest."""

_PIPE_WIDTH = 20_000
"""Wider than any row, so that a pipe gets each on one line."""

_BOUNDARIES = ("_start", "_end")
_GOOD = {"active", "uploaded", "verified", "ok", "running", "done", "stored", "unchanged"}
_BAD = {"failed", "disabled", "missing", "refused", "stopped", "differs", "full"}


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


def write(shown: Shown, view: View, out: TextIO, color: bool | None) -> None:
    """Write a result as a table: a row per item, or a line per field of a single one."""
    screen = console(out, color)
    if view.many:
        _rows(screen, shown, view)
    else:
        _fields(screen, next(documents.rows(shown, view)), view.returns)


def _rows(screen: Console, shown: Shown, view: View) -> None:
    names = view.columns or _names(view.returns)
    items = documents.rows(shown, view)
    first = True
    while chunk := list(islice(items, CHUNK)):
        _print(screen, _table(names, chunk, view.returns, header=first))
        first = False


def _names(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def _print(screen: Console, shown: RenderableType) -> None:
    """Print without the blanks that fill up the last column."""
    with screen.capture() as captured:
        screen.print(shown)
    screen.file.writelines(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def _table(names: tuple[str, ...], items: list[Any], kind: type, *, header: bool) -> Table:
    sizes = marked(kind, "bytes")
    numbers = {name for name in names if any(_is_number(item.get(name)) for item in items)}
    table = Table(box=None, show_header=header, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    rows = [[cell(item.get(name), name, kind) for name in names] for item in items]
    widths = [max(len(shown) for shown in column) for column in zip(*rows, strict=True)]
    widest = max((width for name, width in zip(names, widths, strict=True) if not _is_instant(name)), default=0)
    for name, width in zip(names, widths, strict=True):
        right = name in numbers or name in sizes
        whole = _is_instant(name) or width < min(widest, WHOLE + 1)
        table.add_column(title(name), justify="right" if right else "left", overflow="fold", no_wrap=whole)
    for row in rows:
        table.add_row(*row)
    return table


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _fields(screen: Console, item: dict[str, Any], kind: type) -> None:
    """Print a line per field; a list of dataclasses comes behind them, indented, as a table of its own."""
    nested = {name: value for name, value in item.items() if value and is_dataclass(item_kind(kind, name))}
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in item.items():
        if name not in nested:
            table.add_row(title(name), _listed(value) if isinstance(value, list) else cell(value, name, kind))
    _print(screen, table)
    for name, items in nested.items():
        _print(screen, Text(title(name), style="bold"))
        inner = item_kind(kind, name)
        _print(screen, Padding(_table(_names(inner), items, inner, header=True), (0, 0, 0, 2)))


def _listed(values: list[Any]) -> Text:
    return Text("\n".join(printable(str(value)) for value in values) or "-")


def item_kind(kind: type, name: str) -> type:
    """Return the type of the items of a field that holds a list; `object` where that is not known."""
    found = get_args(get_type_hints(kind).get(name))
    return found[0] if found and isinstance(found[0], type) else object


def title(name: str) -> str:
    """Turn a field's name into a heading, such as `created at`."""
    return name.removeprefix("is_").replace("_", " ")


def cell(value: Any, name: str, kind: type) -> Text:
    """Show one plain value as a person reads it."""
    if value is None or value == "":
        return Text("unlimited" if name.endswith("_limit") else "-", style="dim")
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if name in marked(kind, "bytes"):
        return Text(show_size(value))
    if name in marked(kind, "seconds"):
        return Text(show_duration(value))
    if isinstance(value, str) and _is_instant(name):
        shown = show_instant(parse_instant(value))
        return Text(shown.replace(":00Z", "Z") if name.endswith(_BOUNDARIES) else shown)
    shown = printable(str(value))
    return Text(shown, style=_style(shown))


def _is_instant(name: str) -> bool:
    return name.endswith(("_at", "_until", *_BOUNDARIES)) or name in {"at", "start", "end", "anchor"}


def _style(shown: str) -> str:
    return "green" if shown in _GOOD else "red" if shown in _BAD else ""


def printable(shown: str) -> str:
    """Escape what would move the cursor or break a line, as a file name may hold."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in shown)

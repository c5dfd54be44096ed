"""Tables for people: columns that fit the terminal, sizes in IEC units, instants in UTC."""

from collections.abc import Iterator
from dataclasses import fields
from datetime import datetime
from itertools import islice
from typing import Any, TextIO, get_args, get_type_hints

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dumacle_cli.output import documents
from dumacle_cli.output.forms import Shown, View
from dumacle_cli.plain import marked
from dumacle_cli.units import parse_instant, show_duration, show_instant, show_size

CHUNK = 500
"""Rows whose widths are settled together when a listing streams."""

_PIPE_WIDTH = 200
_GOOD = {"active", "uploaded", "verified", "ok", "running", "done", "stored", "unchanged"}
_BAD = {"failed", "disabled", "missing", "refused", "stopped", "differs", "full"}


def console(out: TextIO, color: bool | None) -> Console:
    """Make a console for this stream; colour and width follow the terminal, and a pipe is wide and plain."""
    terminal = out.isatty()
    return Console(
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
    names = view.columns or tuple(field.name for field in fields(view.returns))
    items = documents.rows(shown, view)
    first = True
    while chunk := list(islice(items, CHUNK)):
        screen.print(_table(names, chunk, view.returns, header=first))
        first = False


def _table(names: tuple[str, ...], items: list[Any], kind: type, *, header: bool) -> Table:
    sizes = marked(kind, "bytes")
    numbers = {name for name in names if any(isinstance(item.get(name), int | float) for item in items)}
    table = Table(box=None, show_header=header, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for name in names:
        right = name in numbers or name in sizes
        table.add_column(title(name), justify="right" if right else "left", overflow="fold")
    for item in items:
        table.add_row(*(cell(item.get(name), name, kind) for name in names))
    return table


def _fields(screen: Console, item: dict[str, Any], kind: type) -> None:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in _lines(item, kind):
        table.add_row(name, value)
    screen.print(table)


def _lines(item: dict[str, Any], kind: type) -> Iterator[tuple[str, Text]]:
    for name, value in item.items():
        if isinstance(value, list):
            shown = [_flat(entry, item_kind(kind, name)) for entry in value]
            yield title(name), Text("\n".join(shown) or "-")
        else:
            yield title(name), cell(value, name, kind)


def _flat(entry: Any, kind: type) -> str:
    if not isinstance(entry, dict):
        return printable(str(entry))
    shown = (_part(value, name, kind) for name, value in entry.items() if value is not None)
    return "  ".join(part for part in shown if part)


def _part(value: Any, name: str, kind: type) -> str:
    if isinstance(value, bool):
        return title(name).removeprefix("is ") if value else ""
    return cell(value, name, kind).plain


def item_kind(kind: type, name: str) -> type:
    """Return the type of the items of a field that holds a list; `object` where that is not known."""
    found = get_args(get_type_hints(kind).get(name))
    return found[0] if found and isinstance(found[0], type) else object


def title(name: str) -> str:
    """Turn a field's name into a heading, such as `created at`."""
    return name.replace("_", " ")


def cell(value: Any, name: str, kind: type) -> Text:
    """Show one plain value as a person reads it."""
    if value is None:
        return Text("unlimited" if name.endswith("_limit") else "-", style="dim")
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if name in marked(kind, "bytes"):
        return Text(show_size(value))
    if name in marked(kind, "seconds"):
        return Text(show_duration(value))
    if isinstance(value, str) and _is_instant(name, kind):
        return Text(show_instant(parse_instant(value)))
    shown = _flat(value, object) if isinstance(value, dict) else str(value)
    return Text(printable(shown), style=_style(shown))


def _is_instant(name: str, kind: type) -> bool:
    return name.endswith(("_at", "_start", "_end", "_until")) or name in {"at", "start", "end", "anchor"}


def _style(shown: str) -> str:
    return "green" if shown in _GOOD else "red" if shown in _BAD else ""


def printable(shown: str) -> str:
    """Escape what would move the cursor or break a line, as a file name may hold."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in shown)

"""Tables for people: the text of each cell, and plain tables for pipes; `screen` fits them to a terminal.

Sizes are in IEC units, instants in UTC. For a pipe rich is not imported, which saves start-up time.
"""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from itertools import islice, zip_longest
from typing import Any, get_args, get_type_hints

from dumacle_cli.escapes import safe, visible
from dumacle_cli.output import documents
from dumacle_cli.output.grid import GAP, Cell, Grid, cells
from dumacle_cli.output.result import OutputSpec, Result
from dumacle_cli.output.streams import Outlet
from dumacle_cli.plain import marked
from dumacle_cli.units import parse_instant, show_duration, show_instant, show_size

CHUNK = 500
"""Rows per table when a listing streams."""

_HEADINGS = {
    "entry": "file to open",
    "requires_video": "needs video",
    "put_mb_s": "put MB/s",
    "get_mb_s": "get MB/s",
}
_BOUNDARIES = ("_start", "_end")
_GOOD = {"active", "uploaded", "verified", "ok", "running", "done", "stored", "unchanged"}
_BAD = {"failed", "disabled", "missing", "refused", "stopped", "differs", "full"}


def write(result: Result[Any], spec: OutputSpec, out: Outlet, color: bool | None) -> None:
    """Write a result as a table: a row per item, or a line per field of a single one."""
    if out.isatty() or color:
        from dumacle_cli.output import screen

        screen.write(grids(result, spec), out, color)
    else:
        for grid in grids(result, spec):
            out.writelines(f"{line}\n" for line in lines(grid))


def grids(result: Result[Any], spec: OutputSpec) -> Iterator[Grid]:
    """Lay a result out as tables, in constant memory where its data is an iterator."""
    if not spec.many:
        yield from _of_one(next(documents.rows(result, spec)), spec.returns)
        return
    items = documents.rows(result, spec)
    columns, first = result.columns or spec.columns or _names(spec.returns), True
    names = tuple(name for name in columns if name not in result.hidden)
    while chunk := list(islice(items, CHUNK)):
        yield _of_many(names, chunk, spec.returns, headed=first)
        first = False


def lines(grid: Grid) -> Iterator[str]:
    """Lay a table out for a pipe: each row on one line, however long."""
    indent = GAP if grid.title else ""
    if grid.title:
        yield grid.title
    if grid.alone:
        yield grid.alone
        return
    head = [[Cell(heading) for heading in grid.headings or ()]] if grid.headed else []
    rows = [line for row in head + grid.rows for line in _broken(row)]
    widths = [max(map(cells, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        aligned = (
            _filled(text, width, right=place in grid.right)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        yield (indent + GAP.join(aligned)).rstrip()


def _filled(text: str, width: int, *, right: bool) -> str:
    blanks = " " * (width - cells(text))
    return blanks + text if right else text + blanks


def _broken(row: list[Cell]) -> Iterator[list[str]]:
    for line in zip_longest(*(cell.text.split("\n") for cell in row), fillvalue=""):
        yield list(line)


def _names(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def _of_many(names: tuple[str, ...], items: list[Any], kind: type, *, headed: bool, title: str = "") -> Grid:
    sizes, links = marked(kind, "bytes"), marked(kind, "link")
    numbers = {name for name in names if any(_is_number(item.get(name)) for item in items)}
    return Grid(
        rows=[[cell(item.get(name), name, kind) for name in names] for item in items],
        headings=tuple(map(heading, names)),
        headed=headed,
        right=frozenset(place for place, name in enumerate(names) if name in numbers or name in sizes),
        instants=frozenset(place for place, name in enumerate(names) if _is_instant(name) or name in links),
        title=title,
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _of_one(item: dict[str, Any], kind: type) -> Iterator[Grid]:
    """Yield a line per field; a list of dataclasses comes behind them, as a table of its own."""
    # The result of an earlier operation comes back with its fields in the database's order.
    item = {name: item[name] for name in _names(kind) if name in item}
    nested = {name: value for name, value in item.items() if value and is_dataclass(item_kind(kind, name))}
    links = {name: value for name, value in item.items() if value and name in marked(kind, "link")}
    plain = {name: value for name, value in item.items() if name not in nested and name not in links}
    yield Grid([[Cell(heading(name), "bold"), _field(value, name, kind)] for name, value in plain.items()])
    for name, link in links.items():
        yield Grid([], title=heading(name), alone=safe(link))
    for name, items in nested.items():
        inner = item_kind(kind, name)
        yield _of_many(_names(inner), items, inner, headed=True, title=heading(name))


def _field(value: Any, name: str, kind: type) -> Cell:
    if isinstance(value, list):
        return Cell("\n".join(visible(str(entry)) for entry in value) or "-")
    if isinstance(value, dict):
        entries = (f"{visible(heading(each))}: {_field(held, '', kind).text}" for each, held in value.items())
        return Cell("\n".join(entries) or "-")
    return cell(value, name, kind)


def item_kind(kind: type, name: str) -> type:
    """Return the type of the items of a field that holds a list; `object` where that is not known."""
    found = get_args(get_type_hints(kind).get(name))
    return found[0] if found and isinstance(found[0], type) else object


def heading(name: str) -> str:
    """Turn a field's name into a heading, such as `created at`."""
    return _HEADINGS.get(name) or name.removeprefix("is_").replace("_", " ")


def cell(value: Any, name: str, kind: type) -> Cell:
    """Format one plain value for a person."""
    if value is None or value == "":
        return Cell("unlimited" if name.endswith("_limit") else "-", "dim")
    if isinstance(value, bool):
        return Cell("yes" if value else "no")
    if name in marked(kind, "bytes"):
        return Cell(show_size(value))
    if name in marked(kind, "seconds"):
        return Cell(show_duration(value))
    if isinstance(value, str) and _is_instant(name):
        instant = show_instant(parse_instant(value))
        return Cell(instant.replace(":00Z", "Z") if name.endswith(_BOUNDARIES) else instant)
    text = visible(value) if isinstance(value, str) else safe(str(value))
    return Cell(text, "green" if text in _GOOD else "red" if text in _BAD else "")


def _is_instant(name: str) -> bool:
    return name.endswith(("_at", "_until", *_BOUNDARIES)) or name in {"at", "start", "end", "anchor"}

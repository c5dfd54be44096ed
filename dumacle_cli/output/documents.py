"""JSON, JSON lines and CSV: the forms that scripts read."""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import fields
from itertools import chain, islice
from typing import Any

from dumacle_cli.output.forms import Form, Shown, View
from dumacle_cli.output.streams import Outlet
from dumacle_cli.plain import dumped, plain


def write(shown: Shown, view: View, form: Form, out: Outlet) -> None:
    """Write a result in a form for scripts, in constant memory where its data is an iterator."""
    {Form.JSON: _json, Form.JSONL: _jsonl, Form.CSV: _csv}[form](shown, view, out)


def rows(shown: Shown, view: View) -> Iterator[Any]:
    """Iterate over the plain values of a result; the first is made at once, so that nothing is written before it."""
    data = shown.data if view.many and isinstance(shown.data, Iterable) else [shown.data]
    items = (plain(item) for item in data)
    return chain(list(islice(items, 1)), items)


def _json(shown: Shown, view: View, out: Outlet) -> None:
    items = rows(shown, view)
    out.write(f'{{"schema": {dumped(view.schema)}, "data": ')
    if view.many:
        _array(items, out)
    else:
        out.write(dumped(plain(shown.data)))
    for name, value in _around(shown, view).items():
        out.write(f', "{name}": {dumped(value)}')
    out.write("}\n")


def _around(shown: Shown, view: View) -> dict[str, Any]:
    around: dict[str, Any] = {}
    if view.mutates:
        around = {"changed": bool(shown.changed), "operation": shown.operation, "dry_run": shown.dry_run}
    elif view.many:
        around = {"next": shown.next}
    if shown.target:
        around["target"] = shown.target
    return around


def _array(items: Iterator[Any], out: Outlet) -> None:
    out.write("[")
    for number, item in enumerate(items):
        out.write(("," if number else "") + "\n" + dumped(item))
    out.write("]")


def _jsonl(shown: Shown, view: View, out: Outlet) -> None:
    for item in rows(shown, view):
        out.write(dumped(item) + "\n")


def _csv(shown: Shown, view: View, out: Outlet) -> None:
    names = [field.name for field in fields(view.returns)]
    items = rows(shown, view)
    out.utf8()
    # RFC 4180 ends records so, and only then the module quotes a bare carriage return, too.
    writer = csv.writer(out, lineterminator="\n" if out.isatty() else "\r\n")
    writer.writerow(names)
    for item in items:
        writer.writerow([_cell(item.get(name)) for name in names])


def _cell(value: Any) -> Any:
    return dumped(value) if isinstance(value, dict | list | bool) else value

"""JSON, JSON lines and CSV: the formats for scripts."""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import fields
from itertools import chain, islice
from typing import Any

from dumacle_cli.output.result import OutputFormat, OutputSpec, Result
from dumacle_cli.output.streams import Outlet
from dumacle_cli.plain import dumped, plain


def write(result: Result[Any], spec: OutputSpec, output_format: OutputFormat, out: Outlet) -> None:
    """Write a result in a format for scripts, in constant memory where its data is an iterator."""
    {OutputFormat.JSON: _json, OutputFormat.JSONL: _jsonl, OutputFormat.CSV: _csv}[output_format](result, spec, out)


def rows(result: Result[Any], spec: OutputSpec) -> Iterator[Any]:
    """Iterate over the plain values of a result; the first is computed before any output."""
    data = result.data if spec.many and isinstance(result.data, Iterable) else [result.data]
    items = (plain(item) for item in data)
    return chain(list(islice(items, 1)), items)


def _json(result: Result[Any], spec: OutputSpec, out: Outlet) -> None:
    items = rows(result, spec)
    out.write(f'{{"schema": {dumped(spec.schema)}, "data": ')
    if spec.many:
        _array(items, out)
    else:
        out.write(dumped(plain(result.data)))
    for name, value in _around(result, spec).items():
        out.write(f', "{name}": {dumped(value)}')
    out.write("}\n")


def _around(result: Result[Any], spec: OutputSpec) -> dict[str, Any]:
    around: dict[str, Any] = {}
    if spec.changes:
        around = {"changed": bool(result.changed), "operation": result.operation, "dry_run": result.dry_run}
    elif spec.many:
        around = {"next": result.next}
    if result.target:
        around["target"] = result.target
    return around


def _array(items: Iterator[Any], out: Outlet) -> None:
    out.write("[")
    for number, item in enumerate(items):
        out.write(("," if number else "") + "\n" + dumped(item))
    out.write("]")


def _jsonl(result: Result[Any], spec: OutputSpec, out: Outlet) -> None:
    for item in rows(result, spec):
        out.write(dumped(item) + "\n")


def _csv(result: Result[Any], spec: OutputSpec, out: Outlet) -> None:
    names = [field.name for field in fields(spec.returns)]
    items = rows(result, spec)
    out.utf8()
    # RFC 4180 ends records so, and only then the module quotes a bare carriage return, too.
    writer = csv.writer(out, lineterminator="\n" if out.isatty() else "\r\n")
    writer.writerow(names)
    for item in items:
        writer.writerow([_cell(item.get(name)) for name in names])


def _cell(value: Any) -> Any:
    return dumped(value) if isinstance(value, dict | list | bool) else value

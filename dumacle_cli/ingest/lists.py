"""Lists of files to upload: one path per line or NUL, or a manifest in CSV or JSON lines. Read in constant memory."""

import codecs
import csv
import io
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any, BinaryIO, Literal

from dumacle_cli import paths
from dumacle_cli.errors import InvalidValue
from dumacle_cli.ingest.items import Problem, Result

COLUMNS = ("path", "key", "content_type")
STANDARD_INPUT = "-"
_CHUNK = 64 * 1024
_CONTENT_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}")


@dataclass(frozen=True, slots=True)
class Listing:
    """A list of files in a file, or on standard input for `-`."""

    file: str
    form: Literal["lines", "null", "manifest"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A listed file: its path on this machine, and, if they are given, its path in the pod and its content type."""

    path: bytes
    key: str = ""
    content_type: str = ""


def entries(listing: Listing) -> Iterator[Entry | Problem]:
    """Read a list; an entry that cannot be used is a Problem.

    Raises InvalidValue if the list cannot be read, or a CSV manifest has wrong columns.
    """
    with _opened(listing) as stream:
        if listing.form == "manifest":
            yield from _manifest(stream)
            return
        found = _split(stream, b"\0") if listing.form == "null" else _lines(stream)
        yield from (Entry(path) for path in found if path)


@contextmanager
def _opened(listing: Listing) -> Iterator[BinaryIO]:
    option = "--manifest" if listing.form == "manifest" else "--files-from"
    if listing.file == STANDARD_INPUT:
        if sys.stdin is None:
            raise InvalidValue(name=option, value="-", reason="standard input is closed")
        # Without a buffer: a thread that waits in one keeps the program from ending.
        yield getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)
        return
    try:
        stream = open(listing.file, "rb", buffering=0)  # noqa: SIM115, PTH123 - closed below
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise InvalidValue(name=option, value=repr(listing.file), reason=reason) from None
    with stream:
        yield stream


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    """Yield lines without what editors of other systems add: a byte order mark, and carriage returns."""
    for number, line in enumerate(_split(stream, b"\n")):
        yield (line if number else line.removeprefix(codecs.BOM_UTF8)).removesuffix(b"\r")


def _split(stream: BinaryIO, end: bytes) -> Iterator[bytes]:
    rest = b""
    while chunk := stream.read(_CHUNK):
        *whole, rest = (rest + chunk).split(end)
        yield from whole
        if len(rest) > _CHUNK:
            reason = "a path in it is longer than any can be"
            raise InvalidValue(
                name="--files-from", reason=reason, advice="if NULs end the paths, and only then, give -0"
            )
    yield rest


def _manifest(stream: BinaryIO) -> Iterator[Entry | Problem]:
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
    try:
        first = [text.readline()]
        while first[-1].isspace():
            first.append(text.readline())
        lines = chain(first, text)
        yield from _json_lines(lines) if first[-1].lstrip().startswith("{") else _csv(lines)
    finally:
        text.detach()  # standard input stays open


def _json_lines(lines: Iterator[str]) -> Iterator[Entry | Problem]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict):
            yield _entry(number, row)
        else:
            yield _refused(number, "it is not a JSON object")


def _csv(lines: Iterator[str]) -> Iterator[Entry | Problem]:
    reader = csv.reader(lines, strict=True)
    try:
        header = next(filter(None, reader), [])
        _check_header(header)
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                yield _refused(reader.line_num, f"it has {len(row)} values for {len(header)} columns")
            else:
                yield _entry(reader.line_num, dict(zip(header, row, strict=True)))
    except csv.Error as error:
        raise InvalidValue(name="--manifest", reason=f"line {reader.line_num}: {error}") from None


def _check_header(header: Sequence[str]) -> None:
    if unknown := [name for name in header if name not in COLUMNS]:
        raise InvalidValue(name="--manifest", reason=_unknown(unknown[0]))
    if "path" not in header or len(set(header)) < len(header):
        raise InvalidValue(name="--manifest", reason="its first line must name each column once, and path among them")


def _unknown(name: str) -> str:
    return f"there is no column {name!r}; the columns are {', '.join(COLUMNS)}"


def _entry(number: int, row: dict[str, Any]) -> Entry | Problem:
    if unknown := [name for name in row if name not in COLUMNS]:
        return _refused(number, _unknown(unknown[0]))
    if not all(isinstance(value, str) for value in row.values()) or not row.get("path"):
        return _refused(number, "it needs a path, and each value must be text")
    content_type = row.get("content_type", "").lower()
    if content_type and not _CONTENT_TYPE.fullmatch(content_type):
        return _refused(number, f"{content_type!r} is not a content type such as image/jpeg")
    try:
        return Entry(os.fsencode(row["path"]), paths.in_pod(row.get("key", "")), content_type)
    except UnicodeError:
        return _refused(number, "it is not valid Unicode")
    except ValueError as error:
        return _refused(number, f"its key cannot be used: {error}")


def _refused(number: int, reason: str) -> Problem:
    return Problem(f"line {number} of the manifest", Result.REFUSED, reason)

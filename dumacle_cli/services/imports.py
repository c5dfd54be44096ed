"""Imports of users: CSV or JSON lines, read in constant memory, created in batches, with a result for each line."""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, get_args

from sqlalchemy.orm import Session

from dumacle_cli.errors import DumacleError, InvalidValue
from dumacle_cli.services import users
from dumacle_cli.store import users as store

if TYPE_CHECKING:
    from _csv import Reader

Format = Literal["csv", "jsonl"]
FORMATS: dict[str, Format] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
COLUMNS = ("email", "name", "role", "plan")
BATCH = 1000
"""Lines per transaction."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line as it was read; valid unless `error` is set."""

    line: int
    email: str
    name: str = ""
    role: str = "enduser"
    plan: str = ""
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Imported:
    """The result of one line of an import."""

    line: int
    email: str
    result: Literal["created", "unchanged", "failed"]
    error: str | None


# Reading


def read(stream: BinaryIO, form: Format) -> Iterator[Entry]:
    """Read entries one by one and close the stream at the end; an invalid line becomes an entry with an error.

    Raises InvalidValue on a bad CSV header.
    """
    lines = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
    with ExitStack() as opened:
        opened.enter_context(lines)
        entries = _csv(lines) if form == "csv" else _json(lines)
        return _closing(entries, opened.pop_all())


def _closing(entries: Iterator[Entry], opened: ExitStack) -> Iterator[Entry]:
    with opened:
        yield from entries


def _csv(lines: Iterable[str]) -> Iterator[Entry]:
    reader = _reader(iter(lines))
    header = [name.strip().lower() for name in next(reader, [])]
    unknown = [name for name in header if name not in COLUMNS]
    if "email" not in header or unknown or len(set(header)) < len(header):
        reason = f"the first line must name the columns: email, and optionally {', '.join(COLUMNS[1:])}"
        reason += "; separated by commas, semicolons or tabs"
        raise InvalidValue(name="header", value=ascii(",".join(header)), reason=reason)
    return _records(reader, header)


def _reader(lines: Iterator[str]) -> "Reader":
    """Detect the delimiter from the header: a comma, semicolon or tab, or named in a first line like `sep=;`."""
    line = next(lines, "")
    declared = re.fullmatch(r'"?sep=([,;\t])"?\s*', line, re.IGNORECASE)
    header = next(lines, "") if declared else line
    delimiter = declared[1] if declared else max(",;\t", key=header.count)
    reader = csv.reader(chain([line, header] if declared else [header], lines), delimiter=delimiter)
    if declared:
        next(reader)
    return reader


def _records(reader: "Reader", header: list[str]) -> Iterator[Entry]:
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as fault:
            yield Entry(line, "", error=str(fault))
            continue
        if fields:
            yield _record(line, fields, header)


def _record(line: int, fields: list[str], header: list[str]) -> Entry:
    if len(fields) > len(header):
        return Entry(line, "", error=f"it has {len(fields)} fields, but the header has {len(header)}")
    return _entry(line, dict(zip(header, fields, strict=False)))


def _json(lines: Iterable[str]) -> Iterator[Entry]:
    for number, text in enumerate(lines, 1):
        if text.strip():
            yield _object(number, text)


def _object(line: int, text: str) -> Entry:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return Entry(line, "", error="it is not valid JSON")
    if not isinstance(found, dict):
        return Entry(line, "", error="it is not a JSON object")
    given = {name: value for name, value in found.items() if value is not None}
    invalid = [name for name, value in given.items() if name not in COLUMNS or not isinstance(value, str)]
    if invalid or "email" not in given:
        return Entry(line, "", error=f"only strings are allowed, named email (required), {', '.join(COLUMNS[1:])}")
    return _entry(line, given)


def _entry(line: int, fields: dict[str, str]) -> Entry:
    given = fields["email"].strip() if "email" in fields else ""
    try:
        email, name = users.normalised(_utf8(given)), users.named(_utf8(fields.get("name", "")))
        role, plan = _role(fields.get("role", "")), _utf8(fields.get("plan", "").strip())
    except DumacleError as error:
        return Entry(line, given.encode("utf-8", "replace").decode(), error=str(error))
    return Entry(line, email, name, role, plan)


def _utf8(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidValue(name="line", value=ascii(text), reason="it is not UTF-8") from None
    return text


def _role(text: str) -> str:
    role, roles = text.strip().lower() or "enduser", get_args(users.Role)
    if role not in roles:
        raise InvalidValue(name="role", value=ascii(text), reason=f"it must be one of {', '.join(roles)}")
    return role


# Creating


def batches(entries: Iterator[Entry]) -> Iterator[list[Entry]]:
    """Split entries into batches of one transaction each."""
    while batch := list(islice(entries, BATCH)):
        yield batch


def create(session: Session, entries: list[Entry]) -> tuple[list[Imported], bool]:
    """Create the users of these entries; existing users are not modified. Returns a result for each entry."""
    refused = {entry.line: entry.error for entry in entries if entry.error} | _refused_plans(session, entries)
    wanted: dict[str, Entry] = {}
    for entry in entries:
        if entry.line not in refused:
            wanted.setdefault(entry.email, entry)
    created = _create(session, list(wanted.values()))
    return [_result(entry, refused, wanted, created) for entry in entries], bool(created)


def _refused_plans(session: Session, entries: list[Entry]) -> dict[int, str]:
    from dumacle_cli.store import plans  # for start-up time: it maps tables that most commands do not need

    known = plans.named(session, {entry.plan for entry in entries if entry.plan})
    refused = {}
    for entry in entries:
        if entry.plan and not entry.error and entry.plan not in known:
            refused[entry.line] = f"there is no plan {entry.plan}"
        elif entry.plan and not entry.error and known[entry.plan].archived_at:
            refused[entry.line] = f"plan {entry.plan} is archived"
    return refused


def _create(session: Session, entries: list[Entry]) -> dict[str, int]:
    from dumacle_cli.store import plans, subscriptions

    columns = [entry.email for entry in entries], [entry.name for entry in entries], [entry.role for entry in entries]
    created = store.create_many(session, *columns)
    with_plan = [entry for entry in entries if entry.plan and entry.email in created]
    ids = {name: plan.id for name, plan in plans.named(session, {entry.plan for entry in with_plan}).items()}
    subscriptions.start(
        session, [created[entry.email] for entry in with_plan], [ids[entry.plan] for entry in with_plan]
    )
    return created


def from_stored(line: Imported | dict[str, Any]) -> Imported:
    """Return a result; a repeated operation provides it as stored JSON."""
    return Imported(**line) if isinstance(line, dict) else line


def _result(entry: Entry, refused: dict[int, str], wanted: dict[str, Entry], created: dict[str, int]) -> Imported:
    if entry.line in refused:
        return Imported(entry.line, entry.email, "failed", refused[entry.line])
    is_new = wanted[entry.email] is entry and entry.email in created
    return Imported(entry.line, entry.email, "created" if is_new else "unchanged", None)

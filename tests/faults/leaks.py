"""Looks for secrets wherever they could have got to: in texts, in rows, in logs and in processes; in every spelling."""

import base64
import json
import os
import re
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from urllib.parse import quote

import psycopg

SIGNATURE = re.compile(r"Signature=([0-9a-f]{64})")
"""What makes a presigned link, or a request to a store, good."""


# Texts


@cache
def spellings(secret: str | bytes) -> frozenset[str]:
    """Return the secret as it is, as hex, URL-encoded, and in base64 of both alphabets wherever it stands in a text."""
    raw = secret.encode() if isinstance(secret, str) else secret
    plain = {secret, json.dumps(secret)[1:-1]} if isinstance(secret, str) else {repr(secret)[2:-1]}
    url = {quote(raw, safe=""), "".join(f"%{byte:02X}" for byte in raw)}
    texts = plain | url | {piece for shift in range(3) for piece in _base64(raw, shift)}
    return frozenset(
        {*texts, *(text.lower() for text in url), *_hex(raw), *(h for t in texts for h in _hex(t.encode()))}
    )


def _base64(raw: bytes, shift: int) -> Iterator[str]:
    """Encode behind `shift` other bytes, and yield the characters that only the secret decides."""
    behind = b"\0" * shift + raw
    whole = slice(-(-8 * shift // 6), 8 * len(behind) // 6)
    for encoded in (base64.b64encode(behind), base64.urlsafe_b64encode(behind)):
        yield encoded.decode()[whole]


def _hex(raw: bytes) -> tuple[str, str]:
    return raw.hex(), raw.hex().upper()


class Searcher:
    """The secrets of an installation by name; more join as they are made."""

    def __init__(self, secrets: Mapping[str, str | bytes]) -> None:
        self.secrets: dict[str, set[str | bytes]] = {}
        for name, secret in secrets.items():
            self.add(name, secret)

    def add(self, name: str, secret: str | bytes) -> None:
        """Look for this, too; several may have one name."""
        assert len(secret) >= 16, f"{name} is too short to be told from chance"
        self.secrets.setdefault(name, set()).add(secret)

    def found(self, text: str, allowed: Iterable[str] = ()) -> list[str]:
        """Return the names of the secrets in a text, less those that may be there, each with what stands around it."""
        return [
            f"{name}: {_around(text, spelling)}"
            for name, secrets in self.secrets.items()
            if name not in allowed
            for secret in secrets
            for spelling in spellings(secret)
            if spelling in text
        ]


def _around(text: str, spelling: str) -> str:
    at = text.index(spelling)
    return f"{text[max(0, at - 60) : at]}<{spelling[:4]}...>{text[at + len(spelling) :][:30]}".replace("\n", " / ")


# Servers

NOSY = {
    "log_statement": "all",
    "log_min_error_statement": "debug5",
    "log_error_verbosity": "verbose",
    "log_min_duration_statement": "0",
    "log_parameter_max_length": "-1",
    "log_parameter_max_length_on_error": "-1",
}
"""How a curious administrator sets up the server's log."""
# Less PostgreSQL's own, which hold nothing of ours but these.
_RELATIONS = """
    SELECT format('%I.%I', nspname, relname) FROM pg_class JOIN pg_namespace AS n ON n.oid = relnamespace
    WHERE relkind IN ('r', 'm') AND nspname NOT IN ('pg_catalog', 'information_schema')
    UNION ALL SELECT unnest(ARRAY['pg_authid', 'pg_db_role_setting', 'pg_description', 'pg_shdescription',
                                  'pg_largeobject', 'pg_database', 'pg_stat_activity', 'pg_prepared_statements'])
"""


@contextmanager
def nosy(admin_url: str) -> Iterator[None]:
    """Let the server log all it can of every login's doings while inside."""
    with psycopg.connect(admin_url, autocommit=True) as admin:
        for name, value in NOSY.items():
            admin.execute(f"ALTER ROLE ALL SET {name} = '{value}'")
        try:
            yield
        finally:
            for name in NOSY:
                admin.execute(f"ALTER ROLE ALL RESET {name}")


def rows(admin_url: str, database: str) -> str:
    """Return every row of every table of a database as text, and what the server itself keeps of texts."""
    with psycopg.connect(admin_url, dbname=database) as admin:
        names = [name for (name,) in admin.execute(_RELATIONS)]
        union = " UNION ALL ".join(f"SELECT string_agg(t::text, E'\\n') FROM {name} AS t" for name in names)
        return "\n".join(text or "" for (text,) in admin.execute(union))


class Log:
    """What a server writes into its log from now on."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.start = file.stat().st_size

    def read(self) -> str:
        """Return what was written since."""
        with self.file.open("rb") as handle:
            handle.seek(self.start)
            return handle.read().decode(errors="replace")


# Processes

_watchers: list[list[tuple[list[str], dict[str, str]]]] = []


def _heard(event: str, arguments: tuple[object, ...]) -> None:
    if event == "subprocess.Popen" and _watchers:
        _, argv, _, environment = arguments
        words = [os.fsdecode(word) for word in argv]  # type: ignore[attr-defined]
        given: Mapping[str, str] = os.environ if environment is None else environment  # type: ignore[assignment]
        _watchers[-1].append((words, dict(given)))


sys.addaudithook(_heard)


@contextmanager
def children() -> Iterator[list[tuple[list[str], dict[str, str]]]]:
    """Yield the arguments and the environment of each process that this one starts inside."""
    started: list[tuple[list[str], dict[str, str]]] = []
    _watchers.append(started)
    try:
        yield started
    finally:
        _watchers.remove(started)


@contextmanager
def command_lines() -> Iterator[set[str]]:
    """Yield the command lines of all processes of this machine, as anybody sees them again and again while inside."""
    seen: set[str] = set()
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.005):
            seen.update(_command_lines())

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield seen
    finally:
        over.set()
        looking.join()


def _command_lines() -> Iterator[str]:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            yield (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # It ended meanwhile.

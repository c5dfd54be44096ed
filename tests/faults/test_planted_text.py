"""Whoever writes rows by SQL moves no cursor: escapes stand in every column of text, and commands run on them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from dumacle_cli.errors import Exit
from dumacle_cli.escapes import visible
from tests.conftest import ROOT, Run
from tests.processes import program as program
from tests.promises import CONFIRMING, READING, example
from tests.terminal import watch

pytestmark = pytest.mark.integration

# In lower case, because e-mail addresses are.
PLANT = "\x1b[2k\x07\x9b31m\u202e\u2028\r\n\x7f"
RAW = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
NAMES = {
    *("ada@example.com", "bob@example.com", "eve@example.com", "films", "archive", "starter", "pro", "free"),
    *("holiday/beach.jpg", "holiday/film.mp4", "old/lost.txt", "evt_1"),
}
COLUMNS = """
    SELECT table_schema, table_name, column_name FROM information_schema.columns
    JOIN information_schema.tables USING (table_schema, table_name)
    WHERE table_schema = 'app' AND table_type = 'BASE TABLE' AND column_name <> 'version_num'
        AND data_type IN ('text', 'character varying')
"""
LEAST = 30
"""Columns that no constraint keeps clean."""


@pytest.fixture
def planted(seeded: Run, owner_url: str) -> int:
    """Put control characters behind every text that a constraint lets have them; returns how many columns took it."""
    taken = 0
    with psycopg.connect(owner_url, autocommit=True) as owner:
        for schema, table, column in owner.execute(COLUMNS).fetchall():
            mine = sql.SQL(" WHERE role <> {}").format(ROOT) if (table, column) == ("logins", "role") else sql.SQL("")
            put = sql.SQL("UPDATE {}.{} SET {} = {} || {}{}").format(
                *map(sql.Identifier, (schema, table, column, column)), PLANT, mine
            )
            try:
                taken += owner.execute(put).rowcount > 0
            except psycopg.Error:
                continue
    assert taken >= LEAST
    return taken


def typed(path: str) -> list[str]:
    """Return an example with the names that rows have now, as a table shows them."""
    return [visible(word + PLANT) if word in NAMES else word for word in example(path)]


def clean(told: str) -> Iterator[str]:
    yield from (told[max(0, found.start() - 20) : found.end() + 20] for found in RAW.finditer(told))


@pytest.mark.parametrize("form", ["table", "json", "jsonl", "csv"])
def test_nothing_that_is_read_moves_the_cursor(form: str, planted: int, here: Path) -> None:
    seen = ""
    for path in READING:
        code, told = watch(*typed(path), "-o", form, "--color", "never", "-v")
        assert code in set(Exit), path
        assert list(clean(told)) == [], path
        seen += told
    assert visible(PLANT) in seen or json.dumps(PLANT)[1:-1] in seen


def test_no_question_moves_the_cursor(planted: int, here: Path) -> None:
    for path in CONFIRMING:
        words = [word for word in typed(path) if word != "--yes"]
        code, told = watch(*words, "--color", "never", answer="n")
        assert code in set(Exit), path
        assert list(clean(told)) == [], path


ERRORS = [
    ("users", "show", PLANT),
    ("users", "create", PLANT),
    ("users", "list", "--after", PLANT),
    ("users", PLANT),
    (PLANT,),
    ("users", "list", f"--{PLANT}"),
    ("users", "list", "--role", PLANT),
    ("users", "list", "--profile", PLANT),
    ("users", "list", "--set", PLANT),
    ("users", "list", "--set", f"connect_timeout={PLANT}"),
    ("users", "import", f"{PLANT}.csv"),
    ("pods", "create", PLANT, "--capacity", "1GiB", "--prefix", PLANT),
    ("pods", "create", "x", "--capacity", PLANT),
    ("pods", "show", PLANT),
    ("plans", "show", PLANT),
    ("files", "show", PLANT),
    ("files", "show", PLANT, "--owner", "root@example.com"),
    ("files", "upload", PLANT, "--pod", "films", "--owner", "ada@example.com"),
    ("files", "delete", "--owner", "ada@example.com", "--older-than", PLANT),
    ("audit", "list", "--target", PLANT),
    ("schema", PLANT),
    ("config", "set", PLANT, "x"),
    ("webhooks", "events", "show", PLANT),
    ("auth", "sessions", "revoke", PLANT),
]


@pytest.mark.parametrize("form", ["table", "json"])
@pytest.mark.parametrize("argv", ERRORS, ids=lambda argv: " ".join(argv[:2]).encode("ascii", "replace").decode())
def test_no_error_moves_the_cursor(argv: tuple[str, ...], form: str, seeded: Run) -> None:
    code, told = watch(*argv, "-o", form, "--color", "never", "--log-format", "json", "-v")
    assert code in set(Exit) - {Exit.DONE}
    assert list(clean(told)) == []


def test_coloured_tables_hold_no_escape_but_colours(planted: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    _, told = watch("files", "list", "--all", "--color", "always")
    assert "\x1b[1m" in told
    assert list(clean(re.sub(r"\x1b\[[0-9;]*m", "", told).replace("\x1b[2k", "?"))) == []

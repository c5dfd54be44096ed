"""What is copied from a table, JSON or CSV is taken back as it stands, and what is printed to be typed runs."""

import csv
import inspect
import io
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as some
from sqlalchemy import text

from dumacle_cli import commands, errors, invocation
from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.clients.objects import Location
from dumacle_cli.commands.tree import Group
from dumacle_cli.store.database import Database
from dumacle_cli.units import AGES
from tests import factories
from tests.conftest import Run
from tests.terminal import watch

pytestmark = pytest.mark.integration

ADA = "ada@example.com"
LETTERS = some.one_of(
    some.sampled_from(
        "\\ux20d0 -_.'\"\t\r\n\x1b\x85\u00a0\u200c\u200d\u202e\u2028\u3000\ufeff\u0301\u1112\u1161é日👍$`*"
    ),
    some.characters(exclude_categories=["Cs"], exclude_characters="\0"),
)
PATHS = some.text(LETTERS, min_size=1, max_size=12).filter(lambda path: not path.strip(" ").isdigit())


def shown_path(table: str) -> str:
    """Return the path that stands in a table with the columns id, path and size of one row."""
    head, line = table.splitlines()
    return line[head.index("path") :].rstrip()


@pytest.fixture
def shelf(database: Database, bucket: Location) -> tuple[int, int]:
    """Ada and a pod of hers."""
    with database.session() as session:
        ada, pod = factories.make_user(session, ADA), factories.make_pod(session, "films", bucket=bucket.bucket)
        factories.make_grant(session, pod, ada)
        return ada.id, pod.id


@given(path=PATHS)
@example(path="\r")
@example(path=" ")
@example(path="\u3000")
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_path_is_taken_back_from_every_form(path: str, run: Run, database: Database, shelf: tuple[int, int]) -> None:
    ada, pod = shelf
    with database.session() as session:
        session.execute(text("TRUNCATE app.files CASCADE"))
        put = "INSERT INTO app.files (pod_id, owner_id, path, size) VALUES (:pod, :ada, :path, 1) RETURNING id"
        number = session.scalar(text(put), {"pod": pod, "ada": ada, "path": path})
    listing = ("files", "list", "--owner", ADA, "--pod", "films")
    (item,) = run(*listing, "-o", "json").data
    raw = re.search(r'"path": "((?:[^"\\]|\\.)*)"', run(*listing, "-o", "json").out)
    (line,) = csv.DictReader(io.StringIO(run(*listing, "-o", "csv").out, newline=""))
    table = run(*listing).out
    shown = table.splitlines()[1].split(str(number), 1)[1].removeprefix("  ").split("  1 B  ")[0].rstrip()
    assert item["path"] == line["path"] == path
    assert raw
    for form in (path, line["path"], raw[1], shown):
        show = ("files", "show", "--owner", ADA, "-o", "json", "--", form)
        if form.strip():
            assert run(*show).data["id"] == number, form
        else:  # it looks like an unset variable of a script; a table shows the path escaped
            assert run(*show, expect=errors.Exit.USAGE).error["code"] == "empty-argument"
    assert shown.isprintable()
    run("files", "delete", "--owner", ADA, "--yes", shown)
    assert run(*listing, "-o", "json").data == []


@pytest.mark.parametrize("name", ["no\u00a0break\u200d", "a\\u200db", "--all", " edge ", "two\nlines", "Mu\u0308ller"])
def test_names_are_taken_back_from_tables(name: str, run: Run, database: Database) -> None:
    with database.session() as session:
        factories.make_pod(session, name)
        factories.make_plan(session, name)
    for group in ("pods", "plans"):
        (row,) = run(group, "list").out.splitlines()[1:]
        (item,) = run(group, "list", "-o", "json").data
        assert item["name"] == name
        shown = next(word for word in re.split(r"  +", row.strip()) if group == "plans" or not word.isdigit())
        assert run(group, "show", shown, "-o", "json").data["name"] == name
        assert run(group, "show", "-o", "json", "--", name).data["name"] == name


def test_what_may_be_two_is_refused(run: Run, database: Database, shelf: tuple[int, int]) -> None:
    ada, pod = shelf
    with database.session() as session:
        for path in ("a\\u200d", "a\u200d"):
            put = "INSERT INTO app.files (pod_id, owner_id, path, size) VALUES (:pod, :ada, :path, 1)"
            session.execute(text(put), {"pod": pod, "ada": ada, "path": path})
    refused = run("files", "delete", "a\\u200d", "--owner", ADA, "--yes", "-o", "json", expect=7)
    assert refused.error["fix"] == "use its id instead"
    assert run("files", "show", "a\u200d", "--owner", ADA, "-o", "json").data["path"] == "a\u200d"


@pytest.mark.parametrize(
    ("stored", "typed"),
    [("Mu\u0308ller", "M\u00fcller"), ("M\u00fcller", "Mu\u0308ller"), ("no\u00a0break", "no break"), ("ﬁlm", "film")],
)
def test_another_normal_form_is_offered(
    stored: str, typed: str, run: Run, database: Database, shelf: tuple[int, int]
) -> None:
    ada, pod = shelf
    with database.session() as session:
        put = "INSERT INTO app.files (pod_id, owner_id, path, size) VALUES (:pod, :ada, :path, 1)"
        session.execute(text(put), {"pod": pod, "ada": ada, "path": stored})
    missing = run("files", "show", typed, "--owner", ADA, "-o", "json", expect=6)
    offered = re.match(r"did you mean (.*)\? Or", missing.error["fix"])
    assert offered
    (word,) = shlex.split(offered[1])
    assert run("files", "show", word, "--owner", ADA, "-o", "json").data["path"] == stored


def test_a_link_stands_alone_on_a_terminal_of_any_width(
    run: Run, database: Database, object_store: ObjectStore, bucket: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.session() as session:
        ada, pod = factories.make_user(session, ADA), factories.make_pod(session, "films", bucket=bucket.bucket)
        factories.make_file(session, pod, ada, "a long name/of a film.mp4", b"x", store=object_store)
    monkeypatch.setenv("COLUMNS", "40")
    _, seen = watch("files", "url", "1", "--color", "never")
    (link,) = [line for line in seen.splitlines() if "X-Amz-Signature" in line]
    assert link.startswith("http")
    assert link == link.strip()
    assert "a long name/of a film.mp4" in seen
    (piped,) = [line for line in run("files", "url", "1").out.splitlines() if "X-Amz-Signature" in line]
    assert piped.startswith("http")


# What is printed to be typed next

COMMAND = re.compile(r"dumacle((?: --?[\w-]+| [\w|:/@.'{}!\[\]-]+)+)")


def printed() -> list[str]:
    """Return every command in the sentences and fixes of errors."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.DumacleError)]
    texts = [f"{kind.sentence} {kind.fix}" for kind in kinds] + [
        f"dumacle {command}" for command in errors.LISTS.values()
    ]
    return sorted({found[1].strip() for text in texts for found in COMMAND.finditer(text)} - {"{list}"})


@pytest.mark.unit
@pytest.mark.parametrize("words", printed())
def test_a_command_in_a_fix_exists(words: str) -> None:
    node = commands.root()
    for word in words.split():
        if word.startswith(("{command}", "--", "{noun}")) or not hasattr(node, "commands"):
            break
        child = node.get_command(None, word.rstrip("`:;,"))
        assert child is not None or (isinstance(node, Group) and node.own_command()), words
        if child is None:
            break
        node = child
    options = re.findall(r"(--[\w-]+)", words)
    known = {name for param in getattr(node, "params", ()) for name in param.opts}
    assert set(options) <= known | {"--help"}, words


@pytest.mark.unit
def test_every_age_in_the_sentence_is_read() -> None:
    from datetime import UTC, datetime

    from dumacle_cli.units import parse_age

    for form in re.findall(r"\d+[a-z]+", AGES):
        assert parse_age(form, "--older-than", datetime.now(UTC))


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A program named dumacle in a folder that is not on PATH."""
    place = tmp_path / "a venv" / "bin"
    place.mkdir(parents=True)
    starter = place / "dumacle"
    top = Path(inspect.getfile(commands)).parents[2]
    starter.write_text(f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(top)!r})\n"
                       "from dumacle_cli.__main__ import run\nrun()\n")  # fmt: skip
    starter.chmod(0o755)
    return starter


@pytest.mark.unit
def test_commands_run_from_where_the_person_stands(installed: Path, tmp_path: Path) -> None:
    known = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    for started in (str(installed), "a venv/bin/dumacle", "./a venv/bin/dumacle"):
        said = subprocess.run(
            [started, "users", "list", "-o", "json"],
            cwd=tmp_path,
            env=known,
            capture_output=True,
            text=True,
            check=False,
        )
        named = re.search(r"run `(.*?) demo`", json.loads(said.stderr)["fix"])
        assert named
        assert shlex.split(named[1])[-1] == started
        again = subprocess.run(f"{named[1]} --version", shell=True, cwd=tmp_path, env=known, check=False)
        assert again.returncode == 0
    on_path = {**known, "PATH": f"{installed.parent}:/usr/bin:/bin"}
    said = subprocess.run(["dumacle", "users", "list"], env=on_path, capture_output=True, text=True, check=False)
    assert "run `dumacle demo`" in said.stderr


@pytest.mark.unit
@pytest.mark.parametrize(
    ("profile", "flags", "options"),
    [
        ("", [], ""),
        ("my shop", [], " --profile 'my shop'"),
        ("", ["data_dir=/a b", "connect_timeout=2"], " --set 'data_dir=/a b'"),
        ("shop", ["data-dir=/x"], " --profile shop --set data_dir=/x"),
    ],
)
def test_commands_lead_to_the_same_installation(profile: str, flags: list[str], options: str) -> None:
    assert invocation.located(profile, invocation.places(flags)) == options
    told = invocation.runnable("see: dumacle doctor, and dumacle --help; dumacle: no", f"dumacle{options}")
    assert told == f"see: dumacle{options} doctor, and dumacle{options} --help; dumacle: no"


# A change that was made is never told as one that failed


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize("form", ["table", "json", "jsonl", "csv"])
def test_no_encoding_makes_a_change_fail(
    encoding: str, form: str, run: Run, program: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    from dumacle_cli.__main__ import main

    assert main(["users", "create", "l@example.com", "--name", "Łódź 写真", "-o", form]) == 0
    sys.stdout.flush()
    told = raw.getvalue()
    assert ("Łódź 写真".encode() in told) == (form == "csv")
    assert main(["users", "show", "ż写@example.com"]) == 6


def test_a_full_disk_behind_a_change_says_that_it_was_made(run: Run) -> None:
    from contextlib import redirect_stderr, redirect_stdout

    from dumacle_cli.__main__ import main

    def into(target: str, *argv: str) -> tuple[int, str]:
        told = io.StringIO()
        with Path(target).open("w") as out, redirect_stdout(out), redirect_stderr(told):
            return main([*argv]), told.getvalue()

    code, told = into("/dev/full", "users", "create", ADA)
    assert (code, "(No space left on device); the change was made" in told) == (1, True)
    assert run("users", "show", ADA, "-o", "json").data["email"] == ADA
    code, told = into("/dev/full", "users", "create", "bob@example.com", "--dry-run")
    assert (code, "nothing was changed" in told) == (1, True)
    code, told = into("/dev/full", "users", "enable", ADA)
    assert (code, "nothing was changed" in told) == (1, True)

"""Generated documents match the program, documents state facts, and the completion scripts complete."""

import importlib.util
import re
import shutil
import subprocess
from itertools import chain
from pathlib import Path
from types import ModuleType

import pytest

from dumacle_cli import settings
from dumacle_cli.commands import shells
from dumacle_cli.store import lints, models
from dumacle_cli.transcode.limits import Limits
from tests.promises import NEED_NOTHING

pytestmark = pytest.mark.unit
TOP = Path(__file__).parent.parent


def script(name: str) -> ModuleType:
    """A script of the folder `docs`, as a module."""
    spec = importlib.util.spec_from_file_location(name, TOP / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


DOCUMENTS: dict[Path, str] = script("generate").documents()


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: file.name)
def test_generated_file_is_current(file: Path) -> None:
    assert file.read_text("utf-8") == DOCUMENTS[file], "run: python docs/generate.py"


def test_the_media_page_lists_exactly_what_ffmpeg_is_told_to_accept() -> None:
    told = Limits().input_options
    tables = re.split(r"\n## \w+\n", DOCUMENTS[TOP / "docs" / "media.md"])[1:]
    formats, *codecs = [re.findall(r"`([^`]+)`", table) for table in tables]
    assert ",".join(formats) == told["format_whitelist"]
    assert ",".join(chain(*codecs)) == told["codec_whitelist"]


def test_env_example_names_every_setting_and_sets_none() -> None:
    lines = DOCUMENTS[TOP / ".env.example"].splitlines()
    named = {line[1:].partition("=")[0] for line in lines if line.startswith("#DUMACLE_")}
    assert named == {settings.environment_names(name)[0] for name in settings.Settings.model_fields}
    assert all(line == "" or line.startswith("#") for line in lines)


@pytest.mark.parametrize("page", ["security.md", "data-model.md"])
def test_a_page_names_existing_tests(page: str) -> None:
    named = re.findall(r"`(\w+/test_\w+\.py)::(\w+)`", (TOP / "docs" / page).read_text("utf-8"))
    assert len(named) > 20
    assert [(file, name) for file, name in named if f"def {name}(" not in (TOP / "tests" / file).read_text()] == []


def test_the_security_page_names_the_known_releases() -> None:
    text = re.sub(r"\s+", " ", (TOP / "docs" / "security.md").read_text("utf-8"))
    numbers = [f"{number // 10_000}.{number % 10_000}" for number in lints.FIXED.values()]
    expected = f"fails before {', '.join(numbers[:-1])} and {numbers[-1]}, the minor releases of {lints.AS_OF}"
    assert expected in text


def test_every_field_at_stripe_has_a_test() -> None:
    table = DATA_MODEL.partition("## Fields at Stripe")[2].partition("\n## ")[0]
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| ")][1:]
    assert {row[0].removeprefix("| ") for row in rows} >= {"customer", "subscription", "price", "product", "invoice"}
    assert [row for row in rows if len(row) != 5 or "::test_" not in row[4]] == []


def test_readme_is_read_in_three_minutes() -> None:
    assert len((TOP / "README.md").read_text("utf-8").splitlines()) <= 200


def test_readme_names_what_needs_no_configuration() -> None:
    text = re.sub(r"\s+", " ", (TOP / "README.md").read_text("utf-8"))
    (named,) = re.findall(r"Only (`demo`[^.]*) need none\.", text)
    assert tuple(re.findall(r"`(.+?)`", named)) == (*NEED_NOTHING, "--help", "--version")


DATA_MODEL = (TOP / "docs" / "data-model.md").read_text("utf-8")
TABLES = list(models.complete().metadata.tables.values())


def test_data_model_promises_something_of_each_table() -> None:
    promises = DATA_MODEL.partition("## What each table promises")[2].partition("\n## ")[0]
    named = [
        name for cell in re.findall(r"^\| (`.*?`) \|", promises, re.MULTILINE) for name in re.findall(r"\w+", cell)
    ]
    assert sorted(named) == sorted(table.name for table in TABLES)


def test_data_model_draws_each_reference() -> None:
    drawn = re.findall(r"^ +(\w+) +\S+--\S+ (\w+) :", DATA_MODEL, re.MULTILINE)
    references = {frozenset((table.name, key.column.table.name)) for table in TABLES for key in table.foreign_keys}
    assert {frozenset(pair) for pair in drawn} == references
    (alone,) = re.findall(r"^(.*) refer to no other table", DATA_MODEL, re.MULTILINE)
    assert set(re.findall(r"\w+(?=`)", alone)) == {table.name for table in TABLES} - set().union(*references)


def bash(*words: str) -> list[str]:
    code = 'source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _dumacle; printf "%s\\n" "${COMPREPLY[@]}"'
    script = TOP / "completions" / "dumacle.bash"
    done = subprocess.run(["bash", "-c", code, script, *words], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["dumacle", "us"], ["users"]),
        (["dumacle", "local", ""], ["start", "stop", "status", "reset"]),
        (["dumacle", "--profile", "local", "us"], ["users"]),
        (["dumacle", "users", "create", "--ro"], ["--role"]),
        (["dumacle", "users", "create", "--role", ""], ["superadmin", "admin", "enduser", "service"]),
        (["dumacle", "users", "create", "--role", "=", "en"], ["enduser"]),
        (["dumacle", "users", "create", "--role", "="], ["superadmin", "admin", "enduser", "service"]),
        (["dumacle", "-o", "js"], ["json", "jsonl"]),
        (["dumacle", "users", "list", "--out"], ["--output"]),
        (["dumacle", "users", "create", "--name", ""], []),
        (["dumacle", "completion", "show", "p"], ["powershell"]),
        (["dumacle", "nothing", "z"], []),
    ],
)
def test_bash_completes(words: list[str], expected: list[str]) -> None:
    assert bash(*words) == expected


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not on this machine")
@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("dumacle us", {"users"}),
        ("dumacle local ", {"start", "stop", "status", "reset"}),
        ("dumacle --profile local us", {"users"}),
        ("dumacle users create --role ", {"superadmin", "admin", "enduser", "service"}),
        ("dumacle users list --out", {"--output"}),
        ("dumacle completion show p", {"powershell"}),
    ],
)
def test_fish_completes(typed: str, expected: set[str]) -> None:
    code = 'source "$argv[1]"; complete -C "$argv[2]"'
    command = ["fish", "--no-config", "-c", code, TOP / "completions" / "dumacle.fish", typed]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert {line.partition("\t")[0] for line in done.stdout.splitlines()} == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_script_is_valid(shell: str) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not on this machine")
    subprocess.run([program, "-n", TOP / "completions" / shells.SHELLS[shell].file], check=True)


@pytest.mark.parametrize("shell", shells.SHELLS)
def test_script_holds_every_command_and_no_placeholder(shell: str) -> None:
    text = shells.script(shell)
    entry = shells.SHELLS[shell].entry
    assert all(entry(path, words) in text for path, words in shells.grammar().children.items() if words)
    assert not {f"@{name}@" for name in ("children", "options", "values", "arguments") if f"@{name}@" in text}


def test_quotes_survive_in_every_shell() -> None:
    awkward = [shells.Word("--x", "it's: a \\ word")]
    entries = {name: shell.entry(" a b", awkward) for name, shell in shells.SHELLS.items()}
    assert "'--x:it'\\''s: a \\ word'" in entries["zsh"]
    assert "'it\\'s: a \\\\ word'" in entries["fish"]

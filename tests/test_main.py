"""The only door: what `main` makes of wrong usage, of bugs, of signals, and of an environment that offers nothing."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
from sqlalchemy import text

from dumacle_cli import __version__, commands, errors
from dumacle_cli.__main__ import main
from dumacle_cli.errors import Exit
from dumacle_cli.local.servers import Servers
from dumacle_cli.services import users
from dumacle_cli.store.database import Database
from tests.conftest import Run

PROGRAM = (
    f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r}); from dumacle_cli.__main__ import run; run()"
)
JSON = ("-o", "json")
Ended = subprocess.CompletedProcess[str]
Process = Callable[..., Ended]


# What was typed


@pytest.mark.unit
@pytest.mark.parametrize("argv", [("--version",), ("-V",), ("--version", "-q")])
def test_version(argv: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 0
    assert capsys.readouterr().out == f"dumacle {__version__}\n"


@pytest.mark.unit
def test_help_names_every_group(invoke: Run) -> None:
    said = invoke("--help").out
    assert all(f"  {name} " in said for name in commands.GROUPS)
    assert said.endswith("\nStart with:\n  dumacle demo\n")


@pytest.mark.unit
@pytest.mark.parametrize("argv", [(), ("users",)])
def test_nothing_to_do_is_wrong_usage(argv: tuple[str, ...], invoke: Run) -> None:
    refused = invoke(*argv, expect=2)
    assert refused.out == ""
    assert "Usage: dumacle" in refused.err


@pytest.mark.unit
@pytest.mark.parametrize(
    ("typed", "meant", "fix"),
    [
        (("user", "list"), "users", "dumacle --help"),
        (("users", "lst"), "list", "dumacle users --help"),
        (("users", "list", "--rol", "admin"), "--role", "dumacle users list --help"),
    ],
)
def test_did_you_mean(typed: tuple[str, ...], meant: str, fix: str, invoke: Run) -> None:
    refused = invoke(*typed, *JSON, expect=2)
    assert refused.error["code"] == "usage-error"
    assert any(words in refused.error["message"] for words in ("Did you mean", "Possible options"))
    assert meant in refused.error["message"]
    assert refused.error["fix"] == f"see: {fix}"


@pytest.mark.unit
@pytest.mark.parametrize("form", [("-o", "json"), ("-ojson",), ("--output=json",), ("-o", "jsonl")])
def test_usage_error_takes_the_form_asked_for(form: tuple[str, ...], invoke: Run) -> None:
    assert json.loads(invoke("users", "show", *form, expect=2).err)["schema"] == "dumacle.error.v1"


# What goes wrong


@pytest.mark.unit
@pytest.mark.parametrize("kind", [kind for kind in vars(errors).values() if isinstance(kind, type)])
def test_every_error_has_a_code_and_says_why(kind: type) -> None:
    if issubclass(kind, errors.DumacleError):
        assert kind.exit in errors.MEANING
        assert kind.__doc__


@pytest.mark.integration
def test_a_bug_is_one_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("secret content")

    monkeypatch.setattr(users, "list_", broken)
    failed = run("users", "list", expect=1)
    assert failed.err.startswith("dumacle: an unexpected ZeroDivisionError in broken, line ")
    assert "Traceback" not in failed.err
    assert "secret" not in failed.err
    assert "Traceback" in run("users", "list", "-v", expect=1).err


@pytest.mark.unit
def test_system_fault_is_one_sentence(invoke: Run, tmp_path: Path, environment: Callable[..., None]) -> None:
    (tmp_path / "file").touch()
    environment(XDG_DATA_HOME=str(tmp_path / "file" / "data"))
    failed = invoke("completion", "install", "bash", expect=1)
    assert failed.err.startswith("dumacle: the operating system refused: ")
    assert len(failed.err.splitlines()) == 2


# A process of its own


@pytest.fixture
def config(run: Run, embedded: Servers, tmp_path: Path) -> Path:
    """All that a process knows of this test's database and bucket."""
    file = tmp_path / "config.toml"
    known = {
        name.removeprefix("DUMACLE_").lower(): value for name, value in os.environ.items() if name[:8] == "DUMACLE_"
    }
    known["database_url"] = known["database_url"].replace(embedded.host, embedded.shared_host or "")
    file.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in known.items()))
    file.chmod(0o600)
    return file


def command(*argv: str) -> list[str]:
    return [sys.executable, "-c", PROGRAM, *argv]


@pytest.fixture
def process(config: Path) -> Process:
    """The program in an environment that holds nothing but where its configuration is."""

    def call(*argv: str, stdout: int | IO[bytes] = subprocess.PIPE, **environment: str) -> Ended:
        known = {"DUMACLE_CONFIG": str(config), **environment}
        given = {"env": known, "stdin": subprocess.DEVNULL, "stderr": subprocess.PIPE, "timeout": 60}
        return subprocess.run(command(*argv), stdout=stdout, text=True, check=False, **given)

    return call


@pytest.mark.integration
@pytest.mark.parametrize("variables", [{}, {"LANG": "C"}, {"LC_ALL": "POSIX"}])
def test_empty_environment(variables: dict[str, str], process: Process) -> None:
    made = process("users", "create", "ada@example.com", "--name", "Ada Łovelace", **variables)
    assert (made.returncode, made.stderr) == (0, "")
    listed = process("users", "list", **variables)
    assert (listed.returncode, listed.stderr) == (0, "")
    assert "ada@example.com" in listed.stdout


@contextmanager
def nobody_reads() -> Iterator[IO[bytes]]:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as out:
        yield out


@pytest.mark.integration
@pytest.mark.parametrize(
    ("argv", "status"),
    [
        (("users", "list", "-o", "json"), 0),
        (("completion", "show", "bash"), 0),
        (("--help",), 0),
        (("users", "create", "ada@example.com"), 1),
    ],
)
def test_reader_leaves(argv: tuple[str, ...], status: int, process: Process) -> None:
    with nobody_reads() as out:
        ended = process(*argv, stdout=out)
    assert ended.returncode == status
    assert ended.stderr.count("\n") == 2 * status
    assert "Traceback" not in ended.stderr
    assert "ignored" not in ended.stderr


@pytest.mark.integration
@pytest.mark.parametrize(
    "argv",
    [
        ("users", "list", "-o", "json"),
        ("completion", "show", "bash"),
        ("--help",),
        ("--version",),
        ("users", "create", "ada@example.com"),
    ],
)
def test_output_is_full(argv: tuple[str, ...], process: Process) -> None:
    with Path("/dev/full").open("wb") as out:
        ended = process(*argv, stdout=out)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert "ignored" not in ended.stderr


@pytest.mark.integration
def test_output_is_closed(config: Path) -> None:
    closing = ["/bin/sh", "-c", 'exec "$@" >&-', "sh", *command("users", "create", "ada@example.com")]
    known = {"DUMACLE_CONFIG": str(config)}
    ended = subprocess.run(closing, env=known, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith("dumacle: standard output is closed")


# Signals


@pytest.mark.integration
@pytest.mark.parametrize(
    ("number", "status", "told"),
    [
        (signal.SIGINT, Exit.INTERRUPTED, "interrupted; what was done is kept\n"),
        (signal.SIGTERM, Exit.TERMINATED, "terminated; what was done is kept\n"),
        (signal.SIGHUP, Exit.TERMINATED, "terminated; what was done is kept\n"),
    ],
)
def test_signal_ends_a_command_that_waits(
    number: signal.Signals, status: Exit, told: str, config: Path, database: Database
) -> None:
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'app.users'::regclass")
    with database.session() as other:
        other.execute(text("LOCK TABLE app.users IN ACCESS EXCLUSIVE MODE"))
        known = {"DUMACLE_CONFIG": str(config)}
        patient = command("users", "list", "--set", "lock_timeout=60")
        started = subprocess.Popen(patient, env=known, stderr=subprocess.PIPE, text=True)
        while not other.scalar(waiting):
            assert started.poll() is None
        started.send_signal(number)
        assert started.communicate(timeout=30)[1] == told
    assert started.returncode == status


@pytest.mark.integration
def test_signal_handlers_are_put_back(invoke: Run) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)]
    invoke("config", "path", "--timeout", "60")
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)] == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_what_is_not_found_can_be_listed() -> None:
    package = Path(errors.__file__).parent
    nouns = {noun for file in package.rglob("*.py") for noun in re.findall(r'NotFound\("([^"]+)"', file.read_text())}
    assert nouns - set(errors.LISTS) == set()
    assert set(errors.LISTS.values()) - set(dict(commands.walk())) == set()

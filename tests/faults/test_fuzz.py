"""Whatever is typed, set or written down ends with a documented status and a sentence; and so do these by name."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dumacle_cli import settings, sources
from tests.conftest import Run
from tests.faults.fuzz import SURROUNDINGS, Ended, judged
from tests.faults.generated import Case, case
from tests.processes import ROOT, unmeasured

CASE = Case(0, ["users", "list"])


@pytest.mark.integration
def test_whatever_is_typed_ends_as_documented() -> None:
    command = [sys.executable, "-m", "tests.faults.fuzz", "--cases", "100", "--seed", "1"]
    done = subprocess.run(command, cwd=ROOT, env=unmeasured(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "100 cases, 0 findings" in done.stdout


@pytest.mark.unit
def test_the_same_number_is_the_same_case() -> None:
    made = [case(7, number, SURROUNDINGS) for number in range(300)]
    assert [str(each) for each in made] == [str(case(7, number, SURROUNDINGS)) for number in range(300)]
    assert len({str(each) for each in made}) > 290
    assert {bool(each.surroundings) for each in made} == {bool(each.config) for each in made} == {True, False}


@pytest.mark.unit
@pytest.mark.parametrize(
    ("ended", "wrong"),
    [
        (Ended(0, "a table", ""), ""),
        (Ended(2, "", "dumacle: a sentence\n  fix: another\n"), ""),
        (Ended(2, "", "a note\ndumacle: a sentence\n"), ""),
        (Ended(1, "", '{"schema": "dumacle.error.v1"}\n'), ""),
        (Ended(2, "", "Usage: dumacle\n"), ""),
        (Ended(1, "", ""), "exit 1 without a sentence"),
        (Ended(1, "", "dumacle: \n"), "exit 1 without a sentence"),
        (Ended(1, "", "dumacle: an unexpected KeyError in x, line 1\n"), "exit 1: an unexpected"),
        (Ended(0, "", "Traceback (most recent call last):\n"), "exit 0: Traceback (most recent"),
        (Ended(0, "", "Exception ignored in: <x>\n"), "exit 0: Exception ignored"),
        (Ended(70, "", "dumacle: a sentence\n"), "exit 70"),
        (Ended(-11, "", ""), "exit -11"),
        (Ended(None, "", ""), "it did not end within 60 s"),
    ],
)
def test_what_is_wrong_is_found(ended: Ended, wrong: str) -> None:
    assert judged(CASE, ended) == wrong


# What it found


URL = "it must be a URL such as "
PORT = "its port must be a number from 1 to 65535"
HOST = "its host must be a name, an IPv4 address, or an IPv6 address in [brackets]"


@pytest.mark.unit
@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("database_url", "postgresql://u@[::1/d", HOST),
        ("database_url", "postgresql://u@h:99999/d", PORT),
        ("database_url", "postgresql://u@h:0/d", PORT),
        ("database_url", "postgresql://u@h:x/d", PORT),
        ("database_url", "postgresql://u@h:\N{ARABIC-INDIC DIGIT ONE}/d", PORT),
        ("database_url", "postgresql://h:1,i:2/d", "several hosts with ports must be written as"),
        ("database_url", "host=localhost dbname=d", "it must not contain spaces or control characters"),
        ("database_url", "dbname=d", URL),
        ("database_url", "mysql://u@h/d", URL),
        ("database_url", "postgresql:h/d", URL),
        ("database_url", "postgresql://u@h/%00", "it must not contain %00"),
        ("admin_database_url", " postgresql://h/d", "it must not contain spaces or control characters"),
        ("s3_endpoint", "localhost:9000", URL),
        ("s3_endpoint", "http://[::1", HOST),
        ("s3_endpoint", "http://h:0", PORT),
        ("local_endpoint", "http://", URL),
        ("wasabi_endpoint", "ftp://h", URL),
        ("oracle_endpoint", f"http://{'a' * 300}", "its host is not a valid host name"),
        ("stripe_api_base", "x", URL),
        ("s3_region", "Stra\N{LATIN SMALL LETTER SHARP S}e", "it must consist of letters, digits and hyphens"),
        ("local_region", "-", "it must consist of letters, digits and hyphens"),
        ("s3_bucket", "\udcff", "it must be text, without NUL"),
    ],
)
def test_an_address_that_is_none_is_refused_where_it_is_set(
    name: str, value: str, reason: str, invoke: Run, environment: Callable[..., None], tmp_path: Path
) -> None:
    environment(**{f"DUMACLE_{name.upper()}": value, "XDG_CONFIG_HOME": str(tmp_path)})
    said = invoke("config", "list", expect=2).err
    assert re.search(rf"{name} (cannot be|is not valid)", said)
    assert reason in said
    assert f"(from DUMACLE_{name.upper()})" in said


@pytest.mark.unit
@pytest.mark.parametrize(
    "value",
    [
        "postgresql://u@[::1]:5432/d",
        "postgres://u:p%40@h/d?sslmode=verify-full",
        "postgresql:///d?host=/tmp&port=1",
        "postgresql+psycopg://u@127.0.0.1/d",
        "postgresql://u@h:65535",
    ],
)
def test_an_address_of_a_database_is_taken_as_it_is(value: str) -> None:
    found = sources.resolve((), None, {"DUMACLE_DATABASE_URL": value, "XDG_CONFIG_HOME": "/nonexistent"})
    assert found.settings.database_url
    assert found.settings.database_url.get_secret_value() == value


@pytest.mark.unit
@pytest.mark.parametrize("command", [("config", "list"), ("config", "set", "s3_bucket", "media", "--profile", "x")])
@pytest.mark.parametrize(
    "text",
    [
        b"x",
        b"\0",
        b"\xff",
        b"[]",
        "\ufeffprofile = 1".encode("utf-16"),
        b"listen_port = 1\nlisten_port = 2",
        b"listen_port = " + b"9" * 5000,
        b"listen_port = " + b"[" * 5000,
        b"profiles = 3",
        b"profiles = ['x']",
        b"[profiles]\nx = 1",
        b"[[profiles.x]]",
    ],
    ids=repr,
)
def test_a_broken_file_is_named(
    text: bytes, command: tuple[str, ...], invoke: Run, environment: Callable[..., None], tmp_path: Path
) -> None:
    file = tmp_path / "config.toml"
    file.write_bytes(text)
    environment(DUMACLE_CONFIG=str(file))
    assert invoke(*command, expect=2).err.startswith(f"dumacle: the configuration file {file} cannot be used: ")
    assert file.read_bytes() == text


@pytest.mark.unit
@pytest.mark.parametrize(
    "seconds", ["\N{SUPERSCRIPT TWO}", "9" * 400, "1e309", "inf", "nan", "31536001", "-1", "x", ""]
)
def test_a_timeout_that_is_none_is_refused(seconds: str, invoke: Run) -> None:
    assert invoke("config", "list", f"--timeout={seconds}", expect=2).err.startswith("dumacle: --timeout ")


@pytest.mark.unit
def test_who_has_no_account_and_no_home_is_at_the_top(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 54_321)
    assert settings.home({}) == Path("/")


@pytest.mark.integration
def test_text_that_is_none_names_nothing(run: Run) -> None:
    assert run("files", "list", "--pod", "\udcff", "-o", "json", expect=6).error["code"] == "not-found"


@pytest.mark.integration
@pytest.mark.parametrize("query", ["x=1", "sslmode=x", "port=x", "service=none"])
def test_what_libpq_does_not_know_is_a_wrong_setting(query: str, run: Run, environment: Callable[..., None]) -> None:
    environment(DUMACLE_DATABASE_URL=f"postgresql://u@127.0.0.1:1/d?{query}")
    refused = run("users", "list", "-o", "json", expect=2)
    assert refused.error["code"] == "invalid-value"
    assert refused.error["message"].startswith("database_url is not valid: ")


@pytest.mark.unit
@pytest.mark.parametrize(
    ("out", "status", "said"),
    [("/dev/full", 1, "dumacle: the output could not be written (No space left on device)\n"), ("", 0, "")],
)
def test_a_version_that_nobody_can_read(out: str, status: int, said: str) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    target = os.open(out, os.O_WRONLY) if out else writes
    command = [sys.executable, "-m", "dumacle_cli", "--version"]
    done = subprocess.run(command, stdout=target, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (status, said)
    for open_ in {writes, target}:
        os.close(open_)


@pytest.mark.unit
@pytest.mark.parametrize(
    ("argv", "status"), [(("nonsense",), 2), (("users", "list", "--limit", "x"), 2), (("--version",), 1)]
)
def test_no_stream_that_is_full_changes_the_exit_status(argv: tuple[str, ...], status: int) -> None:
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "dumacle_cli", *argv]
        assert subprocess.run(command, stdout=full, stderr=full, env=buffered, check=False).returncode == status

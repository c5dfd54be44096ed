"""`dumacle local`: started, found, stopped, started on demand, deleted."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from dumacle_cli import errors
from dumacle_cli.local import process, servers
from tests.conftest import Result, Run
from tests.processes import Begin
from tests.servers import processes_on
from tests.terminal import ask, watch

pytestmark = pytest.mark.integration


def statuses(result: Result) -> list[tuple[str, str]]:
    return [(row["server"], row["status"]) for row in result.data]


def people(installed: Run) -> list[str]:
    return [row["email"] for row in installed("users", "list", "-o", "json").data]


def test_status_of_nothing_is_no_error(invoke: Run, environment: Callable[..., None], data_folder: Path) -> None:
    environment(DUMACLE_DATA_DIR=str(data_folder.parent / "none"))
    assert statuses(invoke("local", "status", "-o", "json")) == [("postgresql", "stopped"), ("s3", "stopped")]


def test_dry_start_makes_nothing(
    invoke: Run, environment: Callable[..., None], data_folder: Path, config_file: Path
) -> None:
    place = data_folder.parent / "dry"
    environment(DUMACLE_DATA_DIR=str(place))
    assert invoke("local", "start", "--dry-run", "-o", "json").json["changed"] is True
    assert not place.exists()
    assert not config_file.exists()
    invoke("users", "list", expect=errors.Exit.USAGE)


def test_start_writes_the_profile_and_is_repeatable(installed: Run, data_folder: Path, config_file: Path) -> None:
    document = tomllib.loads(config_file.read_text())
    assert document["profile"] == "local"
    assert document["profiles"]["local"] == {"embedded": str(data_folder), "default_provider": "local"}
    again = installed("local", "start", "-o", "json")
    assert again.json["changed"] is False
    assert statuses(again) == [("postgresql", "running"), ("s3", "running")]
    assert people(installed) == ["root@example.com"]


def test_another_profile_stays_in_use(
    invoke: Run, environment: Callable[..., None], data_folder: Path, config_file: Path
) -> None:
    config_file.parent.mkdir()
    config_file.write_text('profile = "mine"  # keep me\n[profiles.mine]\nurl_expiry = 60\n')
    environment(DUMACLE_DATA_DIR=str(data_folder))
    invoke("local", "start")
    assert "# keep me" in config_file.read_text()
    assert tomllib.loads(config_file.read_text())["profile"] == "mine"
    invoke("users", "list", "--profile", "local")


def test_a_command_starts_what_was_stopped(installed: Run) -> None:
    assert installed("local", "stop", "-o", "json").json["changed"] is True
    assert installed("local", "stop", "-o", "json").json["changed"] is False
    installed("users", "list")
    assert statuses(installed("local", "status", "-o", "json")) == [("postgresql", "running"), ("s3", "running")]


@pytest.mark.parametrize("told", ["DUMACLE_DATA_DIR", "DUMACLE_EMBEDDED", "data_dir", "embedded", "file", "profile"])
@pytest.mark.parametrize("command", [("users", "show", "x"), ("db", "current"), ("quotas", "reset")])
def test_a_mistyped_folder_becomes_no_installation(
    installed: Run,
    environment: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    config_file: Path,
    data_folder: Path,
    command: tuple[str, ...],
    told: str,
) -> None:
    typo = data_folder.parent / "typo"
    flags = ("--set", f"{told}={typo}") if told.islower() else ()
    monkeypatch.delenv("DUMACLE_DATA_DIR")
    if told.isupper():
        environment(**{told: str(typo)})
    elif told in ("file", "profile"):
        flags = ()
        config_file.write_text(
            f'embedded = "{typo}"' if told == "file" else f'profile = "x"\n[profiles.x]\nembedded = "{typo}"'
        )
    refused = installed(*command, *flags, "-o", "json", expect=errors.Exit.USAGE)
    assert refused.error["code"] == "no-servers"
    assert refused.error["message"] == f"there are no servers in {typo}"
    assert "local start" in refused.error["fix"]
    assert not typo.exists()


def test_ten_commands_at_once_start_one_of_each(installed: Run, data_folder: Path, program: Begin) -> None:
    installed("local", "stop")
    (data_folder / servers.SCHEMA).unlink()
    commands = [program("users", "list", "-o", "csv") for _ in range(10)]
    said = [(*command.communicate(timeout=120), command.returncode) for command in commands]
    assert {code for _, _, code in said} == {0}, said
    assert {"root@example.com" in out for out, _, _ in said} == {True}
    assert sorted(Path(line.split()[0]).name for line in processes_on(data_folder)) == ["postgres", "rclone"]


def test_cron_does_not_start_them(installed: Run) -> None:
    installed("local", "stop")
    refused = installed("quotas", "reset", "-o", "json", expect=errors.Exit.TEMPORARY)
    assert refused.error["code"] == "embedded-stopped"


def test_a_newer_release_upgrades_the_schema_with_its_first_command(installed: Run, data_folder: Path) -> None:
    installed("db", "downgrade", "0007", "--yes")
    (data_folder / servers.SCHEMA).write_text("0007")
    assert installed("db", "current", "-o", "json").data["revision"] == "0007"
    installed("users", "list")
    assert installed("db", "current", "-o", "json").data["pending"] == []


def test_an_interrupted_first_start_is_finished_by_the_next_command(installed: Run, data_folder: Path) -> None:
    with psycopg.connect(servers.start(data_folder).admin_url, autocommit=True) as admin:
        admin.execute("DROP DATABASE dumacle WITH (FORCE)")
    (data_folder / servers.SCHEMA).unlink()
    assert people(installed) == ["root@example.com"]


def test_a_folder_of_the_release_before_gets_a_login_with_its_first_command(installed: Run, data_folder: Path) -> None:
    installed("db", "downgrade", "0012", "--yes")
    kept = json.loads((data_folder / "secrets.json").read_text())
    (data_folder / "secrets.json").write_text(
        json.dumps({key: value for key, value in kept.items() if not key.startswith("login")})
    )
    (data_folder / servers.SCHEMA).write_text("0012")
    assert people(installed) == ["root@example.com"]
    assert installed("auth", "whoami", "-o", "json").data["role"] == "superadmin"
    assert installed("db", "current", "-o", "json").data["pending"] == []


def test_a_start_killed_before_it_kept_the_login_is_finished_by_the_next(installed: Run, data_folder: Path) -> None:
    kept = json.loads((data_folder / "secrets.json").read_text())
    (data_folder / "secrets.json").write_text(json.dumps({**kept, "login": ""}))
    (data_folder / servers.SCHEMA).unlink()
    assert people(installed) == ["root@example.com"]
    assert json.loads((data_folder / "secrets.json").read_text()) == kept


def test_reset_asks_and_then_deletes_all(installed: Run, data_folder: Path) -> None:
    installed("local", "reset", expect=errors.Exit.USAGE)
    assert installed("local", "reset", "--dry-run", "-o", "json").data["freed"] > 1024**2
    for answer in ("", "y", "no"):
        assert ask(answer, "local", "reset").code == errors.Exit.FAILED
    assert people(installed) == ["root@example.com"]
    (data_folder / "schema").write_text("0014")
    asked = ask("reset", "local", "reset")
    assert f"in {data_folder}: all rows and objects. [profile local]\nType reset to continue" in asked.err
    assert asked.code == errors.Exit.DONE
    assert not data_folder.exists()
    assert installed("local", "reset", "--yes", "-o", "json").json["changed"] is False


def test_logs_of_running_servers_are_bounded(installed: Run, data_folder: Path) -> None:
    for name in servers.LOGS:
        with (data_folder / name).open("ab") as log:
            log.write(b"x" * (3 * process.LOG_SIZE))
    installed("users", "list")
    sizes = {name: (data_folder / name).stat().st_size for name in servers.LOGS}
    assert max(sizes.values()) < 1024, sizes
    assert all((data_folder / f"{name}.1").stat().st_size == process.LOG_SIZE for name in servers.LOGS)
    installed("local", "reset", "--yes")
    assert not data_folder.exists()


def test_the_folder_that_is_named_is_the_one_that_is_reset(
    installed: Run, data_folder: Path, environment: Callable[..., None]
) -> None:
    other = str(data_folder.parent / "other")
    environment(DUMACLE_DATA_DIR=other)
    assert installed("local", "reset", "--yes", "-o", "json").data == {"folder": other, "freed": 0}
    assert {row["folder"] for row in installed("local", "status", "-o", "json").data} == {other}
    assert installed("local", "stop", "-o", "json").json["changed"] is False
    assert f"in {other}: all rows and objects. [DUMACLE_DATA_DIR]\n" in ask("no", "local", "reset").err
    elsewhere = data_folder.parent / "elsewhere"
    assert installed("local", "reset", "--yes", "--set", f"data_dir={elsewhere}", "-o", "json").data["folder"] == str(
        elsewhere
    )
    refused = installed("local", "reset", "--yes", "--profile", "local", "-o", "json", expect=errors.Exit.USAGE)
    assert refused.error["code"] == "settings-contradict"
    environment(DUMACLE_DATA_DIR=str(data_folder))
    assert statuses(installed("local", "status", "-o", "json")) == [("postgresql", "running"), ("s3", "running")]


@pytest.mark.parametrize("verb", ["start", "stop", "status", "reset"])
@pytest.mark.parametrize("how", ["flag", "variable"])
def test_a_profile_of_another_database_is_refused(
    verb: str, how: str, invoke: Run, environment: Callable[..., None], config_file: Path, data_folder: Path
) -> None:
    config_file.parent.mkdir()
    config_file.write_text('[profiles.far]\ndatabase_url = "postgresql://ada@db.example.com/films"\n')
    environment(DUMACLE_DATA_DIR=str(data_folder))
    if how == "variable":
        environment(DUMACLE_PROFILE="far")
    argv = ["local", verb, *(["--yes"] if verb == "reset" else []), *(["--profile", "far"] if how == "flag" else [])]
    assert invoke(*argv, "-o", "json", expect=errors.Exit.USAGE).error["code"] == "not-embedded"


def test_another_database_or_store_than_the_profiles_is_refused(
    installed: Run, environment: Callable[..., None], tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("a")
    environment(DUMACLE_LOCAL_ENDPOINT="http://127.0.0.1:9")
    installed("users", "list")
    refused = installed("doctor", expect=errors.Exit.FAILED)
    assert "DUMACLE_LOCAL_ENDPOINT" in refused.out
    environment(DUMACLE_DATABASE_URL="postgresql://ada@db.example.com/films")
    refused = installed("users", "list", "--profile", "local", "-o", "json", expect=errors.Exit.USAGE)
    assert refused.error["code"] == "settings-contradict"
    assert "DUMACLE_DATABASE_URL" in refused.error["message"]


def test_a_database_in_the_file_stays_the_one_in_use(
    invoke: Run, environment: Callable[..., None], data_folder: Path, config_file: Path
) -> None:
    config_file.parent.mkdir()
    config_file.write_text('database_url = "postgresql://ada@127.0.0.1:9/films"\n')
    environment(DUMACLE_DATA_DIR=str(data_folder))
    assert "other commands use the database of" in invoke("local", "start").err
    assert "profile" not in tomllib.loads(config_file.read_text())
    invoke("users", "list", expect=errors.Exit.TEMPORARY)
    invoke("users", "list", "--profile", "local")


def test_addresses_are_not_folded_at_80_columns(installed: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    rows = installed("local", "status", "-o", "json").data
    screen = watch("local", "status", "--color", "never")[1].splitlines()
    for row in rows:
        for name in ("folder", "address", "log"):
            assert f"{name:<7}  {row[name]}" in screen

"""`dumacle local`: started, found, stopped, started on demand, deleted."""

import json
import tomllib
from pathlib import Path

import pytest

from dumacle_cli import errors
from dumacle_cli.local import servers
from tests.commands.conftest import Program

pytestmark = pytest.mark.integration


def test_status_of_nothing_is_no_error(program: Program, environment: pytest.MonkeyPatch, folder: Path) -> None:
    environment.setenv("DUMACLE_DATA_DIR", str(folder / "elsewhere"))
    status, out, _ = program("local", "status", "-o", "json")
    assert status == 0
    assert [(row["server"], row["status"], row["pid"]) for row in json.loads(out)["data"]] == [
        ("postgresql", "stopped", None),
        ("s3", "stopped", None),
    ]


def test_dry_start_makes_nothing(program: Program, environment: pytest.MonkeyPatch, folder: Path) -> None:
    place = folder.parent / "dry"
    environment.setenv("DUMACLE_DATA_DIR", str(place))
    status, out, _ = program("local", "start", "--dry-run", "-o", "json")
    assert (status, json.loads(out)["changed"]) == (0, True)
    assert not place.exists()
    assert program("users", "list")[0] == errors.Exit.USAGE


def test_start_writes_the_profile_and_is_repeatable(embedded: Program, folder: Path, tmp_path: Path) -> None:
    document = tomllib.loads((tmp_path / "config" / "config.toml").read_text())
    assert document["profile"] == "local"
    assert document["profiles"]["local"] == {"embedded": str(folder), "default_provider": "local"}
    status, out, _ = embedded("local", "start", "-o", "json")
    assert (status, json.loads(out)["changed"]) == (0, False)
    assert {row["status"] for row in json.loads(out)["data"]} == {"running"}
    assert embedded("users", "list")[0] == 0


def test_another_profile_stays_in_use(
    program: Program, environment: pytest.MonkeyPatch, folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "config" / "config.toml"
    file.parent.mkdir()
    file.write_text('profile = "mine"  # keep me\n[profiles.mine]\nurl_expiry = 60\n')
    environment.setenv("DUMACLE_DATA_DIR", str(folder))
    assert program("local", "start")[0] == 0
    assert "# keep me" in file.read_text()
    assert tomllib.loads(file.read_text())["profile"] == "mine"
    assert program("users", "list", "--profile", "local")[0] == 0


def test_a_command_starts_what_was_stopped(embedded: Program) -> None:
    status, out, _ = embedded("local", "stop", "-o", "json")
    assert (status, json.loads(out)["changed"]) == (0, True)
    assert json.loads(embedded("local", "stop", "-o", "json")[1])["changed"] is False
    assert embedded("users", "list")[0] == 0
    assert {row["status"] for row in json.loads(embedded("local", "status", "-o", "json")[1])["data"]} == {"running"}


def test_cron_does_not_start_them(embedded: Program, environment: pytest.MonkeyPatch) -> None:
    embedded("local", "stop")
    status, _, err = embedded("quotas", "reset", "-o", "json")
    assert (status, json.loads(err)["code"]) == (errors.Exit.TEMPORARY, "embedded-stopped")


def test_an_older_schema_is_upgraded_by_the_next_command(embedded: Program) -> None:
    assert embedded("db", "downgrade", "0007", "--yes")[0] == 0
    assert json.loads(embedded("db", "current", "-o", "json")[1])["data"]["revision"] == "0007"
    assert embedded("users", "list")[0] == 0
    assert json.loads(embedded("db", "current", "-o", "json")[1])["data"]["pending"] == []


def test_an_interrupted_first_start_is_finished_by_the_next_command(embedded: Program, folder: Path) -> None:
    import psycopg

    up = servers.start(folder)
    with psycopg.connect(up.admin_url, autocommit=True) as admin:
        admin.execute("DROP DATABASE dumacle WITH (FORCE)")
    assert embedded("users", "list")[0] == 0


def test_reset_asks_and_then_deletes_all(embedded: Program, folder: Path) -> None:
    assert embedded("local", "reset")[0] == errors.Exit.USAGE
    status, out, _ = embedded("local", "reset", "--dry-run", "-o", "json")
    assert status == 0
    assert json.loads(out)["data"]["freed"] > 1024**2
    assert (folder / "postgres").exists()
    assert embedded("local", "reset", "--yes")[0] == 0
    assert not folder.exists()
    assert json.loads(embedded("local", "reset", "--yes", "-o", "json")[1])["changed"] is False

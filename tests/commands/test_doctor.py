"""`dumacle doctor`: finds what is there and what is broken, and says what to do."""

import json
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from dumacle_cli import errors
from dumacle_cli.clients import keychain
from dumacle_cli.local import servers
from dumacle_cli.services import checks
from tests.commands.conftest import Program

pytestmark = pytest.mark.integration


def examined(program: Program, expect: int = 0) -> dict[str, dict[str, Any]]:
    status, out, err = program("doctor", "-o", "json")
    assert status == expect, err
    return {row["check"]: row for row in json.loads(out)["data"]}


def test_without_configuration_it_says_so(program: Program) -> None:
    status, out, err = program("doctor")
    assert (status, out) == (errors.Exit.USAGE, "")
    assert "no database is configured" in err


def test_a_sound_installation(embedded: Program, folder: Path) -> None:
    found = examined(embedded)
    assert {"configuration", "disk", "database", "clock", "schema", "local", "ffmpeg", "keyring"} == set(found)
    assert {found[name]["status"] for name in ("database", "clock", "schema", "local", "ffmpeg")} == {"ok"}
    assert "put, get and delete" in found["local"]["finding"]
    assert list((folder / "s3" / "media").iterdir()) == []


def test_an_old_schema_fails_with_its_fix(embedded: Program) -> None:
    embedded("db", "downgrade", "0008", "--yes")
    found = examined(embedded, expect=1)
    assert (found["schema"]["status"], found["schema"]["fix"]) == ("failed", "dumacle db upgrade")
    assert found["database"]["status"] == "ok"
    embedded("db", "upgrade")


def test_a_database_that_is_down_is_a_finding(embedded: Program, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("DUMACLE_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    found = examined(embedded, expect=1)
    assert found["database"]["status"] == "failed"
    assert "DUMACLE_DATABASE_URL" in found["database"]["fix"]
    assert found["ffmpeg"]["status"] == "ok"


def test_a_pods_own_bucket_is_tried_too(embedded: Program, folder: Path) -> None:
    with psycopg.connect(servers.owner_url(servers.start(folder))) as session:
        session.execute(
            "INSERT INTO app.pods (name, capacity, primary_provider, bucket) VALUES ('gone', 1, 'local', 'no-such')"
        )
    status, out, _ = embedded("doctor", "-o", "json")
    rows = [row for row in json.loads(out)["data"] if row["check"] == "local"]
    assert status == 1
    assert [row["status"] for row in rows] == ["ok", "failed"]
    with psycopg.connect(servers.owner_url(servers.start(folder))) as session:
        session.execute("DELETE FROM app.pods")


def test_wrong_keys_and_no_ffmpeg_are_found(embedded: Program, environment: pytest.MonkeyPatch, folder: Path) -> None:
    environment.setenv("DUMACLE_WASABI_ENDPOINT", servers.start(folder).s3_endpoint)
    environment.setenv("DUMACLE_WASABI_BUCKET", "media")
    environment.setenv("DUMACLE_WASABI_ACCESS_KEY", "wrong-key-wrong-key")
    environment.setenv("DUMACLE_WASABI_SECRET_KEY", "not-to-be-seen")
    environment.setenv("DUMACLE_FFMPEG", str(folder / "none"))
    status, out, err = embedded("doctor", "-o", "json")
    found = {row["check"]: row for row in json.loads(out)["data"]}
    assert status == 1
    assert (found["wasabi"]["status"], found["ffmpeg"]["status"]) == ("failed", "failed")
    assert "not-to-be-seen" not in out + err


def test_a_file_that_others_can_read_is_a_warning(embedded: Program, tmp_path: Path) -> None:
    file = tmp_path / "config" / "config.toml"
    file.chmod(0o644)
    found = examined(embedded)
    assert (found["configuration"]["status"], found["configuration"]["fix"]) == ("warning", f"chmod 600 {file}")


@pytest.mark.unit
def test_a_silent_keyring_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(keychain, "PATIENCE", 0.2)
    found = checks.keyring()
    assert (found.status, "no answer" in found.finding) == ("warning", True)


@pytest.mark.unit
def test_the_keyring_that_stores_nothing_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    monkeypatch.setattr(keychain, "PATIENCE", 60)
    assert checks.keyring().finding.endswith("none that stores anything")


@pytest.mark.unit
@pytest.mark.parametrize(
    ("statuses", "expected"), [([], "ok"), (["ok", "warning"], "warning"), (["warning", "failed", "ok"], "failed")]
)
def test_the_worst_counts(statuses: list[checks.Status], expected: str) -> None:
    assert checks.worst([checks.Check("x", status, "", "") for status in statuses]) == expected

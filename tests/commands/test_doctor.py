"""`dumacle doctor`: finds what is there and what is broken, and says what to do."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import func

from dumacle_cli import errors
from dumacle_cli.clients import keychain
from dumacle_cli.local import servers
from dumacle_cli.services import checks
from dumacle_cli.store import catalog
from dumacle_cli.store.database import Database
from tests.conftest import Run
from tests.factories import make_pod

pytestmark = pytest.mark.integration


def examined(run: Run, expect: int = 0) -> dict[str, dict[str, Any]]:
    return {row["check"]: row for row in run("doctor", "-o", "json", expect=expect).data}


def test_without_configuration_it_says_so(invoke: Run) -> None:
    refused = invoke("doctor", expect=errors.Exit.USAGE)
    assert refused.out == ""
    assert "no database is configured" in refused.err


def test_a_sound_installation(installed: Run, data_folder: Path) -> None:
    found = examined(installed)
    assert set(found) == {
        *(
            "configuration",
            "disk",
            "database",
            "clock",
            "schema",
            "shared resources",
            "local",
            "ffmpeg",
            "confinement",
            "keyring",
        )
    }
    assert {found[name]["status"] for name in ("database", "clock", "schema", "local", "ffmpeg")} == {"ok"}
    assert "put, get and delete" in found["local"]["finding"]
    assert list((data_folder / "s3" / "media").iterdir()) == []


def test_an_old_schema_fails_with_its_fix(installed: Run) -> None:
    installed("db", "downgrade", "0008", "--yes")
    found = examined(installed, expect=1)
    assert (found["schema"]["status"], found["schema"]["fix"]) == ("failed", "dumacle db upgrade")
    assert found["database"]["status"] == "ok"


def test_a_database_that_is_down_is_a_finding(installed: Run, environment: Callable[..., None]) -> None:
    environment(DUMACLE_DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    found = examined(installed, expect=1)
    assert found["database"]["status"] == "failed"
    assert "DUMACLE_DATABASE_URL" in found["database"]["fix"]
    assert found["ffmpeg"]["status"] == "ok"


def test_a_pods_own_bucket_is_tried_too(installed: Run, data_folder: Path) -> None:
    with psycopg.connect(servers.owner_url(servers.start(data_folder))) as session:
        session.execute(
            "INSERT INTO app.pods (name, capacity, primary_provider, bucket) VALUES ('gone', 1, 'local', 'no-such')"
        )
    rows = [row for row in installed("doctor", "-o", "json", expect=1).data if row["check"] == "local"]
    assert [row["status"] for row in rows] == ["ok", "failed"]
    with psycopg.connect(servers.owner_url(servers.start(data_folder))) as session:
        session.execute("DELETE FROM app.pods")


def test_wrong_keys_and_no_ffmpeg_are_found(
    installed: Run, environment: Callable[..., None], data_folder: Path
) -> None:
    environment(
        DUMACLE_WASABI_ENDPOINT=servers.start(data_folder).s3_endpoint,
        DUMACLE_WASABI_BUCKET="media",
        DUMACLE_WASABI_ACCESS_KEY="wrong-key-wrong-key",
        DUMACLE_WASABI_SECRET_KEY="not-to-be-seen",
        DUMACLE_FFMPEG=str(data_folder / "none"),
    )
    result = installed("doctor", "-o", "json", expect=1)
    found = {row["check"]: row["status"] for row in result.data}
    assert (found["wasabi"], found["ffmpeg"]) == ("failed", "failed")
    assert "not-to-be-seen" not in result.out + result.err


def test_a_default_provider_without_keys_fails_with_its_setting(
    installed: Run, environment: Callable[..., None]
) -> None:
    environment(DUMACLE_DEFAULT_PROVIDER="oracle")
    assert "oracle_" in examined(installed, expect=1)["oracle"]["fix"]


def test_a_file_that_others_can_read_is_a_warning(installed: Run, config_file: Path) -> None:
    config_file.chmod(0o644)
    found = examined(installed)
    assert found["configuration"]["status"] == "warning"
    assert found["configuration"]["fix"] == f"chmod 600 {config_file}"


def test_each_bucket_of_live_pods_is_tried_once_under_the_prefix_of_one(database: Database) -> None:
    with database.session() as session:
        for name, bucket in (("songs", "media"), ("films", "media"), ("clips", "other")):
            make_pod(session, name, bucket=bucket, prefix=name)
        make_pod(session, bucket="gone", deleted_at=func.now())
    with database.engine.connect() as connection:
        assert catalog.buckets(connection) == [
            catalog.Bucket("local", "media", "films"),
            catalog.Bucket("local", "other", "clips"),
        ]


@pytest.mark.unit
def test_a_silent_keyring_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(keychain, "TIMEOUT", 0.2)
    found = checks.keyring()
    assert (found.status, "no response" in found.finding) == ("warning", True)


@pytest.mark.unit
def test_the_keyring_that_stores_nothing_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    monkeypatch.setattr(keychain, "TIMEOUT", 60)
    assert checks.keyring().finding.endswith("no keyring that stores secrets")


@pytest.mark.unit
@pytest.mark.parametrize(
    ("statuses", "expected"), [([], "ok"), (["ok", "warning"], "warning"), (["warning", "failed", "ok"], "failed")]
)
def test_the_worst_counts(statuses: list[checks.CheckStatus], expected: str) -> None:
    assert checks.worst([checks.Check("x", status, "", "") for status in statuses]) == expected


@pytest.mark.unit
@pytest.mark.parametrize(("limit", "status"), [("LITTLE_DISK", "warning"), ("NO_DISK", "failed")])
def test_little_room_is_told_with_its_fix(
    limit: str, status: checks.CheckStatus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "not" / "made" / "yet"
    assert checks.disk(folder).finding.endswith(f" free at {folder}")
    monkeypatch.setattr(checks, limit, 2**63)
    found = checks.disk(folder)
    assert (found.status, found.fix) == (status, "free disk space")


def test_clocks_that_are_apart_are_a_warning(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with database.engine.connect() as connection:
        assert checks.clock(connection).status == "ok"
        monkeypatch.setattr(checks, "CLOCK_SECONDS", -1)  # no two clocks are closer
        found = checks.clock(connection)
    assert (found.status, found.fix) == ("warning", "set both clocks by NTP")
    assert found.finding.endswith(" s apart")

"""`dumacle config`: which value is in force, which source won, and secrets that stay secret."""

import stat
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dumacle_cli import errors
from tests.conftest import Run

pytestmark = pytest.mark.unit


def setting(run: Run, name: str, *argv: str) -> dict[str, Any]:
    rows = run("config", "list", "-o", "json", *argv).data
    return next(row for row in rows if row["name"] == name)


def test_each_source_beats_the_one_below(invoke: Run, environment: Callable[..., None], config_file: Path) -> None:
    config_file.parent.mkdir()
    assert setting(invoke, "url_expiry")["origin"] == "default"
    config_file.write_text("url_expiry = 10\n[profiles.slow]\nurl_expiry = 20\n")
    assert (setting(invoke, "url_expiry")["value"], setting(invoke, "url_expiry")["origin"]) == ("10", "file")
    slow = setting(invoke, "url_expiry", "--profile", "slow")
    assert (slow["value"], slow["origin"], slow["place"]) == ("20", "profile slow", str(config_file))
    environment(DUMACLE_URL_EXPIRY="30", DUMACLE_PROFILE="slow")
    found = setting(invoke, "url_expiry")
    assert (found["value"], found["origin"], found["place"]) == ("30", "environment", "DUMACLE_URL_EXPIRY")
    assert setting(invoke, "url_expiry", "--set", "url_expiry=40")["value"] == "40"


@pytest.mark.parametrize("name", ["data_dir", "embedded", "ffmpeg", "scratch_dir"])
def test_an_empty_place_is_none(invoke: Run, config_file: Path, name: str) -> None:
    assert not setting(invoke, name, "--set", f"{name}=")["value"]


def test_names_of_the_old_backend_are_taken(invoke: Run, environment: Callable[..., None], config_file: Path) -> None:
    environment(MAX_FILE_SIZE_MB="3", AWS_REGION="eu-west-1")
    assert setting(invoke, "max_file_size")["value"] == str(3 * 1024**2)
    assert setting(invoke, "s3_region")["place"] == "AWS_REGION"
    environment(DUMACLE_S3_REGION="eu-north-1")
    assert setting(invoke, "s3_region")["value"] == "eu-north-1"


def test_a_person_reads_values_as_he_writes_them(invoke: Run, config_file: Path) -> None:
    typed = ("--set", "large_file_size=1000", "--set", "lock_timeout=0.5")
    said = dict(line.split() for line in invoke("config", "list", *typed).out.splitlines())
    assert (said["max_file_size"], said["large_file_size"]) == ("5TiB", "1000B")
    assert (said["connect_timeout"], said["lock_timeout"], said["upload_concurrency"]) == ("5", "0.5", "auto")
    assert setting(invoke, "max_file_size")["value"] == str(5 * 1024**4)


def test_secrets_are_masked_in_every_form(invoke: Run, environment: Callable[..., None], config_file: Path) -> None:
    environment(DUMACLE_DATABASE_URL="postgresql://u:hush-hush@h/d", DUMACLE_S3_SECRET_KEY="hush-hush")
    for form in ("table", "json", "jsonl", "csv"):
        shown = invoke("config", "list", "--show-origin", "-o", form)
        assert "hush-hush" not in shown.out + shown.err
        assert "********" in shown.out


def test_set_writes_a_private_file_and_keeps_comments(invoke: Run, config_file: Path) -> None:
    done = invoke("config", "set", "url_expiry", "60", "-o", "json")
    assert (done.json["changed"], done.data["place"]) == (True, str(config_file))
    assert stat.S_IMODE(config_file.stat().st_mode) == 0o600
    config_file.write_text("# mine\n" + config_file.read_text())
    invoke("config", "set", "default_provider", "wasabi", "--profile", "production", expect=errors.Exit.DONE)
    document = tomllib.loads(config_file.read_text())
    assert document["profiles"]["production"] == {"default_provider": "wasabi"}
    assert config_file.read_text().startswith("# mine\n")
    assert invoke("config", "set", "url_expiry", "60", "-o", "json").json["changed"] is False


def test_dry_set_writes_nothing(invoke: Run, config_file: Path) -> None:
    assert invoke("config", "set", "url_expiry", "60", "--dry-run", "-o", "json").json["changed"] is True
    assert not config_file.exists()


def test_a_secret_comes_by_stdin_only(invoke: Run, config_file: Path) -> None:
    refused = invoke("config", "set", "s3_secret_key", "hush-hush", expect=errors.Exit.USAGE)
    assert "hush-hush" not in refused.out + refused.err
    done = invoke("config", "set", "s3_secret_key", "-", stdin="hush-hush\n")
    assert "hush-hush" not in done.out + done.err
    assert tomllib.loads(config_file.read_text())["s3_secret_key"] == "hush-hush"
    for secret in (
        "s3_secret_key=hush-hush",
        "database_url=postgresql://ada:hush-hush@db/films",
        "database_url=postgresql://ada@db/films?host=a&password=hush-hush",
    ):
        refused = invoke("config", "list", "--set", secret, expect=errors.Exit.USAGE)
        assert "hush-hush" not in refused.out + refused.err
    invoke("config", "list", "--set", "database_url=postgresql://ada@db/films?host=a")


@pytest.mark.parametrize(
    "argv",
    [
        ("set", "no_such", "1"),
        ("set", "url_expiry", "0"),
        ("set", "max_file_size", "huge"),
        ("list", "--set", "url_expiry"),
        ("list", "--set", "no_such=1"),
        ("list", "--profile", "nowhere"),
    ],
)
def test_what_cannot_be_is_refused(invoke: Run, config_file: Path, argv: tuple[str, ...]) -> None:
    invoke("config", *argv, expect=errors.Exit.USAGE)
    assert not config_file.exists()


def test_a_broken_file_is_named(invoke: Run, config_file: Path) -> None:
    config_file.parent.mkdir()
    config_file.write_text("url_expiry = [\n")
    assert str(config_file) in invoke("config", "list", expect=errors.Exit.USAGE).err


def test_path_says_which_files_are_there(invoke: Run, config_file: Path) -> None:
    rows = invoke("config", "path", "-o", "json").data
    assert (rows[0]["kind"], rows[0]["exists"]) == ("user", False)
    invoke("config", "set", "url_expiry", "60")
    assert invoke("config", "path", "-o", "json").data[0] == {"file": str(config_file), "exists": True, "kind": "user"}

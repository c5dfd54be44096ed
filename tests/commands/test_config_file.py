"""The configuration file: changed by many at once, killed, behind links, whatever its mode and the umask."""

import os
import random
import signal
import stat
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dumacle_cli import errors, private
from tests.conftest import Run
from tests.processes import Begin, Process
from tests.test_sources import without_rights_of_root

pytestmark = pytest.mark.unit

NAMES = ("connect_timeout", "lock_timeout", "statement_timeout", "url_expiry", "retention_days", "worker_slots")


def document(file: Path) -> dict[str, object]:
    return tomllib.loads(file.read_text())


def test_twenty_at_once_lose_nothing(program: Begin, config_file: Path) -> None:
    profiles = [f"p{number}" for number in range(20)]
    begun = [program("config", "set", "url_expiry", "60", "--profile", profile, "-q") for profile in profiles]
    said = [(process.communicate(timeout=120)[1], process.returncode) for process in begun]
    assert {status for _, status in said} == {0}, said
    assert document(config_file)["profiles"] == {profile: {"url_expiry": "60"} for profile in profiles}


def test_killed_at_random_they_lose_nothing_that_was_done(program: Begin, config_file: Path) -> None:
    chance = random.Random(7)
    begun: dict[str, Process] = {}
    for number in range(20):
        begun[f"p{number}"] = program("config", "set", "url_expiry", "60", "--profile", f"p{number}", "-q")
    # Killed while they write, and not while they start; the others would overwrite each other without the lock.
    while not config_file.with_name(f".{config_file.name}.lock").exists():
        time.sleep(0.01)
    for victim in chance.sample(list(begun.values()), 5):
        time.sleep(chance.random() / 5)
        victim.send_signal(signal.SIGKILL)
    done = {profile for profile, process in begun.items() if process.wait(timeout=120) == 0}
    assert len(done) >= 15
    kept = document(config_file).get("profiles", {}) if config_file.exists() else {}
    assert isinstance(kept, dict)
    assert done <= kept.keys()
    program("config", "set", "url_expiry", "61", "-q").wait()
    assert document(config_file)["url_expiry"] == "61"
    assert [path.name for path in config_file.parent.glob(".*.new")] == []


def test_who_holds_the_lock_for_too_long_is_told(
    invoke: Run, config_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    invoke("config", "set", "url_expiry", "60")
    monkeypatch.setattr(private, "LOCK_SECONDS", 0.1)
    with private._locked(config_file):
        refused = invoke("config", "set", "url_expiry", "61", "-o", "json", expect=errors.Exit.LOCKED)
    assert refused.error["code"] == "config-locked"
    assert document(config_file)["url_expiry"] == "60"


@pytest.mark.parametrize("links", [1, 2])
@pytest.mark.parametrize("there", [True, False])
def test_links_are_followed(invoke: Run, config_file: Path, tmp_path: Path, links: int, there: bool) -> None:
    target = tmp_path / "dotfiles" / "dumacle.toml"
    target.parent.mkdir()
    if there:
        target.write_text("# mine\nurl_expiry = 60\n")
        target.chmod(0o640)
    config_file.parent.mkdir()
    through = tmp_path / "through"
    if links == 2:
        through.symlink_to("dotfiles/dumacle.toml")
    config_file.symlink_to(through if links == 2 else target)
    invoke("config", "set", "url_expiry", "62")
    assert config_file.is_symlink()
    assert through.is_symlink() == (links == 2)
    assert document(target)["url_expiry"] == "62"
    assert stat.S_IMODE(target.stat().st_mode) == (0o640 if there else 0o600)
    assert target.read_text().startswith("# mine\n") == there


@pytest.mark.parametrize("kind", ["circle", "folder is missing", "folder", "device", "broken"])
def test_what_cannot_be_written_is_named_and_stays(invoke: Run, config_file: Path, kind: str) -> None:
    config_file.parent.mkdir()
    if kind == "circle":
        config_file.symlink_to(config_file)
    elif kind == "folder is missing":
        config_file.symlink_to(config_file.parent / "none" / "config.toml")
    elif kind == "folder":
        config_file.mkdir()
    elif kind == "device":
        config_file.symlink_to("/dev/null")
    else:
        config_file.write_text("url_expiry = [\n")
    refused = invoke("config", "set", "url_expiry", "62", expect=errors.Exit.USAGE)
    assert str(config_file) in refused.err
    assert "Traceback" not in refused.err
    assert Path("/dev/null").is_char_device()
    assert [path.name for path in config_file.parent.iterdir() if path.suffix == ".new"] == []


def test_a_file_that_may_only_be_read_stays() -> None:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        file = Path(name) / "config.toml"
        file.write_text("")
        file.chmod(0o444)
        with without_rights_of_root(), pytest.raises(errors.UnwritableConfig, match="you may not write"):
            private.change(file, lambda _: "url_expiry = 62\n", secret=False)
        assert file.read_text() == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_owner_and_mode_stay(invoke: Run, config_file: Path) -> None:
    config_file.parent.mkdir()
    config_file.write_text("")
    config_file.chmod(0o640)
    os.chown(config_file, 1, 2)
    invoke("config", "set", "url_expiry", "62")
    found = config_file.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (1, 2, 0o640)


def test_a_file_that_gets_a_secret_is_closed_to_others(invoke: Run, config_file: Path) -> None:
    config_file.parent.mkdir()
    config_file.write_text("")
    config_file.chmod(0o644)
    invoke("config", "set", "s3_secret_key", "-", stdin="hush\n")
    assert stat.S_IMODE(config_file.stat().st_mode) == 0o600


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """A umask as somebody may have it."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_files_are_closed_under_any_umask(
    umask: int, invoke: Run, environment: Callable[..., None], tmp_path: Path
) -> None:
    environment(XDG_CONFIG_HOME=str(tmp_path / "a" / "config"), XDG_DATA_HOME=str(tmp_path / "a" / "data"))
    invoke("config", "set", "url_expiry", "62")
    for shell in ("bash", "zsh", "fish", "powershell"):
        invoke("completion", "install", shell)
    made = [path for path in (tmp_path / "a").rglob("*") if path.name != ".config.toml.lock"]
    assert len([path for path in made if path.is_file()]) == 5
    assert [path for path in made if path.stat().st_mode & 0o022] == []
    config = tmp_path / "a" / "config" / "dumacle"
    assert stat.S_IMODE((config / "config.toml").stat().st_mode) == 0o600
    assert stat.S_IMODE(config.stat().st_mode) == 0o700


def test_a_setting_for_a_command_that_heeds_none_is_told(invoke: Run, config_file: Path) -> None:
    for form in ("table", "json"):
        said = invoke("config", "path", "--set", "url_expiry=5", "-o", form)
        assert "--set has no effect on: dumacle config path" in said.err


def test_a_variable_that_sets_nothing_is_told(invoke: Run, config_file: Path, environment: Callable[..., None]) -> None:
    environment(DUMACLE_COLOURS="many")
    for form in ("table", "json", "csv"):
        assert "DUMACLE_COLOURS" in invoke("config", "list", "-o", form, "-q").err


@pytest.mark.parametrize(
    "argv",
    [
        ("config", "set", "database_url", "postgresql://ada:hush@db/films"),
        ("config", "set", "database_url", "postgresql://db/films?user=ada&password=hush"),
        ("config", "set", "database_url", "host=db password=hush"),
        ("config", "set", "admin_database_url", "postgresql://ada%3ahush@db/films"),
        ("config", "set", "s3_secret_key", "hush"),
        ("config", "set", "s3_access_key", "https://hush"),
        ("config", "set", "s3_endpoint", "https://ada:hush@store"),
        ("config", "set", "s3_secret_key=hush", "x"),
        ("config", "set", "postgresql://ada:hush@db/films", "x"),
        ("config", "list", "postgresql://ada:hush@db/films"),
        ("config", "list", "--database-url=postgresql://ada:hush@db/films"),
    ],
)
def test_no_secret_is_taken_from_the_command_line(invoke: Run, config_file: Path, argv: tuple[str, ...]) -> None:
    refused = invoke(*argv, expect=errors.Exit.USAGE)
    assert "hush" not in refused.out + refused.err
    assert not config_file.exists()
    if argv[1:3] == ("set", "database_url"):
        assert "dumacle config set database_url -" in refused.err


def test_a_url_without_a_password_may_be_typed(invoke: Run, config_file: Path) -> None:
    invoke("config", "set", "database_url", "postgresql://ada@db:5432/films?sslmode=verify-full")
    invoke("config", "set", "database_url", "-", stdin="postgresql://ada:hush@db/films")
    assert document(config_file)["database_url"] == "postgresql://ada:hush@db/films"

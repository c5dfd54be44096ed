"""`dumacle demo`: the whole product on servers of its own, twice, on a folder, and beside a configured database."""

import hashlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from dumacle_cli.clients import locations
from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.errors import Exit, ToolFailed
from dumacle_cli.local import ffmpeg, media, process, servers
from dumacle_cli.services import demo as world
from dumacle_cli.settings import Settings
from tests.conftest import Run
from tests.servers import scratch_folder

pytestmark = pytest.mark.integration
LINK = "X-Amz-Signature"
STEPS = ["servers", "media", "set-up", "upload", "again", "quotas", "link", "download"]


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """The data folder of this module's embedded servers."""
    scratch = scratch_folder()
    yield scratch / "data"
    servers.stop(scratch / "data")
    shutil.rmtree(scratch)


@pytest.fixture
def own(invoke: Run, environment: Callable[..., None], place: Path, tmp_path: Path) -> Run:
    """Run the program with servers in that folder, and with no configuration yet."""
    environment(DUMACLE_DATA_DIR=str(place), DUMACLE_CONFIG=str(tmp_path / "config.toml"))
    return invoke


def streams(file: Path) -> str:
    program = ffmpeg.locate()
    return subprocess.run([program, "-i", file], capture_output=True, text=True, check=False).stderr


def test_interrupted_then_whole_then_again(own: Run, place: Path) -> None:
    interrupted = subprocess.Popen(
        [sys.executable, "-m", "dumacle_cli", "demo"], stderr=subprocess.PIPE, start_new_session=True, text=True
    )
    assert process.wait((place / media.UNFINISHED / "videos").exists, 100)
    os.killpg(interrupted.pid, signal.SIGINT)
    assert "interrupted" in interrupted.communicate(timeout=60)[1]
    assert interrupted.returncode == Exit.INTERRUPTED
    assert not (place / media.FOLDER).exists()

    first = own("demo", "-o", "json")
    told = first.data
    assert (told["uploaded"], told["repeated"]) == (told["files"], 0)
    assert told["files"] > 300
    assert first.json["changed"] is True
    assert [step["step"] for step in told["steps"]] == STEPS
    assert not (place / media.UNFINISHED).exists()

    listed = own("files", "list", "--owner", world.USER, "--all", "-o", "json").data
    assert len({file["sha256"] for file in listed}) == len(listed) == told["files"]
    kinds = {file["content_type"].split("/")[0] for file in listed}
    assert kinds == {"video", "image", "audio"}
    assert told["sha256"] in {file["sha256"] for file in listed if file["path"] == told["film"]}

    second = own("demo", "-o", "json")
    assert (second.data["uploaded"], second.data["repeated"], second.json["changed"]) == (0, 0, False)
    assert {**second.data, "steps": 0, "uploaded": 0} == {**told, "steps": 0, "uploaded": 0}
    assert LINK not in first.out + first.err + second.out + second.err
    assert first.err == second.err == ""


def test_library_is_real_media(own: Run, place: Path) -> None:
    own("demo", "--quiet")
    for film in (place / media.FOLDER / "videos").iterdir():
        assert "Video: h264" in streams(film)
        assert "Audio: aac" in streams(film)


def test_screen_ends_with_commands_that_run(own: Run) -> None:
    said = own("demo")
    assert LINK in said.err
    assert LINK not in said.out
    lines = said.err.rstrip().splitlines()
    told = [line for line in lines if line[1:3] == f"/{len(STEPS)}"]
    assert [line.split()[1] for line in told] == STEPS
    assert all(len(line) < 80 for line in told)
    for line in lines[-3:]:
        program, *argv = shlex.split(line)
        assert program == "dumacle"
        extra = ["--to", "-"] if "download" in argv else []
        assert own(*argv, *extra).raw
    assert own("demo", "--quiet").err == ""


def test_folder_comes_back_the_same(own: Run, tmp_path: Path) -> None:
    folder = tmp_path / "my media"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "it's a film.bin").write_bytes(os.urandom(300_000))
    (folder / "small.txt").write_text("small")
    told = own("demo", folder, "-o", "json").data
    assert (told["files"], told["uploaded"], told["film"]) == (2, 2, "deep/it's a film.bin")
    target = tmp_path / "back.bin"
    own("files", "download", told["film"], "--owner", world.USER, "--to", target)
    assert target.read_bytes() == (folder / "deep" / "it's a film.bin").read_bytes()


def test_stored_bytes_that_differ_are_seen(own: Run, place: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tampered"
    folder.mkdir()
    (folder / "tampered.bin").write_bytes(b"true")
    own("demo", folder)
    key = own("files", "show", "tampered.bin", "--owner", world.USER, "-o", "json").data["key"]
    location = locations.locate(Settings.model_validate({}), "local", None, servers.running(place))
    with ObjectStore(location) as objects:
        objects.put(key, b"fals", hashlib.sha256(b"fals").hexdigest(), "application/octet-stream")
    failed = own("demo", folder, "-o", "json", expect=Exit.INTEGRITY)
    assert failed.error["code"] == "content-differs"


def test_configured_database_is_left_alone(own: Run, environment: Callable[..., None], database_url: str) -> None:
    environment(DUMACLE_DATABASE_URL=database_url)
    said = own("demo")
    assert said.err.startswith("The database of DUMACLE_DATABASE_URL is left alone")
    assert database_url not in said.err
    assert all(line.startswith("  env -u DUMACLE_DATABASE_URL dumacle ") for line in said.err.splitlines()[-3:])
    with psycopg.connect(database_url) as configured:
        assert configured.execute("SELECT count(*) FROM app.users").fetchone() == (0,)
        assert configured.execute("SELECT count(*) FROM app.operations").fetchone() == (0,)


def test_another_profile_stays_in_use(own: Run, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('profile = "mine"\n[profiles.mine]\nurl_expiry = 60\n')
    said = own("demo")
    assert all(line.startswith("  dumacle --profile local ") for line in said.err.splitlines()[-3:])
    assert 'profile = "mine"' in (tmp_path / "config.toml").read_text()


def test_pod_grows_with_the_folder(own: Run, tmp_path: Path) -> None:
    own("demo", "-q")
    own("pods", "update", world.POD, "--capacity", "64MiB")
    with (tmp_path / "large.bin").open("wb") as sparse:
        sparse.truncate(40 * 1024**2)
    own("demo", tmp_path / "large.bin")
    pod = own("pods", "show", world.POD, "-o", "json").data
    assert pod["capacity"] == 256 * 1024**2
    assert pod["used"] > 64 * 1024**2
    plan = own("plans", "show", world.PLAN, "-o", "json").data
    assert (plan["storage_limit"], plan["upload_limit"]) == (pod["capacity"], 4 * pod["capacity"])


def test_without_ffmpeg(
    own: Run, place: Path, environment: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = place.parent / "nothing"
    environment(DUMACLE_DATA_DIR=str(elsewhere), PATH="")
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    failed = own("demo", "-o", "json", expect=Exit.USAGE)
    assert failed.error["code"] == "missing-extra"
    assert "dumacle[embedded]" in failed.error["fix"]
    assert not elsewhere.exists()


def test_ffmpeg_that_fails_leaves_no_library(place: Path) -> None:
    folder = place.parent / "broken"
    folder.mkdir()
    with pytest.raises(ToolFailed, match="FFmpeg failed"):
        media.library(folder, Path("/bin/false"))
    assert not (folder / media.FOLDER).exists()


@pytest.mark.parametrize("name", ["empty", "missing"])
def test_nothing_to_upload(own: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    expect = Exit.USAGE if name == "empty" else Exit.NOT_FOUND
    assert own("demo", tmp_path / name, "-o", "json", expect=expect).out == ""
    assert not (tmp_path / "config.toml").exists()


def test_dry_run_makes_nothing(own: Run, environment: Callable[..., None], place: Path, tmp_path: Path) -> None:
    elsewhere = place.parent / "dry"
    environment(DUMACLE_DATA_DIR=str(elsewhere))
    said = own("demo", "--dry-run", "-o", "json")
    assert (said.json["dry_run"], said.json["changed"], said.data["files"]) == (True, True, None)
    (tmp_path / "one.bin").write_bytes(b"one")
    assert own("demo", tmp_path / "one.bin", "--dry-run", "-o", "json").data["files"] == 1
    assert not elsewhere.exists()
    assert not (tmp_path / "config.toml").exists()


def test_reset_takes_the_library_too(own: Run, place: Path) -> None:
    own("demo", "-q")
    own("local", "reset", "--yes")
    assert not place.exists()

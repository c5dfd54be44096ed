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
from dumacle_cli.demo import media, result
from dumacle_cli.errors import Exit, ToolFailed
from dumacle_cli.local import ffmpeg, process, servers
from dumacle_cli.local.folder import DEMO_MEDIA, DEMO_MEDIA_UNFINISHED
from dumacle_cli.settings import Settings
from tests.conftest import ROOT_EMAIL, Result, Run
from tests.films import clip
from tests.servers import scratch_folder

pytestmark = pytest.mark.integration
LINK = "X-Amz-Signature"
STEPS = ["servers", "media", "set-up", "limit", "plan", "upload", "again", "link", "download"]
STEPS += ["transcode", "play", "quotas"]


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


def begin(*argv: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "dumacle_cli", "demo", *argv]
    return subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True, text=True)


def interrupt(demo: subprocess.Popen[str], send: Callable[[int, int], None] = os.killpg) -> None:
    """Do what Ctrl-C does: it reaches the demo and all that it runs."""
    send(demo.pid, signal.SIGINT)
    assert "interrupted" in demo.communicate(timeout=60)[1]
    assert demo.returncode == Exit.INTERRUPTED


def streams(file: Path) -> str:
    program = ffmpeg.locate()
    return subprocess.run([program, "-i", file], capture_output=True, text=True, check=False).stderr


def next_commands(said: Result) -> list[str]:
    """The three commands at the end of the screen."""
    lines = said.err.split("\nTry next:\n")[1].splitlines()
    assert len(lines) == 3
    return lines


def test_interrupted_then_whole_then_again(own: Run, place: Path) -> None:
    interrupted = begin()
    assert process.wait((place / DEMO_MEDIA_UNFINISHED / "videos").exists, 100)
    interrupt(interrupted)
    assert not (place / DEMO_MEDIA).exists()

    first = own("demo", "-o", "json")
    data = first.data
    assert (data["refused"], data["uploaded"], data["repeated"]) == (1, data["files"], 0)
    assert (data["video"], data["transcoded"]) == ("videos/film.mp4", True)
    assert data["played"] > 10
    assert data["files"] > 300
    assert first.json["changed"] is True
    assert [step["step"] for step in data["steps"]] == STEPS
    found = {step["step"]: step["finding"] for step in data["steps"]}
    assert found["limit"] == f"{data['files'] - 1} uploaded, 1 refused: no room in plan {result.SMALL_PLAN}"
    assert found["upload"].startswith("1 file uploaded, ")
    assert found["upload"].endswith(f", {data['files'] - 1} unchanged")
    assert not (place / DEMO_MEDIA_UNFINISHED).exists()

    listed = own("files", "list", "--owner", result.USER, "--all", "-o", "json").data
    assert len({file["sha256"] for file in listed}) == len(listed) == data["files"]
    kinds = {file["content_type"].split("/")[0] for file in listed}
    assert kinds == {"video", "image", "audio"}
    assert data["sha256"] in {file["sha256"] for file in listed if file["path"] == data["film"]}

    second = own("demo", "-o", "json")
    assert (second.data["uploaded"], second.data["repeated"], second.json["changed"]) == (0, 0, False)
    assert second.data["transcoded"] is False
    new = {"steps": 0, "refused": 0, "uploaded": 0, "transcoded": False}
    assert second.data | new == data | new
    assert LINK not in first.out + first.err + second.out + second.err
    assert first.err == second.err == ""


def test_library_is_real_media(own: Run, place: Path) -> None:
    own("demo", "--quiet")
    for film in (place / DEMO_MEDIA / "videos").iterdir():
        assert "Video: h264" in streams(film)
        assert "Audio: aac" in streams(film)


def test_screen_ends_with_commands_that_run(own: Run) -> None:
    said = own("demo")
    assert [line.split("?")[0].rpartition(".")[2] for line in said.err.splitlines() if LINK in line] == ["mp4", "m3u8"]
    assert LINK not in said.out
    assert [line.split()[0] for line in said.out.splitlines()] == [
        "film", "sha256", "folder", "operator", "user", "plan", "pod",
    ]  # fmt: skip
    bars = [line for line in said.err.splitlines() if "#" in line and " of " in line]
    assert [line.split()[0] for line in bars] == ["pod", "storage", "uploads", "transcoding"]
    lines = said.err.rstrip().splitlines()
    data = [line for line in lines if line[2:5] == f"/{len(STEPS)}"]
    assert [line.split()[1] for line in data] == STEPS
    assert all(len(line) < 80 for line in data)
    for line in next_commands(said):
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
    data = own("demo", folder, "-o", "json").data
    assert (data["files"], data["uploaded"], data["film"]) == (2, 2, "deep/it's a film.bin")
    assert (data["video"], data["transcoded"], data["played"], data["played_size"]) == (None, None, None, None)
    target = tmp_path / "back.bin"
    own("files", "download", data["film"], "--owner", result.USER, "--to", target)
    assert target.read_bytes() == (folder / "deep" / "it's a film.bin").read_bytes()


def test_stored_bytes_that_differ_are_seen(own: Run, place: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tampered"
    folder.mkdir()
    (folder / "tampered.bin").write_bytes(b"true")
    own("demo", folder)
    key = own("files", "show", "tampered.bin", "--owner", result.USER, "-o", "json").data["key"]
    location = locations.locate(Settings.model_validate({}), "local", servers=servers.running(place))
    with ObjectStore(location) as objects:
        objects.put(key, b"fals", hashlib.sha256(b"fals").hexdigest(), "application/octet-stream")
    failed = own("demo", folder, "-o", "json", expect=Exit.INTEGRITY)
    assert failed.error["code"] == "content-differs"


def test_rendition_that_differs_is_seen(own: Run, place: Path) -> None:
    own("demo", "-q")
    with ObjectStore(locations.locate(Settings.model_validate({}), "local", servers=servers.running(place))) as objects:
        piece = next(each.key for each in objects.list("") if each.key.endswith(".m4s"))
        body = b"".join(objects.get(piece))
        for stored, status in ((body[:-1], Exit.INTEGRITY), (body, Exit.DONE)):
            objects.put(piece, stored, hashlib.sha256(stored).hexdigest(), "video/iso.segment")
            own("demo", "-q", expect=status)


def to_the_worker(demo: int, number: int) -> None:
    """Send a signal to the worker of a demo only, as if that had been quicker to end."""
    for pid in Path(f"/proc/{demo}/task/{demo}/children").read_text().split():
        os.kill(int(pid), number)


@pytest.mark.parametrize(("seconds", "send"), [(12, os.killpg), (13, to_the_worker)])
def test_interrupted_worker_gives_its_work_back(
    own: Run, place: Path, tmp_path: Path, seconds: int, send: Callable[[int, int], None]
) -> None:
    own("demo", "-q")
    clip(tmp_path, seconds, "1280x720")
    film, url = tmp_path / f"{seconds}-1280x720.mp4", servers.owner_url(servers.start(place))

    def statuses() -> list[str]:
        with psycopg.connect(url) as database:
            return [status for (status,) in database.execute("SELECT status FROM app.transcodes ORDER BY id")]

    interrupted = begin(film)
    assert process.wait(lambda: statuses()[-1] == "running", 100)
    interrupt(interrupted, send)
    assert statuses()[-1] == "queued"
    data = own("demo", film, "-o", "json").data
    assert (data["uploaded"], data["transcoded"]) == (0, True)
    assert set(statuses()) == {"done"}


def test_video_that_is_none(own: Run, tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(os.urandom(5000))
    said = own("demo", tmp_path / "broken.mp4", expect=Exit.FAILED)
    assert "dumacle: broken.mp4: this media cannot be transcoded" in said.err
    assert "Try next" in said.err
    data = own("demo", tmp_path / "broken.mp4", "-o", "json", expect=Exit.FAILED).data
    assert (data["video"], data["transcoded"], data["played"]) == ("broken.mp4", True, None)


def test_configured_database_is_left_alone(
    own: Run, environment: Callable[..., None], database_url: str, tmp_path: Path
) -> None:
    environment(DUMACLE_DATABASE_URL=database_url)
    clip(tmp_path, 2)
    said = own("demo", tmp_path / "2-320x180.mp4")
    assert "HLS in 1 size, " in said.err
    assert said.err.startswith("The demo uses the embedded database, not the one configured in DUMACLE_DATABASE_URL")
    assert database_url not in said.err
    assert all(line.startswith("  env -u DUMACLE_DATABASE_URL dumacle ") for line in next_commands(said))
    with psycopg.connect(database_url) as configured:
        assert configured.execute("SELECT email FROM app.users").fetchall() == [(ROOT_EMAIL,)]
        assert configured.execute("SELECT count(*) FROM app.operations").fetchone() == (0,)


def test_another_profile_stays_in_use(own: Run, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('profile = "mine"\n[profiles.mine]\nurl_expiry = 60\n')
    said = own("demo")
    assert all(line.startswith("  dumacle --profile local ") for line in next_commands(said))
    assert 'profile = "mine"' in (tmp_path / "config.toml").read_text()


def test_pod_grows_with_the_folder(own: Run, tmp_path: Path) -> None:
    own("demo", "-q")
    before = own("pods", "show", result.POD, "-o", "json").data
    own("pods", "update", result.POD, "--capacity", str(before["used"] + 1024**2))
    with (tmp_path / "large.bin").open("wb") as sparse:
        sparse.truncate(40 * 1024**2)
    own("demo", tmp_path / "large.bin")
    pod = own("pods", "show", result.POD, "-o", "json").data
    assert pod["used"] == before["used"] + 40 * 1024**2
    assert pod["capacity"] > pod["used"]
    plan = own("plans", "show", result.PLAN, "-o", "json").data
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
    assert not (folder / DEMO_MEDIA).exists()


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

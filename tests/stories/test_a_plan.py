"""A plan: what a film would cost is shown before, and charged exactly so."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import dumacle_cli
from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.local import ffmpeg
from tests.conftest import Run
from tests.films import picture_subtitles

pytestmark = pytest.mark.e2e

ADA = "ada@example.com"
JSON = ("-o", "json")
ROOT = Path(dumacle_cli.__file__).parents[1]


def make_film(target: Path) -> None:
    sources = ("testsrc2=size=480x270:rate=25:duration=12", "sine=duration=12")
    inputs = [word for source in sources for word in ("-f", "lavfi", "-i", source)]
    inputs += ["-i", str(picture_subtitles(target.parent.parent)), "-map", "0", "-map", "1", "-map", "2"]
    inputs += ["-c:s", "copy", "-metadata:s:s", "language=spa", "-f", "matroska"]
    command = [str(ffmpeg.locate()), "-v", "error", "-nostdin", *inputs, "-c:v", "libx264", "-preset", "ultrafast"]
    subprocess.run([*command, str(target)], check=True)


def work() -> None:
    """Let a worker do all that waits."""
    command = [sys.executable, "-m", "dumacle_cli", "worker", "--once", "--queues", "transcode"]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, timeout=180)


def test_what_was_planned_is_charged(run: Run, object_store: ObjectStore, tmp_path: Path) -> None:
    run("pods", "create", "films", "--capacity", "1GiB")
    limits = ("--storage", "1GiB", "--upload", "1GiB", "--transcode-minutes", "10")
    run("plans", "create", "family", "--price", "9.99", *limits, "--default-pod", "films")
    run("users", "create", ADA, "--plan", "family")
    media = tmp_path / "media"
    media.mkdir()
    make_film(media / "film.mp4")
    (media / "notes.txt").write_text("no film")
    run("files", "upload", media, "--owner", ADA)

    # Nothing is made or charged by planning, and what cannot be made is said.
    planned = {}
    for preset in ("hls", "audio", "poster"):
        film, notes = run("transcode", "plan", "--owner", ADA, "--preset", preset, *JSON).data
        assert "not media" in notes["error"]
        planned[preset] = film
    assert {name: film["seconds"] for name, film in planned.items()} == {"hls": 12, "audio": 2, "poster": 1}
    assert [rung["name"] for rung in planned["hls"]["rungs"]] == ["234p", "270p"]
    assert planned["hls"]["dropped"][0] == {
        "name": "360p",
        "reason": "the source has only 480x270, and is not enlarged",
    }
    [sound, text] = planned["hls"]["tracks"]
    assert sound == {"kind": "sound", "name": "Sound", "language": "", "left_out": None}
    assert (text["name"], text["language"]) == ("Spanish", "es")
    assert text["left_out"] == "they are pictures (HDMV Presentation Graphic Stream subtitles)"
    assert [track["left_out"] is None for track in planned["audio"]["tracks"]] == [True, False]
    assert planned["poster"]["tracks"] == []
    assert run("transcode", "list", *JSON).data == []
    run("transcode", "plan", "--preset", "hls", expect=2)
    run("transcode", "plan", "film.mp4", "--owner", ADA, "--prefix", "f", "--preset", "hls", expect=2)

    # What is made costs exactly that, and takes no more than that.
    for preset in planned:
        run("transcode", "submit", "film.mp4", "--owner", ADA, "--preset", preset)
    work()
    done = {each["preset"]: each for each in run("transcode", "list", *JSON).data}
    assert {name: each["seconds"] for name, each in done.items()} == {"hls": 12, "audio": 2, "poster": 1}
    [used] = [each["used"] for each in run("quotas", "show", ADA, *JSON).data if each["metric"] == "transcode"]
    assert used == 15
    for name, each in done.items():
        [made] = run("transcode", "show", each["id"], *JSON).data["renditions"]
        assert made["size"] <= planned[name]["size"]

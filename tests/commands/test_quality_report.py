"""`dumacle transcode report`: what was published beside its source, by a measure that encoding does not share."""

import hashlib
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.local import ffmpeg
from dumacle_cli.store.database import Database
from dumacle_cli.transcode import quality
from dumacle_cli.transcode.limits import Limits
from dumacle_cli.transcode.probe import probe
from tests.conftest import Run
from tests.films import Films, Submit, clip, films, rows, submit

__all__ = ["films", "submit"]
JSON = ("-o", "json")


@pytest.mark.integration
def test_each_size_is_compared_with_the_source(run: Run, submit: Submit, films: Films, database: Database) -> None:
    submit(films(3, "640x360"), preset="hls")
    submit(films(3, "640x360"), preset="poster")
    run("worker", "--once")
    small, large = run("transcode", "report", "1", *JSON).data
    assert [(each["rung"], each["width"], each["height"]) for each in (small, large)] == [
        ("234p", 416, 234),
        ("360p", 640, 360),
    ]
    for each in (small, large):
        assert (each["metric"], each["error"], each["transcode"], each["pictures"]) == ("VMAF", None, 1, 75)
        assert each["low"] <= each["mean"]
        [source] = rows(database, "SELECT size FROM app.versions WHERE id = 1")
        assert each["share"] == round(each["size"] / source["size"], 4)
        assert each["size"] * 8 / 3 == pytest.approx(each["bitrate"], rel=0.1)
    assert 20 < small["mean"] < large["mean"] - 5
    table = run("transcode", "report", "--file", "1", "--rung", "360p").out.splitlines()
    assert "360p" in table[1]
    assert "234p" not in "".join(table)
    assert max(map(len, table)) <= 80, table
    assert run("transcode", "report", "2", *JSON).data == []
    run("transcode", "report", expect=2)
    run("transcode", "report", "1", "--pod", "films", expect=2)


@pytest.mark.integration
def test_an_object_that_differs_is_not_measured(
    run: Run, submit: Submit, films: Films, object_store: ObjectStore
) -> None:
    submit(films(2), preset="mp4")
    run("worker", "--once")
    [found] = run("transcode", "report", "--pod", "films", *JSON).data
    assert (found["rung"], found["error"]) == ("180p", None)
    key = next(entry.key for entry in object_store.list("renditions/") if entry.key.endswith(".mp4"))
    body = b"".join(object_store.get(key))[:-1] + b"x"
    object_store.delete([key])
    object_store.put(key, body, hashlib.sha256(body).hexdigest(), "video/mp4")
    [found] = run("transcode", "report", "--pod", "films", *JSON, expect=3).data
    assert found["mean"] is None
    assert "the stored content differs" in found["error"]


@pytest.mark.unit
@pytest.mark.parametrize("by", ["VMAF", "XPSNR"])
def test_worse_pictures_score_less(tmp_path: Path, by: quality.Metric) -> None:
    clip(tmp_path, 2)
    [source] = tmp_path.glob("*.mp4")
    program = ffmpeg.locate()
    media = probe(program, source, Limits())

    def score(*worse: str) -> quality.Scores:
        output = tmp_path / "made" / "film.mp4"
        output.parent.mkdir(exist_ok=True)
        command = [str(program), "-v", "error", "-nostdin", "-y", "-i", str(source), "-an", *worse, str(output)]
        subprocess.run(command, check=True)
        return quality.measure(program, source, media, output, by, Limits())

    same, blurred = score("-c:v", "copy"), score("-vf", "gblur=6")
    late = score("-vf", "tpad=start=1", "-frames:v", "50")
    assert same.pictures == blurred.pictures == 50
    assert same.mean > 95
    assert blurred.mean < same.mean - 20
    assert late.mean < same.mean - 20, "the pictures that are compared are not the same ones"


@pytest.mark.unit
def test_an_ffmpeg_without_vmaf_measures_otherwise(tmp_path: Path, without_vmaf: Callable[[], Path]) -> None:
    assert quality.metric(ffmpeg.locate()) == "VMAF"
    assert quality.metric(without_vmaf()) == "XPSNR"


@pytest.fixture
def without_vmaf(tmp_path: Path) -> Callable[[], Path]:
    """An FFmpeg that was built without libvmaf."""

    def make() -> Path:
        program = tmp_path / "ffmpeg"
        program.write_text(f"#!/bin/sh\n'{ffmpeg.locate()}' \"$@\" | grep -v libvmaf\n")
        program.chmod(0o755)
        return program

    return make

"""Playlists of key frames: each place that they name is one picture, which the film has at that time."""

import re
from pathlib import Path

import pytest

from dumacle_cli.errors import OutputBroken
from dumacle_cli.transcode import keyframes, playlists
from tests.transcode.conftest import Make, Transcode, run_ffmpeg

pytestmark = pytest.mark.integration
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac")
# As a player asks for them: where a picture is, and of which file.
FRAME = re.compile(r"#EXTINF:([\d.]+),\n#EXT-X-BYTERANGE:(\d+)@0\n(\S+)")


def pictures(path: Path) -> list[str]:
    lines = run_ffmpeg("-i", str(path), "-map", "0:v:0", "-f", "framemd5", "-").decode().splitlines()
    return [line.split()[-1] for line in lines if not line.startswith("#")]


@pytest.mark.parametrize("keys", ["50", "17"])
def test_each_is_the_first_picture_of_a_segment(make: Make, transcode: Transcode, tmp_path: Path, keys: str) -> None:
    lean = ("-crf", "45", "-g", keys, "-sc_threshold", "0")
    source = make("film.mp4", *H264, *lean, inputs=("mandelbrot=size=320x240:rate=25,trim=end=14", "sine=duration=14"))
    encoded, out = transcode(source, "hls")
    master = (out / encoded.entry).read_text()
    for rung in encoded.rungs:
        folder = out / rung["name"]
        text = (folder / keyframes.NAME).read_text()
        assert "#EXT-X-I-FRAMES-ONLY\n" in text
        assert sum(playlists.lengths(text)) == pytest.approx(14, abs=0.05)
        found = FRAME.findall(text)
        shown = pictures(folder / "index.m3u8")
        at = 0.0
        for seconds, size, name in found:
            alone = tmp_path / "alone.mp4"
            alone.write_bytes((folder / "init.mp4").read_bytes() + (folder / name).read_bytes()[: int(size)])
            first = run_ffmpeg("-i", str(alone), "-frames:v", "1", "-f", "framemd5", "-").decode().split()[-1]
            assert first == shown[round(at * 25)]
            at += float(seconds)
        peak = max(round(8 * int(size) / float(seconds)) for seconds, size, _ in found[:-1])
        told = re.findall(rf"I-FRAME-STREAM-INF:BANDWIDTH=(\d+).*RESOLUTION=(\S+),URI=\"{rung['name']}/", master)
        assert told == [(str(peak), f"{rung['width']}x{rung['height']}")]


def test_a_segment_that_is_none_is_found(tmp_path: Path) -> None:
    for content in (b"", b"\0" * 100, b"\0\0\0\x10moof\0\0\0\x08traf", b"\xff\xff\xff\xffmoof"):
        (tmp_path / "00000.m4s").write_bytes(content)
        with pytest.raises(OutputBroken):
            keyframes.first_frame(tmp_path / "00000.m4s")

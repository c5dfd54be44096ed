"""Chapters stay: in a single file as they were, and beside HLS for players that look there."""

import json
from pathlib import Path

import av
import pytest

from tests.transcode.conftest import Make, Transcode, run_ffmpeg

pytestmark = pytest.mark.integration
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac")
ONE, TWO = 'One "x", URI=y', "Zwei — 二"


def with_chapters(film: Path, *times: tuple[int, int], titles: tuple[str, ...] = (ONE, TWO)) -> Path:
    parts = [
        f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={start}\nEND={end}\ntitle={title.replace('=', chr(92) + '=')}\n"
        for (start, end), title in zip(times, titles, strict=True)
    ]
    told = film.with_suffix(".txt")
    told.write_text("".join([";FFMETADATA1\ntitle=a secret\n", *parts]))
    target = film.with_name("chaptered.mkv")
    run_ffmpeg("-i", str(film), "-i", str(told), "-map_metadata", "1", "-map_chapters", "1", "-c", "copy", str(target))
    return target


@pytest.mark.parametrize("preset", ["mp4", "audio"])
def test_a_single_file_keeps_them_and_nothing_else(make: Make, transcode: Transcode, preset: str) -> None:
    source = with_chapters(make("film.mkv", *H264), (0, 500), (500, 2000))
    encoded, out = transcode(source, preset)
    with av.open(str(out / encoded.entry)) as film:
        found = [(each["start"] * each["time_base"], each["metadata"]["title"]) for each in film.chapters()]
    assert [(round(float(start), 2), title) for start, title in found] == [(0, ONE), (0.5, TWO)]
    assert b"a secret" not in (out / encoded.entry).read_bytes()


def test_hls_has_a_file_of_them(make: Make, transcode: Transcode) -> None:
    encoded, out = transcode(with_chapters(make("film.mkv", *H264), (0, 500), (500, 2000)), "hls")
    assert (
        '#EXT-X-SESSION-DATA:DATA-ID="com.apple.hls.chapters",URI="chapters.json"' in (out / encoded.entry).read_text()
    )
    assert "chapters.json" in encoded.files
    assert json.loads((out / "chapters.json").read_text()) == [
        {"start-time": 0, "duration": 0.5, "titles": [{"language": "und", "title": "One 'x', URI=y"}]},
        {"start-time": 0.5, "duration": 1.5, "titles": [{"language": "und", "title": TWO}]},
    ]


def test_titles_of_strangers_are_text_in_a_line(make: Make, transcode: Transcode) -> None:
    odd = "a\x1b[31m\u202eb"
    _, out = transcode(with_chapters(make("film.mkv", *H264), (0, 500), (500, 2000), titles=(odd, "x" * 5000)), "hls")
    titles = [each["titles"][0]["title"] for each in json.loads((out / "chapters.json").read_text())]
    assert titles == ["a [31m b", "x" * 100]


def test_chapters_beyond_the_film_are_left_out(make: Make, transcode: Transcode) -> None:
    source = with_chapters(make("film.mkv", *H264), (0, 500), (500, 9_000_000))
    with av.open(str(transcode(source, "mp4")[1] / "video.mp4")) as film:
        assert film.chapters() == []
        assert film.duration == pytest.approx(2_000_000, abs=50_000)

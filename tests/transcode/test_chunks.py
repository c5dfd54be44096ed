"""Films in chunks beside the same films as a whole: the same pictures at the same times, in the same segments."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from dumacle_cli.errors import OutputBroken
from dumacle_cli.local import ffmpeg
from dumacle_cli.services.definitions import Film
from dumacle_cli.transcode import chunks
from dumacle_cli.transcode.encode import Encoded, encode
from dumacle_cli.transcode.join import join
from dumacle_cli.transcode.probe import Media, probe
from tests.presets import defined
from tests.transcode.conftest import LIMITS, Make, run_ffmpeg
from tests.transcode.test_encode import colours, loudness

pytestmark = pytest.mark.integration
FFMPEG = ffmpeg.locate()
STOP = threading.Event()
SECONDS = 15
GREYS = "color=size=64x64:rate={rate}:duration={seconds},geq=lum='{grey}':cb=128:cr=128"
# Each picture is of another grey than the next ones, and few change much.
WAVES, STEPS = "30+8*abs(mod(N,40)-20)", "20+20*floor(N/70)"
MOVING, TONE = GREYS.format(rate=25, seconds=SECONDS, grey=WAVES), f"sine=frequency=300:duration={SECONDS}"
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-g", "70", "-c:a", "aac")
HEVC = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "open-gop=1:keyint=50:log-level=error")
OPEN = ("-c:v", "libx264", "-preset", "veryfast", "-x264-params", "open-gop=1:keyint=60:bframes=3", "-c:a", "aac")


def film(name: str) -> Film:
    found = defined(name)
    assert isinstance(found, Film)
    return found


FILM = film("hls")


@pytest.fixture(autouse=True)
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut after each segment, so that short films have chunks."""
    monkeypatch.setattr(chunks, "LEAST_SEGMENTS", 1)
    monkeypatch.setattr(chunks, "LEAST", 3)


def in_chunks(source: Path, media: Media, preset: Film, folder: Path) -> tuple[Encoded, Path]:
    """Encode a film in chunks, the last one first, and put it together."""
    cut = chunks.divide(media, preset)
    pieces = [folder / f"piece-{number}" for number in range(len(cut) + bool(media.sounds))]
    out = folder / "joined"
    for each in (*pieces, out):
        each.mkdir()
    for chunk, piece in reversed(list(zip(cut, pieces, strict=False))):
        chunks.encode_chunk(FFMPEG, source, media, preset, chunk, piece, LIMITS, lambda _percent: None, STOP)
    if media.sounds:
        chunks.encode_sound(FFMPEG, source, media, preset, pieces[-1], LIMITS, lambda _percent: None, STOP)
    return join(FFMPEG, source, media, preset, cut, pieces, out, LIMITS, STOP), out


def as_a_whole(source: Path, media: Media, preset: Film, folder: Path) -> tuple[Encoded, Path]:
    out = folder / "whole"
    out.mkdir()
    return encode(FFMPEG, source, media, preset, out, LIMITS, lambda _percent: None, STOP), out


def times(path: Path) -> list[tuple[int, int]]:
    """When each picture is shown, and for how long."""
    lines = run_ffmpeg("-i", str(path), "-map", "0:v:0", "-c", "copy", "-f", "framecrc", "-").decode().splitlines()
    parts = [line.split(",") for line in lines if not line.startswith("#")]
    return sorted((int(part[2]), int(part[3])) for part in parts)


SOURCES = {
    "as usual": ("film.mp4", H264, MOVING),
    "open groups": ("film.mp4", OPEN, MOVING),
    "open groups of HEVC": ("film.mkv", HEVC, MOVING),
    "29.97": ("film.mov", H264, GREYS.format(rate="30000/1001", seconds=SECONDS, grey=WAVES)),
    "another rate than it declares": ("film.mkv", (*H264, "-vf", "select='not(eq(mod(n,7),3))'"), MOVING),
    "slides": (
        "film.mkv",
        (*H264, "-vf", "select='not(mod(n,70))'", "-fps_mode", "passthrough"),
        GREYS.format(rate=25, seconds=SECONDS, grey=STEPS),
    ),
    "interlaced": (
        "film.mp4",
        (*H264, "-vf", "tinterlace=interleave_top,setfield=tff", "-flags", "+ildct+ilme"),
        MOVING,
    ),
    "a clock that starts late": ("film.mkv", (*H264, "-output_ts_offset", "5.013"), MOVING),
    "no index": ("film.mkv", (*H264, "-live", "1"), MOVING),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_a_film_in_chunks_is_that_film(kind: str, make: Make, tmp_path: Path) -> None:
    name, options, pictures = SOURCES[kind]
    source = make(name, *options, inputs=(pictures, TONE))
    # As many bits as it takes: greys need so few that the limit would make some of them others.
    media = replace(probe(FFMPEG, source, LIMITS), keys=(), bitrate=0)
    assert len(chunks.divide(media, FILM)) >= 3
    joined, out = in_chunks(source, media, FILM, tmp_path)
    whole, wanted = as_a_whole(source, media, FILM, tmp_path)
    assert (joined.frames, joined.duration_ms) == (whole.frames, whole.duration_ms)
    assert (joined.files, joined.damaged) == (whole.files, 0)
    for playlist in wanted.rglob("index.m3u8"):
        beside = out / playlist.relative_to(wanted)
        assert beside.read_text() == playlist.read_text()
        assert (beside.parent / "init.mp4").read_bytes() == (playlist.parent / "init.mp4").read_bytes()
    [rung] = [each["name"] for each in whole.rungs]
    assert times(out / rung / "index.m3u8") == times(wanted / rung / "index.m3u8")
    shown = colours(out / whole.entry)
    assert len(shown) == whole.frames
    assert max(abs(grey - wish) for grey, wish in zip(shown, colours(wanted / whole.entry), strict=True)) <= 3
    for part in (wanted / "audio").iterdir():
        assert (out / "audio" / part.name).read_bytes() == part.read_bytes()


def test_one_file_of_chunks_is_that_file(make: Make, tmp_path: Path) -> None:
    source = make("film.mp4", *H264, inputs=(MOVING, TONE))
    media, preset = probe(FFMPEG, source, LIMITS), film("mp4")
    media = replace(media, keys=())
    joined, out = in_chunks(source, media, preset, tmp_path)
    whole, wanted = as_a_whole(source, media, preset, tmp_path)
    assert (joined.frames, joined.duration_ms, joined.files) == (whole.frames, whole.duration_ms, ["video.mp4"])
    assert times(out / "video.mp4") == times(wanted / "video.mp4")
    assert loudness(out / "video.mp4") == loudness(wanted / "video.mp4")
    shown = zip(colours(out / "video.mp4"), colours(wanted / "video.mp4"), strict=True)
    assert max(abs(grey - wish) for grey, wish in shown) <= 3


def test_a_wrong_picture_where_it_was_cut_is_noticed(make: Make, tmp_path: Path) -> None:
    """As if seeking had found the picture before: the chunk is one of another film, which is a picture late."""
    late = MOVING.replace("mod(N,", "mod(N+39,")
    source, other = (
        make(name, *H264, "-an", inputs=(film,)) for name, film in (("film.mp4", MOVING), ("late.mp4", late))
    )
    media = probe(FFMPEG, source, LIMITS)
    cut = chunks.divide(media, FILM)
    pieces = [tmp_path / str(number) for number in range(len(cut))]
    for number, (chunk, piece) in enumerate(zip(cut, pieces, strict=True)):
        piece.mkdir()
        film = other if number == 1 else source
        chunks.encode_chunk(FFMPEG, film, media, FILM, chunk, piece, LIMITS, lambda _percent: None, STOP)
    (tmp_path / "out").mkdir()
    with pytest.raises(OutputBroken, match="at picture 150, where the film was cut"):
        join(FFMPEG, source, media, FILM, cut, pieces, tmp_path / "out", LIMITS, STOP)


def test_what_stays_whole(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Short films, those that FFmpeg cannot seek, some times missing or few key frames, and what has no picture."""
    film = make("film.mp4", *H264, inputs=(MOVING, TONE))
    media = replace(probe(FFMPEG, film, LIMITS), keys=())
    assert [(chunk.first, chunk.end) for chunk in chunks.divide(media, FILM)] == [(0, 150), (150, 300), (300, 375)]
    assert chunks.divide(replace(media, group=20), FILM) == []
    assert chunks.divide(media, defined("audio")) == []
    assert chunks.divide(media, defined("poster")) == []
    run_ffmpeg("-i", str(film), "-c", "copy", str(film.with_suffix(".ts")))
    assert chunks.divide(probe(FFMPEG, film.with_suffix(".ts"), LIMITS), FILM) == []
    early = film.with_suffix(".mkv")
    run_ffmpeg("-i", str(film), "-c", "copy", "-output_ts_offset", "-1", "-avoid_negative_ts", "disabled", str(early))
    assert chunks.divide(replace(probe(FFMPEG, early, LIMITS), keys=()), FILM) == []
    monkeypatch.setattr(chunks, "LEAST_SEGMENTS", 10)
    assert chunks.divide(media, FILM) == []
    hours = chunks.divide(replace(media, frames=25 * 2 * 3600), FILM)
    assert (len(hours), hours[-1].end) == (64, 180_000)
    assert all(chunk.first % 150 == 0 for chunk in hours)

"""The comparison with the source: another picture, another shape or lost sound is never published."""

import random
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from dumacle_cli.errors import OutputDiffers
from dumacle_cli.local import ffmpeg
from dumacle_cli.transcode import arguments, tracks
from dumacle_cli.transcode.encode import encode
from dumacle_cli.transcode.likeness import compare_pictures, compare_sounds, similarity
from dumacle_cli.transcode.probe import Media, probe, source_of
from dumacle_cli.transcode.reference import Reference
from tests.presets import defined
from tests.transcode.conftest import LIMITS, Make, run_ffmpeg

H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac")
WIDTH, HEIGHT = 64, 36
# What it shows changes all the time, everywhere.
FILM = "mandelbrot=size=160x120:rate=25,trim=duration=6"


def picture(seed: int) -> bytes:
    """A grey picture of smooth shapes."""
    numbers = random.Random(seed)
    spots = [(numbers.randrange(WIDTH), numbers.randrange(HEIGHT), numbers.randrange(40, 200)) for _ in range(12)]
    return bytes(
        min(spots, key=lambda spot: (spot[0] - x) ** 2 + (spot[1] - y) ** 2)[2]
        for y in range(HEIGHT)
        for x in range(WIDTH)
    )


@pytest.mark.unit
def test_a_picture_is_like_itself_and_not_like_another() -> None:
    one = picture(1)
    noise = random.Random(0)
    worse = bytes(max(0, value + noise.randrange(-8, 9)) for value in one)
    brighter = bytes(value + 20 for value in one)
    squeezed = b"".join(
        one[row * WIDTH : (row + 1) * WIDTH] for row in (abs(at * 5 // 3 - 12) % HEIGHT for at in range(36))
    )
    assert similarity(one, one, WIDTH) == pytest.approx(1)
    assert similarity(one, worse, WIDTH) > 0.6
    assert similarity(one, brighter, WIDTH) == pytest.approx(1)
    assert similarity(one, picture(2), WIDTH) < 0.5
    assert similarity(one, squeezed, WIDTH) < 0.6
    assert similarity(one, one[:-WIDTH], WIDTH) == 0


def check(source: Path, media: Media, out: Path, preset: str) -> None:
    chosen, stop = defined(preset), threading.Event()
    reference = Reference(ffmpeg.locate(), source_of(source, media), LIMITS, stop)
    compare_pictures(reference, out, media, chosen, arguments.rungs(media, chosen), LIMITS, stop)
    compare_sounds(reference, out, media, chosen, tracks.sounds(media.sounds, chosen), {})


WRONG = {
    "another picture": (("-vf", "hflip"), "differs from the source"),
    "upside down": (("-vf", "vflip"), "differs from the source"),
    "a corner": (("-vf", "crop=80:60:0:0,scale=160:120"), "differs from the source"),
    "a stretched part": (("-vf", "crop=160:60,scale=160:120"), "differs from the source"),
    "two seconds too late": (("-vf", "tpad=start_duration=2:start_mode=clone"), "differs from the source"),
    "too dark": (("-vf", "lutyuv=y=val/3"), "darker than the source"),
    "silence": (("-af", "volume=0"), "quieter|missing"),
    "silence from the middle": (("-af", "volume=0:enable='gt(t,2)'"), "the sound is missing from 3 s on"),
    "too quiet": (("-af", "volume=0.1"), "quieter than in the source"),
}


@pytest.mark.integration
@pytest.mark.parametrize("name", ["right", *WRONG])
def test_a_wrong_output_is_found(make: Make, tmp_path: Path, name: str) -> None:
    source = make("film.mp4", *H264, inputs=(FILM, "sine=duration=6"))
    options, said = WRONG.get(name, ((), ""))
    run_ffmpeg("-i", str(source), *H264, *options, "-t", "6", "-movflags", "+faststart", str(tmp_path / "video.mp4"))
    media = probe(ffmpeg.locate(), source, LIMITS)
    if not said:
        check(source, media, tmp_path, "mp4")
        return
    with pytest.raises(OutputDiffers, match=said):
        check(source, media, tmp_path, "mp4")


@pytest.mark.integration
def test_another_shape_is_found(make: Make, tmp_path: Path) -> None:
    source = make("film.mp4", *H264)
    run_ffmpeg("-i", str(source), *H264, "-vf", "scale=320:180", "-movflags", "+faststart", str(tmp_path / "video.mp4"))
    media = replace(probe(ffmpeg.locate(), source, LIMITS), height=180)
    with pytest.raises(OutputDiffers, match=r"has the shape 1\.78:1, and 1\.33:1 was expected"):
        check(source, media, tmp_path, "mp4")


@pytest.mark.integration
def test_encoding_is_checked_before_it_is_called_done(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = make("film.mp4", *H264), tmp_path / "out"
    out.mkdir()
    whole = arguments.commands

    def flipped(*given: object) -> list[list[str]]:
        [command] = whole(*given)  # type: ignore[arg-type]
        return [[word.replace("setsar=sar=1[", "setsar=sar=1,hflip[") for word in command]]

    monkeypatch.setattr(arguments, "commands", flipped)
    media = probe(ffmpeg.locate(), source, LIMITS)
    with pytest.raises(OutputDiffers, match="differs from the source"):
        encode(ffmpeg.locate(), source, media, defined("mp4"), out, LIMITS, lambda _: None, threading.Event())

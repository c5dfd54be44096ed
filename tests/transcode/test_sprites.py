"""Sprites: each part of the image is the picture that the film shows at the time that the index names."""

import re
import threading
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import pytest

from dumacle_cli.errors import OutputDiffers
from dumacle_cli.local import ffmpeg
from dumacle_cli.transcode import playlists, sprites
from dumacle_cli.transcode.likeness import compare_pictures
from dumacle_cli.transcode.probe import Media, probe, source_of
from dumacle_cli.transcode.reference import Reference
from tests.presets import defined
from tests.transcode.conftest import LIMITS, Make, run_ffmpeg
from tests.transcode.test_presets import transcode

pytestmark = pytest.mark.integration
FAST = ("-c:v", "libx264", "-preset", "ultrafast")
# A picture becomes brighter by 8 of 255 each second.
RISING = "color=black:size=320x180:rate=25:duration=25,format=gray,geq=lum=16+8*floor(T)"
CUE = re.compile(r"(\d\d):(\d\d):(\d\d\.\d{3}) --> \S+\nsprite\.jpg#xywh=(\d+),(\d+),(\d+),(\d+)\n")


def cues(out: Path) -> list[tuple[float, int, int, int, int]]:
    found = CUE.findall((out / "sprite.vtt").read_text() + "\n")
    return [(int(h) * 3600 + int(m) * 60 + float(s), *map(int, rest)) for h, m, s, *rest in found]  # type: ignore[misc]


def brightness(path: Path, x: int, y: int, width: int, height: int) -> float:
    area = f"crop={width}:{height}:{x}:{y},scale=1:1:flags=area,format=gray"
    return run_ffmpeg("-i", str(path), "-vf", area, "-f", "rawvideo", "-")[0]


def test_each_part_is_the_picture_of_its_time(make: Make) -> None:
    encoded, out = transcode(make("film.mp4", *FAST, inputs=(RISING,)), "sprite", seconds=2)
    assert (encoded.kind, encoded.entry, encoded.files) == ("sprite", "sprite.vtt", ["sprite.jpg", "sprite.vtt"])
    parts = cues(out)
    assert [time for time, *_ in parts] == [2.0 * number for number in range(13)]
    assert parts[11][1:] == (160, 90, 160, 90)
    with av.open(str(out / "sprite.jpg")) as image:
        assert (image.streams.video[0].width, image.streams.video[0].height) == (1600, 180)
    assert (encoded.width, encoded.height) == (1600, 180)
    levels = [brightness(out / "sprite.jpg", *part) for _, *part in parts]
    steps = [later - level for level, later in pairwise(levels)]
    assert all(step == pytest.approx(16 * 255 / 219, abs=4) for step in steps), levels


def test_an_upright_short_film_has_a_small_image(make: Make) -> None:
    encoded, out = transcode(make("film.mkv", *FAST, inputs=("testsrc2=size=180x320:rate=30:duration=5",)), "sprite")
    assert (encoded.width, encoded.height) == (90, 160)
    assert cues(out) == [(0.0, 0, 0, 90, 160)]
    assert "00:00:00.000 --> 00:00:05.000" in (out / "sprite.vtt").read_text()


def test_a_long_film_has_at_most_500() -> None:
    film = Media(6 * 3600, (), "h264", 1920, 1080, 6 * 3600 * 25, Fraction(25))
    made = sprites.grid(film, defined("sprite"))  # type: ignore[arg-type]
    assert (made.count, made.image.width, made.image.height) == (500, 1600, 4500)
    assert made.time(499) < film.duration <= made.time(500)


def test_another_picture_in_it_is_found(make: Make) -> None:
    source = make("film.mp4", *FAST, inputs=("testsrc2=size=320x180:rate=25:duration=25",))
    _, out = transcode(source, "sprite", seconds=2)
    run_ffmpeg("-i", str(out / "sprite.jpg"), "-vf", "drawbox=320:90:160:90:white:fill", str(out / "changed.jpg"))
    (out / "changed.jpg").replace(out / "sprite.jpg")
    media, stop = probe(ffmpeg.locate(), source, LIMITS), threading.Event()
    reference = Reference(ffmpeg.locate(), source_of(source, media), LIMITS, stop)
    with pytest.raises(OutputDiffers, match="the picture of the sprite differs"):
        compare_pictures(reference, out, media, defined("sprite"), [], LIMITS, stop)


def test_a_link_names_the_image_by_a_link() -> None:
    text = "WEBVTT\n\n00:00:00.000 --> 00:00:10.000\nsprite.jpg#xywh=0,0,160,90\n"
    signed = playlists.signed({"sprite.vtt": text}, "sprite.vtt", lambda path: f"https://store/{path}?signature")
    assert signed == {"sprite.vtt": text.replace("sprite.jpg", "https://store/sprite.jpg?signature")}

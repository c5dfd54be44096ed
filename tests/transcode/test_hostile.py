"""What is uploaded to do harm, or arrived broken: refused soon, with nothing opened that it names."""

import random
import socket
import struct
import threading
import time
import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from dumacle_cli.errors import BadMedia, OutputBroken, ToolFailed
from dumacle_cli.local import ffmpeg
from dumacle_cli.transcode.encode import encode
from dumacle_cli.transcode.limits import Limits
from dumacle_cli.transcode.probe import probe
from tests.presets import defined
from tests.transcode.conftest import LIMITS, Make

pytestmark = pytest.mark.integration
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac")
# Against hanging and bombs, which take minutes; a busy machine may take seconds.
SOON = 30

HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:6\n{key}#EXTINF:6,\n{link}/a.ts\n#EXT-X-ENDLIST\n"
TEXTS = {
    "hls": HLS.format(key="", link="{link}"),
    "hls-key": HLS.format(key='#EXT-X-KEY:METHOD=AES-128,URI="{link}/key"\n', link="{link}"),
    "dash": (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'mediaPresentationDuration="PT2S"><Period><AdaptationSet mimeType="video/mp4"><Representation id="1" '
        'bandwidth="1"><BaseURL>{link}/a.mp4</BaseURL></Representation></AdaptationSet></Period></MPD>'
    ),
    "ffconcat": "ffconcat version 1.0\nfile film.mp4\n",
    "svg": '<svg xmlns="http://www.w3.org/2000/svg"><image href="{link}/a.png"/></svg>',
    "prose": "once upon a time there was a film\n" * 100,
    "nothing": "",
}


def encode_anyway(source: Path, healthy: Path, out: Path) -> None:
    """Encode `source` as if it had been probed to be like `healthy`."""
    out.mkdir()
    media = probe(ffmpeg.locate(), healthy, LIMITS)
    encode(ffmpeg.locate(), source, media, defined("mp4"), out, LIMITS, lambda _: None, threading.Event())


@pytest.mark.parametrize("kind", TEXTS)
def test_text_in_disguise_opens_nothing(make: Make, tmp_path: Path, kind: str) -> None:
    healthy = make("film.mp4", *H264)
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.setblocking(False)
        source = tmp_path / "disguised.mp4"
        source.write_text(TEXTS[kind].replace("{link}", f"http://127.0.0.1:{trap.getsockname()[1]}"))
        began = time.monotonic()
        with pytest.raises(BadMedia):
            probe(ffmpeg.locate(), source, LIMITS)
        with pytest.raises((BadMedia, ToolFailed)):
            encode_anyway(source, healthy, tmp_path / "out")
        assert time.monotonic() - began < SOON
        with pytest.raises(BlockingIOError):
            trap.accept()


def png(side: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = zlib.compress(bytes((side // 8 + 1) * side))
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("name", ["huge.png", "huge.mp4"])
def test_a_huge_picture_is_not_decoded(tmp_path: Path, name: str) -> None:
    source = tmp_path / name
    source.write_bytes(png(16_000))
    began = time.monotonic()
    with pytest.raises(BadMedia):
        probe(ffmpeg.locate(), source, LIMITS)
    assert time.monotonic() - began < SOON


def test_more_pixels_than_allowed(make: Make) -> None:
    with pytest.raises(BadMedia):
        probe(ffmpeg.locate(), make("film.mp4", *H264), Limits(max_pixels=320 * 240 - 1))
    assert probe(ffmpeg.locate(), make("film.mp4", *H264), Limits(max_pixels=320 * 240)).width == 320


def test_two_frames_ten_hours_apart(make: Make) -> None:
    source = make("gap.mkv", *H264, "-an", "-vf", "setpts=N*36000/TB", "-frames:v", "2", "-fps_mode", "vfr")
    assert source.stat().st_size < 100_000
    began = time.monotonic()
    with pytest.raises(BadMedia, match="lasts"):
        probe(ffmpeg.locate(), source, LIMITS)
    assert time.monotonic() - began < SOON


@pytest.mark.parametrize("codec", ["magicyuv", "zmbv", "snow"])
def test_decoders_that_are_not_listed_stay_unused(make: Make, codec: str) -> None:
    with pytest.raises(BadMedia, match="is not accepted"):
        probe(ffmpeg.locate(), make("film.mkv", "-c:v", codec, "-strict", "-2", "-an"), LIMITS)


@pytest.mark.parametrize("name", ["front.mp4", "behind.mp4", "film.mkv", "film.avi", "film.mov"])
def test_a_source_that_is_cut_off_fails(make: Make, tmp_path: Path, name: str) -> None:
    front = ("-movflags", "+faststart") if name.startswith("front") else ()
    whole = make(f"whole-{name}", *H264, *front, inputs=("testsrc2=size=320x240:rate=25:duration=8",))
    cut = tmp_path / name
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    with pytest.raises(BadMedia):
        probe(ffmpeg.locate(), cut, LIMITS)
    with pytest.raises((BadMedia, OutputBroken)):
        encode_anyway(cut, whole, tmp_path / "out")


def test_damage_in_the_middle_fails(make: Make, tmp_path: Path) -> None:
    whole = make("whole.mp4", *H264, inputs=("testsrc2=size=320x240:rate=25:duration=8",))
    content = bytearray(whole.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 20_000] = bytes(20_000)
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(content)
    with pytest.raises((BadMedia, OutputBroken)):
        encode_anyway(damaged, whole, tmp_path / "out")


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadMedia, match="No such file"):
        probe(ffmpeg.locate(), tmp_path / "none.mp4", LIMITS)


MANGLED = {
    **{
        f"a.{name}": ()
        for name in ("gif", "apng", "mxf", "webp", "png", "bmp", "tiff", "aiff", "caf", "wv", "ac3", "m2v")
    },
    "a.wmv": ("-c:v", "wmv2", "-c:a", "wmav2"),
    "a.rm": ("-c:v", "rv20", "-s", "176x144"),
    "a.avi": ("-c:v", "cinepak", "-c:a", "adpcm_ms"),
    "a.mov": ("-c:v", "qtrle"),
    "a.ivf": ("-c:v", "libvpx", "-deadline", "realtime"),
    "a.mkv": ("-c:v", "ffv1"),
}


@pytest.mark.parametrize("name", MANGLED)
def test_a_mangled_file_of_each_kind_is_read_or_refused(make: Make, tmp_path: Path, name: str) -> None:
    inputs = ("testsrc2=size=176x144:rate=25:duration=0.4", "sine=duration=0.4:sample_rate=48000")
    still = ("-frames:v", "1") if name in ("a.webp", "a.png", "a.bmp", "a.tiff") else ()
    content = make(name, *MANGLED[name], *still, inputs=inputs).read_bytes()
    numbers = random.Random(name)
    mangled = bytearray(content)
    for _ in range(1 + len(content) // 500):
        mangled[numbers.randrange(len(content))] = numbers.randrange(256)
    source = tmp_path / "mangled"
    source.write_bytes(mangled)
    began = time.monotonic()
    try:
        media = probe(ffmpeg.locate(), source, LIMITS)
    except BadMedia:
        media = None
    assert media is None or media.duration < LIMITS.max_seconds
    assert time.monotonic() - began < SOON


def test_reading_is_bounded(make: Make) -> None:
    with pytest.raises(BadMedia, match=r"within|ended with|more time"):
        probe(ffmpeg.locate(), make("film.mp4", *H264), replace(LIMITS, read_seconds=0))

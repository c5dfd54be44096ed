"""Captions inside the pictures (CEA-608 and 708) stay there, whatever happens to the pictures, and are announced."""

import re
from pathlib import Path

import pytest

from tests.transcode.conftest import Make, Transcode, run_ffmpeg

pytestmark = pytest.mark.integration
SMALL = "size=160x120:rate={rate}:duration=3"
RAW = ("-an", "-c:v", "libx264", "-bf", "0", "-g", "25", "-x264-params", "slices=1", "-f", "h264")
# Load a text, its row, the text, and show it. Twice, as broadcasters do.
HI = ((0x14, 0x20), (0x14, 0x20), (0x14, 0x70), (0x14, 0x70), (0x48, 0x49), (0x14, 0x2F), (0x14, 0x2F))
# What a programme is called is there, too.
NO_TEXT = ((0x01, 0x03), (0x48, 0x49), (0x0F, 0x2B))
PICTURE = re.compile(rb"\x00\x00\x00?\x01(?=[\x61\x65\x41\x01\x21\x25])")


def odd(value: int) -> int:
    return value | (0x80 if value.bit_count() % 2 == 0 else 0)


def message(kind: int, pair: tuple[int, int]) -> bytes:
    """One picture's captions as supplemental information of H.264 (SEI)."""
    body = b"\xb5\0\x31GA94\3" + bytes([0x41, 0xFF, 0xFC | kind, *map(odd, pair), 0xFF])
    return b"\0\0\1\6" + bytes([4, len(body)]) + body + b"\x80"


def captioned(raw: Path, pairs: tuple[tuple[int, int], ...], kind: int = 0) -> Path:
    """Put captions into the pictures of a raw stream from the twentieth on."""
    given = [(0, 0)] * 20 + list(pairs)
    count = -1

    def before(start: re.Match[bytes]) -> bytes:
        nonlocal count
        count += 1
        return message(kind, given[count] if count < len(given) else (0, 0)) + start[0]

    film = raw.with_suffix(".mp4")
    raw.write_bytes(PICTURE.sub(before, raw.read_bytes()))
    run_ffmpeg("-i", str(raw), "-c", "copy", str(film))
    return film


def told(out: Path) -> list[str]:
    return re.findall(r"INSTREAM-ID=\"(\w+)\"", (out / "master.m3u8").read_text())


def read(playlist: Path) -> str:
    """What FFmpeg itself reads in the captions of a video."""
    joined = playlist.parent / "joined.mp4"
    run_ffmpeg("-i", str(playlist), "-c", "copy", str(joined))
    return run_ffmpeg("-f", "lavfi", "-i", f"movie={joined}[out0+subcc]", "-map", "s", "-f", "srt", "-").decode()


@pytest.mark.parametrize(
    ("pairs", "kind", "named"),
    [
        *((HI, 1, ["CC3"]), (NO_TEXT, 1, []), (HI, 3, ["SERVICE1"])),
        (tuple((first | 8 if first == 0x14 else first, second) for first, second in HI), 0, ["CC2"]),
    ],
)
def test_captions_are_announced_if_there_are_some(
    make: Make, transcode: Transcode, pairs: tuple[tuple[int, int], ...], kind: int, named: list[str]
) -> None:
    raw = make("film.h264", *RAW, inputs=(f"testsrc2={SMALL.format(rate=25)}",))
    _, out = transcode(captioned(raw, pairs, kind), "hls")
    assert told(out) == named
    wanted = 'CLOSED-CAPTIONS="captions"' if named else "CLOSED-CAPTIONS=NONE"
    variants = [line for line in (out / "master.m3u8").read_text().splitlines() if "STREAM-INF:" in line]
    assert all(wanted in line for line in variants if "I-FRAME" not in line)


@pytest.mark.parametrize("rate", [25, 120])
def test_captions_are_shown_when_they_were(make: Make, transcode: Transcode, rate: int) -> None:
    raw = make(
        "film.h264", *RAW, inputs=(f"mandelbrot={SMALL.format(rate=rate)}".replace(":duration=3", ",trim=end=3"),)
    )
    film = captioned(raw, HI)
    before = read(film)
    assert "HI" in before
    encoded, out = transcode(film, "hls")
    assert told(out) == ["CC1"]
    after = read(out / encoded.rungs[0]["name"] / "index.m3u8")
    start, later = (re.findall(r"(\d\d),(\d\d\d) -->", said)[0] for said in (before, after))
    assert "HI" in after
    assert int(later[0]) + int(later[1]) / 1000 == pytest.approx(int(start[0]) + int(start[1]) / 1000, abs=0.3)

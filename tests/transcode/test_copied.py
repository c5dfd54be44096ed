"""Video that is already what the largest size shall be is copied, and everything else encoded around it."""

import hashlib
import re
from pathlib import Path

import av
import pytest

from dumacle_cli.local import ffmpeg
from dumacle_cli.services.definitions import Preset
from dumacle_cli.transcode import arguments, charge
from dumacle_cli.transcode.probe import probe
from tests.presets import defined
from tests.transcode.conftest import LIMITS, Make, run_ffmpeg
from tests.transcode.test_presets import transcode

pytestmark = pytest.mark.integration
FILM = ("testsrc2=size=640x360:rate=24000/1001:duration=16", "sine=duration=16")
# Lean, with key frames at irregular times, at most 2 s apart.
LEAN = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-b:v", "300k", "-c:a", "aac")
# Less fast, but with pictures that depend on later ones.
DEEP = ("-preset", "veryfast")
CUTS = ("-force_key_frames", "0,1.3,4.4,9.1,11", "-g", "48")


def copied(source: Path, preset: Preset) -> list[str]:
    return [rung.name for rung in arguments.rungs(probe(ffmpeg.locate(), source, LIMITS), preset) if rung.copied]


def shown(path: Path, stream: int = 0) -> list[bytes]:
    with av.open(str(path)) as container:
        frames = container.decode(container.streams.video[stream])
        return [hashlib.sha256(bytes(frame.planes[0])).digest() for frame in frames]


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv"])
def test_the_largest_size_of_a_ladder_is_the_source_itself(make: Make, name: str) -> None:
    source = make(name, *LEAN, *CUTS, inputs=FILM)
    assert copied(source, defined("hls")) == ["360p"]
    encoded, out = transcode(source, "hls")
    assert [rung["name"] for rung in encoded.rungs] == ["234p", "360p"]
    assert shown(out / "360p/index.m3u8") == shown(source)
    assert shown(out / "234p/index.m3u8") != shown(source)
    small, large = ((out / size / "index.m3u8").read_text() for size in ("234p", "360p"))
    times = re.compile(r"#EXTINF:.*")
    assert times.findall(small) == times.findall(large)
    lengths = [float(each.strip("#EXTINF:,")) for each in times.findall(large)]
    assert len(lengths) == 3
    assert max(lengths) <= 8
    assert encoded.rungs[-1]["bitrate"] <= 310_000


def test_a_film_of_one_size_is_copied_for_a_tenth(make: Make) -> None:
    source = make("film.mkv", *LEAN, *CUTS, inputs=FILM)
    media = probe(ffmpeg.locate(), source, LIMITS)
    assert copied(source, defined("mp4")) == ["360p"]
    assert charge.seconds(media, defined("mp4")) == 2
    assert charge.seconds(media, defined("hls")) == 17
    encoded, out = transcode(source, "mp4")
    assert shown(out / "video.mp4") == shown(source)
    assert encoded.frames == media.frames


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("few key frames.mp4", ("-g", "49", "-keyint_min", "49", "-sc_threshold", "0")),
        ("another format.mp4", ("-pix_fmt", "yuv444p")),
        ("another codec.mp4", ("-c:v", "libx265", "-x265-params", "log-level=error")),
        ("too many bits.mp4", ("-b:v", "4M", "-minrate", "4M", "-maxrate", "4M", "-bufsize", "1M", "-nal-hrd", "cbr")),
        ("open groups.mp4", (*DEEP, "-x264-params", "open-gop=1:keyint=24")),
        ("wide pixels.mp4", ("-vf", "setsar=4/3")),
        (
            "uneven.mkv",
            ("-vf", "settb=1/1000,setpts=PTS+20*mod(N\\,2)", "-fps_mode", "vfr", "-enc_time_base", "1/1000"),
        ),
        ("odd.mkv", ("-vf", "setpts=PTS+2/TB")),
        ("shorter than its sound.mp4", ("-vf", "trim=end=12")),
    ],
)
def test_what_does_not_fit_is_encoded(make: Make, name: str, options: tuple[str, ...]) -> None:
    source = make(name, *LEAN, *CUTS, *options, inputs=FILM)
    assert copied(source, defined("hls")) == []


def test_in_one_file_key_frames_may_be_far_apart(make: Make) -> None:
    often = make("often.mp4", *LEAN, "-g", "250", "-sc_threshold", "0", inputs=FILM)
    assert copied(often, defined("mp4")) == ["360p"]
    assert copied(often, defined("hls")) == []
    seldom = make("seldom.mp4", *LEAN, "-g", "300", "-sc_threshold", "0", inputs=FILM)
    assert copied(seldom, defined("mp4")) == []


@pytest.mark.parametrize("changed", [{"max_fps": 30}, {"codec": "hevc"}, {"largest": 234}])
def test_what_the_preset_wants_otherwise_is_encoded(make: Make, changed: dict[str, object]) -> None:
    source = make("film.mp4", *LEAN, *CUTS, inputs=(FILM[0].replace("24000/1001", "50"), FILM[1]))
    preset = defined("hls", video=changed)
    media = arguments.paced(probe(ffmpeg.locate(), source, LIMITS), preset)
    assert media.keys or "max_fps" in changed
    assert [rung for rung in arguments.rungs(media, preset) if rung.copied] == []


def test_a_turned_film_is_encoded(make: Make, tmp_path: Path) -> None:
    source, turned = make("film.mp4", *LEAN, *CUTS, inputs=FILM), tmp_path / "turned.mp4"
    run_ffmpeg("-display_rotation", "180", "-i", str(source), "-c", "copy", str(turned))
    assert copied(turned, defined("hls")) == []


def test_what_cannot_be_copied_after_all_is_encoded(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a stream has other key frames than its container says."""
    source = make("film.mp4", *LEAN, *CUTS, inputs=FILM)
    monkeypatch.setattr("dumacle_cli.transcode.probe._keys", lambda *_: (0, 100, 200))
    encoded, out = transcode(source, "hls")
    assert shown(out / "360p/index.m3u8") != shown(source)
    assert encoded.rungs[-1]["frames"] == encoded.frames


def test_a_damaged_film_is_not_copied(make: Make, tmp_path: Path) -> None:
    source = make("film.mp4", *LEAN, *DEEP, *CUTS, inputs=FILM)
    body = bytearray(source.read_bytes())
    for at in range(len(body) // 2, len(body) // 2 + 300):
        body[at] ^= 0x55
    source.write_bytes(body)
    encoded, out = transcode(source, "mp4")
    assert encoded.damaged > 0
    assert shown(out / "video.mp4") != shown(source)


def test_a_lean_film_that_would_lose_pictures_gets_as_many_bits_as_usual(make: Make) -> None:
    """Greys that change take next to nothing; x264 leaves some of them out rather than take more."""
    greys = "color=size=64x64:rate=25:duration=15,geq=lum='20+mod(N*7,200)':cb=128:cr=128"
    source = make("greys.mp4", *LEAN[:2], *DEEP, "-x264-params", "open-gop=1:keyint=60:bframes=3", inputs=(greys,))
    media = probe(ffmpeg.locate(), source, LIMITS)
    assert arguments.rungs(media, defined("hls"))[-1].lean
    encoded, _ = transcode(source, "hls")
    assert encoded.rungs[-1]["bitrate"] > media.bitrate

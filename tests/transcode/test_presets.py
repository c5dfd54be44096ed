"""What the fields of a preset change: the codec, the rate of pictures, the loudness; FFmpeg itself is asked."""

import re
import subprocess
import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from dumacle_cli.local import ffmpeg
from dumacle_cli.transcode.arguments import paced
from dumacle_cli.transcode.encode import Encoded, encode
from dumacle_cli.transcode.probe import probe
from tests.presets import defined
from tests.transcode.conftest import LIMITS, Make

pytestmark = pytest.mark.integration
FAST = ("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac")


def transcode(source: Path, name: str, **changed: Any) -> tuple[Encoded, Path]:
    out = source.parent / f"out-{name}-{len(list(source.parent.iterdir()))}"
    out.mkdir()
    chosen = defined(name, **changed)
    media = paced(probe(ffmpeg.locate(), source, LIMITS), chosen)
    return encode(ffmpeg.locate(), source, media, chosen, out, LIMITS, lambda _: None, threading.Event()), out


def loudness(path: Path) -> float:
    command = [str(ffmpeg.locate()), "-nostdin", "-i", str(path), "-af", "ebur128=framelog=quiet", "-f", "null", "-"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    return float(re.findall(r"I:\s+(-?[\d.]+) LUFS", said)[-1])


@pytest.mark.parametrize(("codec", "called"), [("hevc", r"hvc1\.1\.6\.L\d+\.90"), ("av1", r"av01\.0\.0\dM\.08")])
def test_another_codec_is_data(make: Make, codec: str, called: str) -> None:
    source = make("film.mp4", *FAST, inputs=("testsrc2=size=640x360:rate=25:duration=7", "sine=duration=7"))
    encoded, out = transcode(source, "hls", video={"codec": codec})
    assert [rung["name"] for rung in encoded.rungs] == ["234p", "360p"]
    assert len(re.findall(rf'CODECS="{called},mp4a\.40\.2"', (out / "master.m3u8").read_text())) == 2
    with av.open(str(out / "master.m3u8")) as container:
        assert {stream.codec_context.codec.canonical_name for stream in container.streams.video} == {codec}
    encoded, out = transcode(source, "mp4", video={"codec": codec, "quality": 40})
    assert encoded.frames == 175


@pytest.mark.parametrize(("fast", "most", "rate"), [("50", 30, 25), ("50", 60, 50), ("60000/1001", 30, 30000 / 1001)])
def test_fast_pictures_are_kept_or_halved(make: Make, fast: str, most: int, rate: float) -> None:
    source = make("film.mp4", *FAST, inputs=(f"testsrc2=size=320x240:rate={fast}:duration=2", "sine=duration=2"))
    _, out = transcode(source, "mp4", video={"max_fps": most})
    with av.open(str(out / "video.mp4")) as container:
        [stream] = container.streams.video
        assert stream.average_rate == Fraction(rate).limit_denominator(1001)
        assert sum(1 for _ in container.decode(stream)) == round(2 * rate)


PEAKS = r"aevalsrc=(0.05+0.4*lt(mod(t\,2)\,0.005))*sin(440*2*PI*t)|0.05*sin(440*2*PI*t):d=4"


@pytest.mark.parametrize("sound", ["sine=duration=4", PEAKS])
def test_sound_is_as_loud_as_the_preset_wants(make: Make, sound: str) -> None:
    source = make("sound.wav", inputs=(sound,))
    for wanted in (-23, -16):
        _, out = transcode(source, "audio", audio={"loudness": wanted})
        assert loudness(out / "audio.m4a") == pytest.approx(wanted, abs=1)
    _, kept = transcode(source, "audio")
    assert loudness(kept / "audio.m4a") == pytest.approx(loudness(source), abs=3.2)


def test_silence_stays_silent(make: Make) -> None:
    source = make("silence.wav", inputs=("anullsrc=duration=3",))
    _, out = transcode(source, "audio", audio={"loudness": -23})
    assert loudness(out / "audio.m4a") <= -70

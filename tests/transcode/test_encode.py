"""Real sources through real FFmpeg, and what came out as FFmpeg itself reads it."""

import re
import threading
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from dumacle_cli.errors import BadMedia
from dumacle_cli.local import ffmpeg
from dumacle_cli.transcode import arguments
from dumacle_cli.transcode.encode import encode
from dumacle_cli.transcode.probe import probe
from tests.presets import defined
from tests.transcode.conftest import LIMITS, Make, Transcode, run_ffmpeg

pytestmark = pytest.mark.integration
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac")
SMALL = "testsrc2=size=640x360:rate=25"
FIVE_ONE = "sine=duration=2,pan=5.1|c0=c0|c1=c0|c2=c0|c3=c0|c4=c0|c5=c0"


def stamps(path: Path, stream: str = "0:v") -> list[int]:
    """The presentation time of each frame that FFmpeg decodes, in units of the stream."""
    lines = run_ffmpeg("-i", str(path), "-map", stream, "-f", "framemd5", "-").decode().splitlines()
    return [int(line.split(",")[2]) for line in lines if not line.startswith("#")]


def colours(path: Path, stream: str = "0:v:0") -> list[int]:
    """The average brightness of each frame, 0 to 255."""
    return list(
        run_ffmpeg("-i", str(path), "-map", stream, "-vf", "scale=1:1:flags=area,format=gray", "-f", "rawvideo", "-")
    )


def loudness(path: Path) -> list[int]:
    """The sound as samples of 1 ms, 0 to 255, 128 being silence."""
    return list(run_ffmpeg("-i", str(path), "-map", "0:a:0", "-ac", "1", "-ar", "1000", "-f", "u8", "-"))


def test_hls_has_the_same_pictures_on_every_rung(make: Make, transcode: Transcode) -> None:
    source = make("film.mp4", *H264, "-ac", "6", inputs=("testsrc2=size=854x480:rate=24:duration=7", FIVE_ONE))
    encoded, out = transcode(source, "hls")
    assert [rung["name"] for rung in encoded.rungs] == ["234p", "360p", "432p", "480p"]
    assert {rung["frames"] for rung in encoded.rungs} == {168}
    assert (encoded.kind, encoded.entry, encoded.width, encoded.height) == ("hls", "master.m3u8", 854, 480)
    assert (encoded.frames, encoded.duration_ms) == (168, 7_000)
    times = [stamps(out / f"{rung['name']}/index.m3u8") for rung in encoded.rungs]
    assert len(times[0]) == 168
    assert all(other == times[0] for other in times)
    cuts = [re.findall("#EXTINF:(.*),", (out / f"{rung['name']}/index.m3u8").read_text()) for rung in encoded.rungs]
    assert cuts == [["6.000000", "1.000000"]] * 4


@pytest.mark.parametrize("keys", ["250", "25"], ids=["encoded", "largest copied"])
def test_after_a_crash_sizes_are_encoded_one_by_one(
    make: Make, transcode: Transcode, keys: str, tmp_path: Path
) -> None:
    source = make("film.mp4", *H264, "-g", keys, "-b:v", "300k", inputs=(f"{SMALL}:duration=12", "sine=duration=12"))
    together, _ = transcode(source, "hls")
    told = list[int]()
    (out := tmp_path / "apart").mkdir()
    media, limits = probe(ffmpeg.locate(), source, LIMITS), replace(LIMITS, cores=1)
    runs = arguments.commands(ffmpeg.locate(), source, media, defined("hls"), limits)
    assert len(runs) == len([rung for rung in arguments.rungs(media, defined("hls")) if not rung.copied])
    apart = encode(ffmpeg.locate(), source, media, defined("hls"), out, limits, told.append, threading.Event())
    assert replace(apart, bitrate=0, rungs=[]) == replace(together, bitrate=0, rungs=[])
    assert [rung["frames"] for rung in apart.rungs] == [rung["frames"] for rung in together.rungs]
    assert told == sorted(told)
    assert told[-1] == 99


def test_hls_names_every_file_in_the_order_of_publication(make: Make, transcode: Transcode) -> None:
    encoded, out = transcode(make("film.mp4", *H264), "hls")
    assert sorted(encoded.files) == sorted(path.relative_to(out).as_posix() for path in out.rglob("*.*"))
    kinds = [{"m4s": 0, "mp4": 0, "m3u8": 1}[name.rsplit(".", 1)[1]] for name in encoded.files[:-1]]
    assert kinds == sorted(kinds)
    assert encoded.files[-1] == encoded.entry


def test_the_master_tells_the_truth(make: Make, transcode: Transcode) -> None:
    encoded, out = transcode(make("film.mp4", *H264), "hls")
    master = (out / encoded.entry).read_text()
    assert "RESOLUTION=312x234" in master
    assert re.search(r'CODECS="avc1\.6400[0-9a-f]{2},mp4a\.40\.2"', master)
    size = sum(path.stat().st_size for path in out.rglob("*.m4s") if path.parent.name in ("audio", "234p"))
    told = int(re.findall(r"AVERAGE-BANDWIDTH=(\d+).*RESOLUTION=312x234", master)[0])
    assert told == pytest.approx(size * 8 / 2, rel=0.05)
    assert len(stamps(out / encoded.entry, "0:v:0")) == 50


@pytest.mark.parametrize("preset", ["hls", "mp4"])
def test_sound_stays_with_the_picture(make: Make, transcode: Transcode, preset: str) -> None:
    flash = "color=white:size=320x240:rate=25:duration=3,geq=lum='if(lt(T,1),16,235)':cb=128:cr=128"
    tone = "aevalsrc=exprs='if(lt(t,1),0,0.8*sin(2*PI*200*t))':duration=3:sample_rate=48000"
    encoded, out = transcode(make("film.mkv", *H264, inputs=(flash, tone)), preset)
    seen = next(index for index, brightness in enumerate(colours(out / encoded.entry)) if brightness > 128) / 25
    heard = next(index for index, level in enumerate(loudness(out / encoded.entry)) if abs(level - 128) > 40) / 1000
    assert seen == pytest.approx(1, abs=0.021)
    assert heard == pytest.approx(1, abs=0.021)


def test_mp4_starts_at_once_and_is_plain(make: Make, transcode: Transcode) -> None:
    source = make("film.mov", "-c:v", "prores_ks", "-pix_fmt", "yuv422p10le", "-c:a", "pcm_s16le", "-ac", "6")
    encoded, out = transcode(source, "mp4")
    head = (out / encoded.entry).read_bytes()[:4096]
    assert head.index(b"moov") > 0
    assert b"mdat" not in head[: head.index(b"moov")]
    again = probe(ffmpeg.locate(), out / encoded.entry, LIMITS)
    assert (again.pix_fmt, again.video) == ("yuv420p", "h264")
    assert [(sound.codec, sound.channels) for sound in again.sounds] == [("aac", 2)]
    assert (encoded.frames, encoded.duration_ms, encoded.rungs) == (50, 2000, [])


@pytest.mark.parametrize("preset", ["audio", "mp4"])
def test_one_channel_stays_as_loud(make: Make, transcode: Transcode, preset: str) -> None:
    source = make("film.mp4", *H264, "-ac", "1", "-shortest")
    encoded, out = transcode(source, preset)
    before, after = (max(loudness(path)) for path in (source, out / encoded.entry))
    assert after == pytest.approx(before, abs=1)
    assert after - 128 > 10


def test_audio_alone(make: Make, transcode: Transcode) -> None:
    encoded, out = transcode(make("tone.wav", "-map", "1:a"), "audio")
    assert encoded.files == ["audio.m4a"]
    assert (encoded.width, encoded.frames) == (0, 0)
    assert encoded.duration_ms == pytest.approx(2000, abs=100)
    assert len(loudness(out / encoded.entry)) == pytest.approx(2000, abs=60)


@pytest.mark.parametrize("preset", ["hls", "mp4", "poster"])
def test_sound_alone_has_no_picture(make: Make, transcode: Transcode, preset: str) -> None:
    cover = ("-map", "0:a", "-map", "1:v", "-frames:v", "1", "-c:v", "mjpeg", "-disposition:v", "attached_pic")
    source = make("song.mp3", *cover, inputs=("sine=duration=2", "testsrc2=size=320x240"))
    with pytest.raises(BadMedia, match="no video"):
        transcode(source, preset)


EMPTY_TRACK = ("-af", "atrim=end=0.0,aformat=channel_layouts=stereo", "-c:a", "aac")


@pytest.mark.parametrize(("name", "sound"), [("film.mp4", ("-an",)), ("film.mkv", EMPTY_TRACK)])
def test_a_silent_film(make: Make, transcode: Transcode, name: str, sound: tuple[str, ...]) -> None:
    source = make(name, *H264, *sound)
    encoded, out = transcode(source, "hls")
    assert not (out / "audio").exists()
    assert "AUDIO" not in (out / encoded.entry).read_text()
    assert transcode(source, "mp4")[0].frames == 50
    with pytest.raises(BadMedia, match="no audio"):
        transcode(source, "audio")


def test_a_poster_is_from_a_tenth_into_the_film(make: Make, transcode: Transcode) -> None:
    ramp = "color=black:size=192x108:rate=10:duration=5,geq=lum='16+4*N':cb=128:cr=128,scale=1920:1080"
    source = make("film.mp4", *H264, inputs=(ramp,))
    encoded, out = transcode(source, "poster")
    assert (encoded.width, encoded.height, encoded.files) == (1280, 720, ["poster.jpg"])
    assert colours(out / "poster.jpg") == [pytest.approx(colours(source)[5], abs=1)]


@pytest.mark.parametrize("name", ["-y.mp4", "a:b.mp4", "%03d.mp4", "it's = [v],0;\\.mp4"])
def test_a_film_of_any_name(make: Make, transcode: Transcode, tmp_path: Path, name: str) -> None:
    source = make("film.mp4", *H264).rename(tmp_path / name)
    assert transcode(source, "hls")[0].frames == 50
    assert transcode(source, "poster")[0].files == ["poster.jpg"]


def test_a_film_of_one_frame(make: Make, transcode: Transcode) -> None:
    source = make("film.mp4", *H264, "-frames:v", "1", "-an")
    assert transcode(source, "hls")[0].frames == 1
    assert transcode(source, "poster")[0].frames == 1


def test_rotation_and_pixel_shape_are_honoured(make: Make, transcode: Transcode, tmp_path: Path) -> None:
    flat = make("flat.mp4", *H264, "-vf", "setsar=2/1")
    turned = tmp_path / "turned.mp4"
    run_ffmpeg("-display_rotation", "90", "-i", str(flat), "-c", "copy", str(turned))
    media = probe(ffmpeg.locate(), turned, LIMITS)
    assert (media.width, media.height) == (240, 640)
    encoded, out = transcode(turned, "mp4")
    again = probe(ffmpeg.locate(), out / encoded.entry, LIMITS)
    assert (again.width, again.height) == (240, 640)


def test_high_dynamic_range_is_mapped(make: Make, transcode: Transcode) -> None:
    tags = "colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc"
    ten = ("-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p10le", "-x265-params", f"log-level=0:{tags}")
    source = make("film.mp4", *ten, "-an")
    assert probe(ffmpeg.locate(), source, LIMITS).hdr == "smpte2084"
    encoded, out = transcode(source, "mp4")
    again = probe(ffmpeg.locate(), out / encoded.entry, LIMITS)
    assert (again.hdr, again.pix_fmt) == ("", "yuv420p")


@pytest.mark.parametrize(("profile", "refused"), [(5, True), (8, False)])
def test_dolby_vision_that_only_dolby_can_show_is_refused(make: Make, profile: int, refused: bool) -> None:
    ten = ("-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p10le", "-tag:v", "hvc1")
    source = make("film.mp4", *ten, "-an")
    film = bytearray(source.read_bytes())
    record = bytes([0, 0, 0, 32]) + b"dvcC" + bytes([1, 0, profile << 1, 0b11101]) + bytes(20)
    for box in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"hvc1"):
        at = film.index(box) - 4
        film[at : at + 4] = (int.from_bytes(film[at : at + 4], "big") + len(record)).to_bytes(4, "big")
    at = film.index(b"hvcC") - 4
    film[at:at] = record
    source.write_bytes(film)
    if refused:
        with pytest.raises(BadMedia, match="Dolby Vision profile 5"):
            probe(ffmpeg.locate(), source, LIMITS)
    else:
        assert probe(ffmpeg.locate(), source, LIMITS).video == "hevc"


@pytest.mark.parametrize(
    ("rate", "kept", "frames"),
    [("120", "60", 120), ("30000/1001", "30000/1001", 60), ("15", "15", 30), ("12.5", "25/2", 25)],
)
def test_rates(make: Make, transcode: Transcode, rate: str, kept: str, frames: int) -> None:
    source = make("film.mkv", *H264, "-an", inputs=(f"testsrc2=size=320x240:rate={rate}:duration=2",))
    assert str(probe(ffmpeg.locate(), source, LIMITS).fps) == kept
    assert transcode(source, "hls")[0].frames == frames


def test_a_variable_rate_becomes_constant(make: Make, transcode: Transcode) -> None:
    # Every third frame is missing, then a second without any.
    holes = "testsrc2=size=320x240:rate=30:duration=4,select='mod(n,3)*not(between(t,1,2))'"
    source = make("film.mkv", *H264, "-an", "-fps_mode", "vfr", inputs=(holes,))
    encoded, out = transcode(source, "hls")
    assert encoded.frames == pytest.approx(120, abs=1)
    times = stamps(out / "234p/index.m3u8")
    assert {later - earlier for earlier, later in pairwise(times)} == {times[1] - times[0]}


def test_interlaced_fields_are_joined(make: Make, transcode: Transcode) -> None:
    source = make("film.mpg", "-c:v", "mpeg2video", "-vf", "tinterlace=interleave_top", "-flags", "+ildct+ilme", "-an")
    assert probe(ffmpeg.locate(), source, LIMITS).interlaced
    encoded, _ = transcode(source, "mp4")
    assert encoded.frames == pytest.approx(25, abs=1)


def test_transport_streams_and_late_starts(make: Make, transcode: Transcode) -> None:
    source = make("film.ts", *H264, "-output_ts_offset", "1000")
    encoded, _ = transcode(source, "hls")
    assert encoded.frames == pytest.approx(50, abs=1)


def test_the_key_frames_stand_every_two_seconds(make: Make, transcode: Transcode) -> None:
    source = make("film.mp4", *H264, "-an", inputs=("testsrc2=size=640x360:rate=30000/1001:duration=20",))
    encoded, out = transcode(source, "hls")
    for rung in encoded.rungs:
        keys = run_ffmpeg("-skip_frame", "nokey", "-i", str(out / f"{rung['name']}/index.m3u8"), "-f", "framemd5", "-")
        assert len([line for line in keys.decode().splitlines() if not line.startswith("#")]) == 10
    cuts = re.findall("#EXTINF:(.*),", (out / "234p/index.m3u8").read_text())
    assert cuts == ["6.006000", "6.006000", "6.006000", "2.002000"]

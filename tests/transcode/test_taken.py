"""Sources as cameras, telephones, broadcasters and old programs make them, and what is shown and heard of them."""

import re
import threading
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from dumacle_cli.errors import BadMedia
from dumacle_cli.local import ffmpeg
from dumacle_cli.transcode.encode import encode
from dumacle_cli.transcode.probe import Media, probe
from tests.presets import defined
from tests.transcode.conftest import LIMITS, Make, Transcode, run_ffmpeg
from tests.transcode.test_encode import colours

pytestmark = pytest.mark.integration
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac")
SMALL = "testsrc2=size=160x120:rate=25:duration={0}"
HIGH, LOW = "sine=frequency=2000:duration=3", "sine=frequency=300:duration=3"


def read(path: Path) -> Media:
    return probe(ffmpeg.locate(), path, LIMITS)


# Pictures


def crop(path: Path, rows: int) -> None:
    """Make a Matroska file say that `rows` are to be cut off above and below; beside its range no colours."""
    content = path.read_bytes()
    colours = content.index(b"\x55\xb0\x88")
    cut = b"\x54\xbb\x81" + bytes([rows]) + b"\x54\xaa\x81" + bytes([rows]) + b"\xec\x81\x00"
    path.write_bytes(content[:colours] + cut + content[colours + len(cut) :])


@pytest.mark.parametrize("preset", ["mp4", "poster"])
def test_what_the_container_cuts_off_is_not_shown(make: Make, transcode: Transcode, preset: str) -> None:
    colours = ("-colorspace", "bt709", "-color_range", "tv")
    bars = "testsrc2=size=320x134:rate=25:duration=1,pad=320:180:0:23"
    source = make("film.mkv", *H264, *colours, "-write_crc32", "0", inputs=(bars,))
    crop(source, 23)
    encoded, _ = transcode(source, preset)
    assert (encoded.width, encoded.height) == (320, 134)


def combed(path: Path, *options: str) -> float:
    """The share of pixels that differ from both neighbours above and below."""
    size = 320, 240
    grey = ("-frames:v", "1", "-s", "320x240", "-pix_fmt", "gray", "-f", "rawvideo", "-")
    picture = run_ffmpeg("-i", str(path), *options, *grey)
    rows = [picture[at : at + size[0]] for at in range(0, size[0] * size[1], size[0])]
    return sum(
        (b - a) * (b - c) > 144
        for up, row, down in zip(rows, rows[1:], rows[2:], strict=False)
        for a, b, c in zip(up, row, down, strict=True)
    ) / (size[0] * size[1])


def test_a_poster_of_an_interlaced_film_shows_one_moment(make: Make, transcode: Transcode) -> None:
    woven = "testsrc2=size=320x240:rate=50:duration=2,tinterlace=mode=interleave_top,setfield=tff"
    source = make("tv.ts", "-c:v", "mpeg2video", "-flags", "+ildct+ilme", "-b:v", "6M", inputs=(woven,))
    _, out = transcode(source, "poster")
    film, best = combed(source, "-ss", "0.2"), combed(source, "-ss", "0.2", "-vf", "bwdif")
    assert combed(out / "poster.jpg") < (film + best) / 2 < film


def test_of_several_videos_the_default_is_shown(make: Make, transcode: Transcode) -> None:
    two = ("testsrc2=size=320x180:rate=25:duration=1", "testsrc2=size=160x120:rate=25:duration=1")
    chosen = ("-map", "0:v", "-map", "1:v", "-disposition:v:0", "0", "-disposition:v:1", "default")
    encoded, _ = transcode(make("two.mkv", *H264, *chosen, inputs=two), "poster")
    assert (encoded.width, encoded.height) == (160, 120)


def test_a_poster_of_a_stream_with_one_key_frame(make: Make, transcode: Transcode) -> None:
    source = make("one.ts", *H264, "-g", "1000", "-an", inputs=(SMALL.format(6),))
    assert transcode(source, "poster")[0].frames == 1


# Sound


def pitch(path: Path) -> int:
    """How often the sound rises through zero in its second second."""
    samples = memoryview(run_ffmpeg("-i", str(path), "-ac", "1", "-ar", "16000", "-f", "s16le", "-")).cast("h")
    return sum(a < 0 <= b for a, b in pairwise(samples[16000:32000]))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("-disposition:a:0", "comment"), ("-disposition:a:1", "default")),
        (("-disposition:a:0", "0"), ("-disposition:a:1", "default")),
        (("-disposition:a:0", "default+comment"), ("-disposition:a:1", "0")),
        (("-metadata:s:a:0", "title=Director's Commentary", "-disposition:a:0", "0"), ("-disposition:a:1", "0")),
        (("-c:a:0", "comfortnoise", "-ar:a:0", "8000"), ("-disposition:a:1", "0")),
    ],
    ids=["comment", "default", "default comment", "title", "unlisted"],
)
def test_the_sound_of_the_film_is_heard(
    make: Make, transcode: Transcode, first: tuple[str, ...], second: tuple[str, ...]
) -> None:
    sounds = ("-map", "0", "-map", "1", "-map", "2")
    if "comfortnoise" in first:
        first = ("-c:a:0", "wavpack", "-disposition:a:0", "comment")
    source = make("two.mkv", *sounds, *H264, *first, *second, inputs=(SMALL.format(3), LOW, HIGH))
    _, out = transcode(source, "audio")
    assert pitch(out / "audio.m4a") == pytest.approx(2000, abs=50)


def lasts(playlist: Path) -> float:
    return sum(float(seconds) for seconds in re.findall("#EXTINF:(.*),", playlist.read_text()))


@pytest.mark.parametrize(
    ("name", "picture", "sound"),
    [("cover.mp4", 0.04, 9), ("cover.mkv", 0.04, 9), ("short.mp4", 3, 9), ("quiet.mp4", 9, 2)],
)
def test_picture_and_sound_last_equally_long(
    make: Make, transcode: Transcode, name: str, picture: float, sound: float
) -> None:
    source = make(name, *H264, inputs=(SMALL.format(picture), f"sine=duration={sound}"))
    encoded, out = transcode(source, "hls")
    assert encoded.duration_ms == pytest.approx(9000, abs=60)
    assert lasts(out / "audio/index.m3u8") == pytest.approx(lasts(out / "120p/index.m3u8"), abs=0.1)


# Time


def test_a_clock_that_begins_late(make: Make, transcode: Transcode, tmp_path: Path) -> None:
    whole = make("whole.mp4", *H264)
    late, live = tmp_path / "late.mkv", tmp_path / "live.mp4"
    run_ffmpeg("-i", str(whole), "-c", "copy", "-output_ts_offset", "3600", str(late))
    pieces = "frag_keyframe+empty_moov+frag_discont+default_base_moof"
    shifted = ("-output_ts_offset", "20", "-avoid_negative_ts", "disabled", "-movflags", pieces)
    run_ffmpeg("-i", str(whole), "-c", "copy", *shifted, str(live))
    assert [read(late).frames, read(live).frames] == [pytest.approx(50, abs=2), pytest.approx(50, abs=2)]
    assert transcode(late, "mp4")[0].frames == pytest.approx(50, abs=2)


@pytest.mark.parametrize("name", ["slides.mp4", "slides.mkv"])
def test_slow_slides(make: Make, transcode: Transcode, name: str) -> None:
    slides = "testsrc2=size=160x120:rate=1/10:duration=30"
    encoded, _ = transcode(make(name, *H264, inputs=(slides, "sine=duration=30")), "mp4")
    assert encoded.duration_ms == pytest.approx(30_000, abs=1_000)


MOMENT = {
    "slides.mp4": (*H264, "-bf", "0", "-bsf:v", "setts=duration='if(eq(N,9),0.2/TB,DURATION)'"),
    "slides.gif": ("-final_delay", "20"),
}


@pytest.mark.parametrize("name", MOMENT)
@pytest.mark.parametrize("preset", ["mp4", "hls"])
def test_a_last_slide_that_is_shown_for_a_moment(make: Make, transcode: Transcode, name: str, preset: str) -> None:
    """Ten slides in greys, of which the last one lasts a fifth of a second instead of a whole one."""
    slides = "color=size=64x64:rate=1:duration=10,geq=lum='220-20*N':cb=128:cr=128"
    source = make(name, *MOMENT[name], inputs=(slides,))
    encoded, out = transcode(source, preset)
    assert (encoded.frames, encoded.duration_ms) == (10, 10_000)
    assert colours(out / encoded.entry) == pytest.approx(colours(source), abs=8)


def test_a_cut_off_film_is_found_beside_sparse_subtitles(make: Make, tmp_path: Path) -> None:
    texts = tmp_path / "texts.srt"
    texts.write_text("1\n00:00:00,000 --> 00:00:01,000\none\n\n2\n00:00:09,000 --> 00:00:10,000\ntwo\n")
    film = make("film.mkv", *H264, inputs=(SMALL.format(10), "sine=duration=10"))
    both, cut = tmp_path / "both.mkv", tmp_path / "cut.mkv"
    run_ffmpeg("-i", str(film), "-i", str(texts), "-map", "0", "-map", "1", "-c", "copy", str(both))
    cut.write_bytes(both.read_bytes()[: both.stat().st_size * 6 // 10])
    with pytest.raises(BadMedia, match="truncated"):
        read(cut)


# Damage


def lose(path: Path, times: int) -> Path:
    """Take three packets out of a transport stream, at `times` places."""
    packets = [path.read_bytes()[at : at + 188] for at in range(0, path.stat().st_size, 188)]
    for place in range(times, 0, -1):
        at = len(packets) * place // (times + 1)
        del packets[at : at + 3]
    lost = path.with_name("lost.ts")
    lost.write_bytes(b"".join(packets))
    return lost


def test_a_few_lost_packets_are_repaired_and_told(make: Make, transcode: Transcode) -> None:
    source = lose(make("whole.ts", *H264, "-g", "25", inputs=(SMALL.format(6), "sine=duration=6")), 1)
    encoded, _ = transcode(source, "mp4")
    assert encoded.frames == pytest.approx(150, abs=2)
    assert 0 < encoded.damaged < 0.02


def test_any_damage_is_refused_on_request(make: Make, tmp_path: Path) -> None:
    source = lose(make("whole.ts", *H264, "-g", "25", inputs=(SMALL.format(6), "sine=duration=6")), 1)
    out, strict = tmp_path / "out", replace(LIMITS, damage=0.0)
    out.mkdir()
    with pytest.raises(BadMedia, match="of it is damaged, and none is repaired"):
        encode(ffmpeg.locate(), source, read(source), defined("mp4"), out, strict, lambda _: None, threading.Event())


def test_more_damage_is_refused(make: Make, transcode: Transcode) -> None:
    source = lose(make("whole.ts", *H264, "-g", "25", inputs=(SMALL.format(6), "sine=duration=6")), 20)
    with pytest.raises(BadMedia, match=r"% of it is damaged, and at most 1 % is repaired"):
        transcode(source, "mp4")


def test_a_recording_may_begin_between_key_frames(make: Make, transcode: Transcode, tmp_path: Path) -> None:
    whole = make("whole.ts", *H264, "-g", "50", inputs=(SMALL.format(6), "sine=duration=6")).read_bytes()
    source = tmp_path / "tuned-in.ts"
    source.write_bytes(whole[len(whole) // 188 // 12 * 188 :])
    encoded, _ = transcode(source, "mp4")
    assert encoded.duration_ms == pytest.approx(5500, abs=300)
    assert encoded.damaged < 0.01


# Kinds

KINDS = {
    "a.gif": (),
    "a.apng": ("-plays", "1"),
    "a.wmv": ("-c:v", "wmv2", "-c:a", "wmav2"),
    "a.mxf": ("-c:v", "mpeg2video", "-c:a", "pcm_s16le"),
    "a.avi": ("-c:v", "cinepak", "-c:a", "adpcm_ms"),
    "a.mov": ("-c:v", "qtrle", "-c:a", "adpcm_ima_qt"),
    "a.rm": ("-c:v", "rv20", "-s", "176x144"),
    "a.m2v": ("-c:v", "mpeg2video"),
    "a.h264": ("-c:v", "libx264", "-preset", "ultrafast"),
    "a.mkv": ("-c:v", "ffv1", "-c:a", "wavpack"),
    "a.webp": ("-frames:v", "1"),
    "a.png": ("-frames:v", "1"),
    "a.jpg": ("-frames:v", "1"),
    "a.ivf": ("-c:v", "libvpx", "-deadline", "realtime"),
    "a.dv": ("-s", "720x576", "-pix_fmt", "yuv420p", "-ac", "2"),
}
SOUNDS = ("a.aiff", "a.ac3", "a.dts", "a.au", "a.caf", "a.wv", "a.wma", "a.tta", "a.w64", "a.eac3")


@pytest.mark.parametrize("name", KINDS)
def test_kinds_of_film(make: Make, transcode: Transcode, tmp_path: Path, name: str) -> None:
    inputs = ("testsrc2=size=160x120:rate=25:duration=1", "sine=duration=1:sample_rate=48000")
    # Named as workers name it: the content decides.
    source = make(name, *KINDS[name], inputs=inputs).rename(tmp_path / "source")
    encoded, _ = transcode(source, "mp4")
    assert encoded.frames == pytest.approx(1 if "-frames:v" in KINDS[name] else 25, abs=2)


@pytest.mark.parametrize("name", SOUNDS)
def test_kinds_of_sound(make: Make, transcode: Transcode, name: str) -> None:
    experimental = ("-strict", "-2") if name == "a.dts" else ()
    source = make(name, *experimental, inputs=("sine=frequency=2000:duration=3:sample_rate=48000",))
    _, out = transcode(source, "audio")
    assert pitch(out / "audio.m4a") == pytest.approx(2000, abs=50)


# Words


def test_a_refusal_says_what_it_is_and_what_to_do(make: Make, tmp_path: Path) -> None:
    playlist = tmp_path / "list.mp4"
    playlist.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXTINF:6,\na.ts\n#EXT-X-ENDLIST\n")
    concat, empty = tmp_path / "concat.mp4", tmp_path / "empty.mp4"
    concat.write_text("ffconcat version 1.0\nfile film.mp4\n")
    empty.touch()
    words = {
        playlist: r"it is a playlist \(hls\), which contains no media and names other files; upload the media itself",
        concat: r"it is .*\(concat\), which contains no media and names other files; upload the media itself",
        empty: "it is empty; upload the whole file",
        make("a.flm", "-pix_fmt", "rgba"): "it is Adobe Filmstrip .*not accepted; convert it to MP4 or Matroska",
        make("a.mkv", "-c:v", "magicyuv"): "its video is MagicYUV.*, which is not accepted",
    }
    for source, said in words.items():
        with pytest.raises(BadMedia, match=said):
            presets_of(source)


def presets_of(source: Path) -> None:
    from dumacle_cli.transcode import arguments

    arguments.check(read(source), defined("mp4"))


def test_sound_that_is_not_accepted_refuses_no_poster(make: Make, transcode: Transcode) -> None:
    source = make("a.mkv", "-c:v", "libx264", "-preset", "ultrafast", "-c:a", "dfpwm")
    assert transcode(source, "poster")[0].frames == 1
    with pytest.raises(BadMedia, match=r"its sound is DFPWM.*, which is not accepted; convert its sound"):
        transcode(source, "mp4")

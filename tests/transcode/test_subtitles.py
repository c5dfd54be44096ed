"""Subtitles become WebVTT: in time, with their language, and as text whatever is in them."""

import json
import re
from pathlib import Path

import pytest

from dumacle_cli.local import ffmpeg
from dumacle_cli.transcode import reader, webvtt
from dumacle_cli.transcode.probe import probe
from tests.films import picture_subtitles
from tests.transcode.conftest import LIMITS, Make, Transcode, run_ffmpeg

H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac")
FILM = ("testsrc2=size=160x120:rate=25:duration=4", "sine=duration=4")
SUBRIP = """\
1
00:00:00,500 --> 00:00:01,500
Hello <i>world</i> & <b>you</b> -->

2
00:00:02,000 --> 00:00:09,000
{\\an8}Second
<script>alert(1)</script> line
"""
HEAD = "WEBVTT\nX-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:0\n\n"


def subrip(folder: Path, text: str = SUBRIP, name: str = "text.srt") -> Path:
    (folder / name).write_text(text)
    return folder / name


@pytest.fixture
def film(make: Make, tmp_path: Path) -> Path:
    """A film with no subtitles."""
    return make("plain.mkv", *H264, inputs=FILM)


def with_texts(film: Path, target: str, *options: str, texts: int = 1) -> Path:
    """Add a text so many times to a film."""
    words = [word for _ in range(texts) for word in ("-i", str(film.parent / "text.srt"))]
    maps = [word for number in range(texts + 1) for word in ("-map", str(number))]
    run_ffmpeg("-i", str(film), *words, *maps, "-c:v", "copy", "-c:a", "copy", *options, str(film.parent / target))
    return film.parent / target


@pytest.mark.unit
@pytest.mark.parametrize(
    ("dialogue", "text"),
    [
        ("{\\i1}in{\\i0} out", "<i>in</i> out"),
        ("{\\i1}both {\\b1}bold{\\r} none", "<i>both <b>bold</b></i> none"),
        ("{\\b1\\c&HFF00&}never ended", "<b>never ended</b>"),
        ("{\\i0}{\\b0}nothing opened", "nothing opened"),
        ("{\\p1}m 0 0 l 10 10{\\p0}seen", "seen"),
        ("{\\pos(1,2)\\blur1\\b700}placed", "placed"),
        ("one\n\n  \ntwo\\Nthree\\hfour", "one\ntwo\nthree\N{NO-BREAK SPACE}four"),
        ("</c><b>&lt; --> x", "&lt;/c&gt;&lt;b&gt;&amp;lt; --&gt; x"),
        ("a\rb\x00\x1b[31mc\ud800", "a\nb[31mc"),
        ("نمی\N{ZERO WIDTH NON-JOINER}خواهم", "نمی\N{ZERO WIDTH NON-JOINER}خواهم"),
    ],
)
def test_texts(dialogue: str, text: str) -> None:
    assert webvtt.cue(1, 2, dialogue) == webvtt.Cue(1, 2, text)


@pytest.mark.unit
def test_a_million_codes_that_do_not_end() -> None:
    """Hours, if each were looked for up to the end of the text."""
    opened = "{\\" * 500_000
    assert webvtt.cue(1, 2, "{\\b1}seen" + opened) == webvtt.Cue(1, 2, f"<b>seen{opened}</b>")


@pytest.mark.unit
@pytest.mark.parametrize("dialogue", ["", " \n ", "{\\i1}{\\i0}", "{\\p1}m 0 0 l 10 10"])
def test_nothing_to_read(dialogue: str) -> None:
    assert webvtt.cue(1, 2, dialogue) is None


@pytest.mark.integration
@pytest.mark.parametrize(
    ("name", "codec"), [("film.mkv", "subrip"), ("film.mkv", "ass"), ("film.mkv", "webvtt"), ("film.mp4", "mov_text")]
)
def test_every_kind_of_text_is_shown_in_time(transcode: Transcode, film: Path, name: str, codec: str) -> None:
    subrip(film.parent)
    encoded, out = transcode(with_texts(film, name, "-c:s", codec, "-metadata:s:s", "language=ger"), "hls")
    [told] = [line for line in (out / encoded.entry).read_text().splitlines() if "TYPE=SUBTITLES" in line]
    assert 'NAME="German",LANGUAGE="de"' in told
    assert 'URI="subtitles/index.m3u8"' in told
    text = (out / "subtitles/00000.vtt").read_text()
    place = " line:0" if codec in ("subrip", "ass") else ""
    assert text == (
        f"{HEAD}00:00:00.500 --> 00:00:01.500\nHello <i>world</i> &amp; <b>you</b> --&gt;\n\n"
        f"00:00:02.000 --> 00:00:04.000{place}\nSecond\nalert(1) line\n"
    )
    assert {"subtitles/00000.vtt", "subtitles/index.m3u8"} <= set(encoded.files)
    # FFmpeg reads the same.
    shown = run_ffmpeg("-i", str(out / "subtitles/00000.vtt"), "-f", "srt", "-").decode()
    assert re.findall(r"\d\d:\d\d:\d\d,\d+", shown) == ["00:00:00,500", "00:00:01,500", "00:00:02,000", "00:00:04,000"]


@pytest.mark.integration
def test_times_count_from_the_start_of_the_film(transcode: Transcode, film: Path) -> None:
    subrip(film.parent)
    late = with_texts(film, "late.mkv", "-c:s", "subrip", "-output_ts_offset", "100")
    assert "00:00:00.500 --> 00:00:01.500\n" in (transcode(late, "hls")[1] / "subtitles/00000.vtt").read_text()


@pytest.mark.integration
def test_what_subtitles_are_for(transcode: Transcode, film: Path) -> None:
    subrip(film.parent)
    purposes = ("forced", "default", "default+hearing_impaired")
    options = [word for number, each in enumerate(purposes) for word in (f"-disposition:s:{number}", each)]
    source = with_texts(film, "film.mkv", "-c:s", "subrip", *options, "-metadata:s:s", "language=eng", texts=3)
    encoded, out = transcode(source, "hls")
    told = re.findall(
        r"NAME=\"(.*?)\".*DEFAULT=(\w+),AUTOSELECT=(\w+),(.*)FORCED=(\w+)", (out / encoded.entry).read_text()
    )
    assert [(name, default, auto, forced) for name, default, auto, _, forced in told if name != "Sound"] == [
        ("English", "NO", "YES", "YES"),
        ("English 2", "YES", "YES", "NO"),
        ("English 3", "NO", "YES", "NO"),
    ]
    assert "describes-music-and-sound" in told[-1][3]
    assert (out / encoded.entry).read_text().count(',SUBTITLES="subtitles"') == len(encoded.rungs) + 1


@pytest.mark.integration
def test_pictures_and_empty_subtitles_are_left_out(transcode: Transcode, film: Path) -> None:
    late = subrip(film.parent, "1\n00:00:09,000 --> 00:00:10,000\nToo late\n")
    sources = ("-i", str(film), "-i", str(picture_subtitles(film.parent)), "-i", str(late))
    source = film.parent / "film.mkv"
    run_ffmpeg(*sources, "-map", "0", "-map", "1", "-map", "2", "-c", "copy", str(source))
    said = [track.fault for track in probe(ffmpeg.locate(), source, LIMITS).subtitles]
    assert said == ["they are pictures (HDMV Presentation Graphic Stream subtitles)", ""]
    encoded, out = transcode(source, "hls")
    assert "SUBTITLES" not in (out / encoded.entry).read_text()
    assert not (out / "subtitles").exists()


@pytest.mark.integration
def test_an_odd_alphabet_does_not_harm_the_film(transcode: Transcode, film: Path) -> None:
    subrip(film.parent)
    source = with_texts(film, "film.mkv", "-c:s", "subrip")
    source.write_bytes(source.read_bytes().replace(b"Second", b"S\xe9con\xff"))
    encoded, out = transcode(source, "hls")
    assert encoded.damaged == 0
    assert (out / "subtitles/00000.vtt").read_text().count("-->") == 1


@pytest.mark.integration
def test_more_texts_than_anybody_reads_are_left_out(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer stays small, whatever is in them: one that is too large would be the end of the film."""
    faces = "\N{GRINNING FACE}" * 30
    times = (f"00:00:01,{number:03} --> 00:00:02,000" for number in range(1, 10))
    subrip(film.parent, "\n\n".join(f"1\n{each}\n{faces if number else 'a'}" for number, each in enumerate(times)))
    source = with_texts(film, "film.mkv", "-c:s", "subrip")
    monkeypatch.setattr(reader, "MOST_TEXT", 1000)
    found = reader.subtitles({"path": str(source), "streams": [2], "options": LIMITS.input_options})
    assert [text for _, _, text in found["subtitles"][0]] == ["a", faces, faces]
    assert len(json.dumps(found)) < 1000

"""Films with several sounds: viewers choose of all that are there, in time and as long as the film."""

import re
import shutil
import threading
from itertools import pairwise
from pathlib import Path

import av
import pytest

from dumacle_cli.errors import BadMedia, BadPreset, OutputDiffers
from dumacle_cli.local import ffmpeg
from dumacle_cli.services import definitions
from dumacle_cli.transcode import languages, tracks
from dumacle_cli.transcode.likeness import compare_sounds
from dumacle_cli.transcode.probe import probe, source_of
from dumacle_cli.transcode.reference import Reference
from tests.presets import defined
from tests.transcode.conftest import LIMITS, Make, Transcode, run_ffmpeg
from tests.transcode.test_presets import transcode as preset_with

H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac")
PICTURE = "testsrc2=size=160x120:rate=25:duration=4"
# The pitch of each sound in Hz, and how many seconds it lasts.
PITCHES = {300: 4, 1200: 2, 2400: 6}
TONES = tuple(f"sine=frequency={pitch}:duration={seconds}" for pitch, seconds in PITCHES.items())
EACH = ("-map", "0", "-map", "1", "-map", "2", "-map", "3")
ENGLISH_IS_DEFAULT = (
    *("-metadata:s:a:0", "language=ger", "-metadata:s:a:0", "title=Kommentar"),
    *("-metadata:s:a:1", "language=eng", "-metadata:s:a:2", "language=pt-BR"),
    *("-disposition:a:0", "0", "-disposition:a:1", "default", "-disposition:a:2", "0"),
)


def pitch(path: Path, start: float = 0, stream: str = "0:a:0") -> int:
    """How often in a second of a sound its waves rise through zero."""
    cut = ("-ss", f"{start}", "-t", "1", "-i", str(path), "-map", stream)
    samples = run_ffmpeg(*cut, "-ac", "1", "-ar", "48000", "-f", "u8", "-")
    return sum(before < 128 <= after for before, after in pairwise(samples))


def seconds(path: Path) -> float:
    return len(run_ffmpeg("-i", str(path), "-map", "0:a:0", "-ac", "1", "-ar", "1000", "-f", "u8", "-")) / 1000


@pytest.mark.unit
@pytest.mark.parametrize(
    ("code", "tag", "name"),
    [
        *(("ger", "de", "German"), ("deu", "de", "German"), ("de", "de", "German"), ("FRE", "fr", "French")),
        *(("pt-BR", "pt-BR", "Portuguese (BR)"), ("zh_Hant", "zh-Hant", "Chinese (Hant)"), ("haw", "haw", "Hawaiian")),
        *(("und", "", ""), ("", "", ""), ("qqq", "qqq", "qqq"), ('e"n', "", ""), ("english", "", "")),
    ],
)
def test_languages(code: str, tag: str, name: str) -> None:
    assert languages.tag(code) == tag
    assert languages.name(tag) == name


@pytest.mark.integration
def test_every_sound_can_be_chosen(make: Make, transcode: Transcode) -> None:
    source = make("film.mkv", *H264, *EACH, *ENGLISH_IS_DEFAULT, inputs=(PICTURE, *TONES))
    encoded, out = transcode(source, "hls")
    told = re.findall(
        r"NAME=\"(.*?)\",LANGUAGE=\"(.*?)\",DEFAULT=(\w+),AUTOSELECT=(\w+)", (out / encoded.entry).read_text()
    )
    assert told == [
        ("English", "en", "YES", "YES"),
        ("Portuguese (BR)", "pt-BR", "NO", "YES"),
        ("Kommentar", "de", "NO", "NO"),
    ]
    folders = [out / name / "index.m3u8" for name in ("audio", "audio-2", "audio-3")]
    assert [pitch(path) for path in folders] == [pytest.approx(each, rel=0.05) for each in (1200, 2400, 300)]
    # The one that is too short is silent at its end, and the one that is too long is cut.
    assert [seconds(path) for path in folders] == [pytest.approx(4, abs=0.1)] * 3
    assert pitch(folders[0], 2.5) == 0
    assert (encoded.frames, encoded.duration_ms) == (100, 4000)


@pytest.mark.integration
@pytest.mark.parametrize("preset", ["mp4", "audio"])
def test_a_single_file_has_the_default(make: Make, transcode: Transcode, preset: str) -> None:
    source = make("film.mkv", *H264, *EACH, *ENGLISH_IS_DEFAULT, inputs=(PICTURE, *TONES))
    encoded, out = transcode(source, preset)
    assert pitch(out / encoded.entry) == pytest.approx(1200, rel=0.05)
    assert len(probe(ffmpeg.locate(), out / encoded.entry, LIMITS).sounds) == 1


@pytest.mark.integration
def test_every_sound_is_compared_with_its_source(make: Make, transcode: Transcode) -> None:
    quiet = "aevalsrc=0:duration=4:sample_rate=48000"
    streams = ("-map", "0", "-map", "1", "-map", "2")
    source = make("film.mkv", *H264, *streams, inputs=(PICTURE, quiet, "sine=duration=4"))
    _, out = transcode(source, "hls")
    shutil.rmtree(out / "audio-2")
    shutil.copytree(out / "audio", out / "audio-2")
    media, preset, stop = probe(ffmpeg.locate(), source, LIMITS), defined("hls"), threading.Event()
    reference = Reference(ffmpeg.locate(), source_of(source, media), LIMITS, stop)
    with pytest.raises(OutputDiffers, match=r"quieter|missing"):
        compare_sounds(reference, out, media, preset, tracks.sounds(media.sounds, preset), {})


@pytest.mark.integration
def test_an_empty_sound_is_not_offered(make: Make, transcode: Transcode) -> None:
    nothing = ("-filter:a:0", "atrim=end=0.0,aformat=channel_layouts=stereo")
    source = make("film.mkv", *H264, "-map", "0", "-map", "1", "-map", "2", *nothing, inputs=(PICTURE, *TONES[:2]))
    encoded, out = transcode(source, "hls")
    assert (out / encoded.entry).read_text().count("TYPE=AUDIO") == 1
    assert pitch(out / "audio/index.m3u8") == pytest.approx(1200, rel=0.05)


@pytest.mark.integration
def test_a_title_in_no_known_alphabet(make: Make, transcode: Transcode) -> None:
    source = make("film.mkv", *H264, "-metadata:s:a:0", "title=XXXXXX", "-metadata:s:a:0", "language=eng")
    source.write_bytes(source.read_bytes().replace(b"XXXXXX", b'\xff"\n#\xc3\x28'))
    encoded, out = transcode(source, "hls")
    assert 'NAME="\ufffd\' #\ufffd(",' in (out / encoded.entry).read_text()


@pytest.mark.integration
def test_surround_sound_is_beside_stereo(make: Make) -> None:
    five_one = "sine=duration=2,pan=5.1|c0=c0|c1=0.5*c0|c2=c0|c3=c0|c4=0.3*c0|c5=c0"
    streams = ("-map", "0", "-map", "1", "-map", "2", "-metadata:s:a:0", "language=eng")
    inputs = ("testsrc2=size=320x240:rate=25:duration=2", "sine=duration=2", five_one)
    source = make("film.mkv", "-c:v", "libx264", "-c:a", "flac", *streams, inputs=inputs)
    encoded, out = preset_with(source, "hls", audio={"surround": True, "loudness": -16})
    lines = (out / encoded.entry).read_text().splitlines()
    told = [re.findall(r"GROUP-ID=\"(\w+)\",NAME=\"(\w+)\".*CHANNELS=\"(\d)\",URI=\"(.*)/", line) for line in lines]
    assert [each[0] for each in told if each] == [
        ("audio", "English", "2", "audio"),
        ("audio", "Sound", "2", "audio-2"),
        ("surround", "English", "2", "audio"),
        ("surround", "Sound", "6", "surround-2"),
    ]
    variants = [line for line in lines if line.startswith("#EXT-X-STREAM-INF")]
    groups = [re.findall(r"AUDIO=\"(\w+)\"", line)[0] for line in variants]
    assert groups == ["audio", "surround"] * (len(encoded.rungs) + 1)
    with av.open(str(out / "surround-2/index.m3u8")) as container:
        assert container.streams.audio[0].layout.name == "5.1"
    # Each loudspeaker has its own.
    left, right = (peak(out / "surround-2/index.m3u8", channel) for channel in (0, 1))
    assert left == pytest.approx(2 * right, rel=0.1)


def peak(path: Path, channel: int) -> int:
    samples = run_ffmpeg("-i", str(path), "-af", f"pan=mono|c0=c{channel}", "-f", "s16le", "-")
    return max(int.from_bytes(samples[at : at + 2], "little", signed=True) for at in range(0, len(samples), 2))


@pytest.mark.unit
def test_surround_sound_is_for_hls_alone() -> None:
    with pytest.raises(BadPreset, match="audio: surround is for hls"):
        defined("mp4", audio={"surround": True})
    assert "surround" not in definitions.complete(defined("hls"))["audio"]
    assert definitions.complete(defined("hls", audio={"surround": True}))["audio"]["surround"] is True


@pytest.mark.integration
def test_a_sound_that_cannot_be_decoded_does_not_harm_the_film(make: Make, transcode: Transcode) -> None:
    streams = ("-map", "0", "-map", "1", "-map", "2", "-c:a:0", "ac3", "-disposition:a:0", "default")
    whole = make("whole.mkv", *H264, *streams, inputs=(PICTURE, "sine=duration=4", TONES[0]))
    source = whole.with_name("film.mkv")
    run_ffmpeg("-i", str(whole), "-map", "0", "-c", "copy", "-bsf:a:0", "noise=amount=1", str(source))
    encoded, out = transcode(source, "hls")
    assert (out / encoded.entry).read_text().count("TYPE=AUDIO") == 1
    assert pitch(out / "audio/index.m3u8") == pytest.approx(300, rel=0.05)


def many(film: Path, sounds: int, texts: int) -> Path:
    """Give a film so many sounds and subtitles, as a master for all the world has them."""
    (film.parent / "text.srt").write_text("1\n00:00:00,100 --> 00:00:01,000\nHello\n")
    maps = [*["-map", "0:a"] * sounds, *["-map", "1"] * texts]
    inputs = ("-i", str(film), "-i", str(film.parent / "text.srt"), "-map", "0:v", *maps)
    run_ffmpeg(*inputs, "-c", "copy", "-c:s", "srt", str(film.parent / "many.mkv"))
    return film.parent / "many.mkv"


@pytest.mark.integration
def test_a_film_for_all_the_world(make: Make) -> None:
    film = make("film.mkv", *H264, inputs=("color=size=64x64:rate=25:duration=1", "sine=duration=1"))
    media = probe(ffmpeg.locate(), many(film, 40, 100), LIMITS)
    assert (len(media.sounds), len(media.subtitles)) == (40, 100)
    planned = tracks.planned(media.sounds, media.subtitles, defined("hls"))
    assert [kind for kind, _, _, fault in planned if fault is None] == ["sound"] * 8 + ["subtitles"] * 32
    assert {fault for *_, fault in planned} == {None, "there are more than 8", "there are more than 32"}
    with pytest.raises(BadMedia, match="it has 256 streams or more; leave some out, and upload that"):
        probe(ffmpeg.locate(), many(film, 60, 300), LIMITS)

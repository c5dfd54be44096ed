"""The master playlist: rates, what viewers choose of, and nothing that strangers wrote gets out of its quotes."""

from fractions import Fraction

import pytest

from dumacle_cli.transcode import playlists
from dumacle_cli.transcode.master import Sound, Variant, master, quoted
from dumacle_cli.transcode.playlists import Segment
from dumacle_cli.transcode.tracks import Label, SoundTrack, sound_labels

pytestmark = pytest.mark.unit
SHORT = [Segment(10, 1)]
FILM = Variant("234p", 416, 234, Fraction(25), "avc1.64000d", SHORT, SHORT)


def test_rates_are_those_of_picture_and_sound_together() -> None:
    picture = [Segment(750_000, 6), Segment(600_000, 6), Segment(10_000, 0.1)]
    variant = Variant(
        "234p", 416, 234, Fraction(30000, 1001), "avc1.64000d", picture, [Segment(75_000, 6), Segment(30_000, 6)]
    )
    text = master([variant], [Sound("audio", "audio", Label("Sound"), [Segment(75_000, 6), Segment(75_000, 6)])])
    assert text.splitlines()[-5:] == [
        '#EXT-X-STREAM-INF:BANDWIDTH=1100000,AVERAGE-BANDWIDTH=999174,CODECS="avc1.64000d,mp4a.40.2",'
        'RESOLUTION=416x234,FRAME-RATE=29.970,AUDIO="audio",CLOSED-CAPTIONS=NONE',
        "234p/index.m3u8",
        '#EXT-X-STREAM-INF:BANDWIDTH=100000,AVERAGE-BANDWIDTH=100000,CODECS="mp4a.40.2",AUDIO="audio",CLOSED-CAPTIONS=NONE',
        "audio/index.m3u8",
        '#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=100000,AVERAGE-BANDWIDTH=70000,CODECS="avc1.64000d",'
        'RESOLUTION=416x234,URI="234p/iframes.m3u8"',
    ]


def test_a_silent_film_names_no_sound() -> None:
    text = master([FILM], [])
    assert "AUDIO" not in text
    assert "mp4a" not in text
    assert "FRAME-RATE=25.000" in text


def test_the_rate_is_that_of_the_largest_sound() -> None:
    pieces = [[Segment(size, 6)] for size in (75_000, 150_000)]
    sounds = [Sound("audio", f"audio-{number}", Label(str(number)), piece) for number, piece in enumerate(pieces)]
    variant = Variant("234p", 416, 234, Fraction(25), "avc1.64000d", [Segment(75_000, 6)], SHORT)
    assert "BANDWIDTH=300000,AVERAGE-BANDWIDTH=300000" in master([variant], sounds)


def test_each_sound_can_be_chosen() -> None:
    tracks = [
        SoundTrack("1", "aac", 2, 7, "de", "Original"),
        SoundTrack("2", "aac", 2, 7, "pt-BR"),
        SoundTrack("3", "aac", 2, 7, "de", "Original"),
        SoundTrack("4", "aac", 2, 7, "de", "Kommentar", spoken=True),
        SoundTrack("5", "aac", 2, 7, "de", spoken=True, described=True),
        SoundTrack("6", "aac", 2, 7, title=f"{'x' * 200} 1"),
        SoundTrack("7", "aac", 2, 7, title=f'{"x" * 200}\n"2"'),
        SoundTrack("8", "aac", 2, 7),
    ]
    assert sound_labels(tracks) == [
        Label("Original", "de"),
        Label("Portuguese (BR)", "pt-BR"),
        Label("Original 2", "de", automatic=False),
        Label("Kommentar", "de", automatic=False),
        Label("German", "de"),
        Label("x" * 100),
        Label(f"{'x' * 100} 2", automatic=False),
        Label("Sound", automatic=False),
    ]


def test_the_first_sound_is_the_default() -> None:
    sounds = [
        Sound("audio", "audio", Label("Deutsch", "de"), SHORT),
        Sound("audio", "audio-2", Label("Comment", "de", automatic=False), SHORT, described=True),
    ]
    assert [line for line in master([FILM], sounds).splitlines() if "TYPE=AUDIO" in line] == [
        '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="Deutsch",LANGUAGE="de",DEFAULT=YES,AUTOSELECT=YES,'
        'CHANNELS="2",URI="audio/index.m3u8"',
        '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="Comment",LANGUAGE="de",DEFAULT=NO,AUTOSELECT=NO,'
        'CHARACTERISTICS="public.accessibility.describes-video",CHANNELS="2",URI="audio-2/index.m3u8"',
    ]


HOSTILE = (
    'x",URI="https://evil.example/"',
    "a\n#EXT-X-MEDIA:TYPE=AUDIO",
    "a\r\nhttps://evil.example/",
    "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\0h\x7f",
    "\u202egpj.exe",
    "a,URI=",
    "URI=",
    "\ud800",
    "#" * 10_000,
)


@pytest.mark.parametrize("title", HOSTILE)
def test_a_title_never_gets_out_of_its_quotes(title: str) -> None:
    wanted = master([FILM], [Sound("audio", "audio", Label("Sound", "en"), SHORT)])
    text = master([FILM], [Sound("audio", "audio", Label(title, "en"), SHORT)])
    assert len(text.encode().splitlines()) == len(text.splitlines()) == len(wanted.splitlines())
    assert playlists.addresses(text) == playlists.addresses(wanted)
    assert text.count('"') == wanted.count('"')
    links = playlists.signed({"master.m3u8": text}, "master.m3u8", lambda path: f"https://pod/{path}")
    assert links["master.m3u8"].replace("https://pod/", "") == text


def test_a_title_is_shown_as_it_is_otherwise() -> None:
    assert quoted("  Director’s  cut: 日本語 ") == '"Director’s cut: 日本語"'

"""Playlists: links that are signed, and rates."""

import pytest

from dumacle_cli.transcode import playlists
from dumacle_cli.transcode.playlists import Segment

pytestmark = pytest.mark.unit

MEDIA = """#EXTM3U
#EXT-X-MAP:URI="init.mp4"
#EXTINF:6.000000,
00000.m4s
#EXTINF:2.000000,
00001.m4s
#EXT-X-ENDLIST
"""
MASTER = """#EXTM3U
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",URI="audio/index.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=1
234p/index.m3u8
"""


def test_addresses_of_a_playlist() -> None:
    assert playlists.addresses(MASTER) == ["audio/index.m3u8", "234p/index.m3u8"]
    assert playlists.addresses(MEDIA) == ["init.mp4", "00000.m4s", "00001.m4s"]


def test_every_uri_is_signed_and_the_entry_comes_last() -> None:
    files = {"master.m3u8": MASTER, "234p/index.m3u8": MEDIA}
    links = playlists.signed(files, "master.m3u8", lambda path: f"https://pod/{path}?a=1&b=2")
    assert list(links) == ["234p/index.m3u8", "master.m3u8"]
    assert links["234p/index.m3u8"] == MEDIA.replace('"init.mp4"', '"https://pod/234p/init.mp4?a=1&b=2"').replace(
        "00000.m4s", "https://pod/234p/00000.m4s?a=1&b=2"
    ).replace("00001.m4s", "https://pod/234p/00001.m4s?a=1&b=2")
    assert links["master.m3u8"].splitlines()[1:] == [
        '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",URI="https://pod/audio/index.m3u8?a=1&b=2"',
        "#EXT-X-STREAM-INF:BANDWIDTH=1",
        "https://pod/234p/index.m3u8?a=1&b=2",
    ]


def test_a_short_end_does_not_hide_the_peak_before_it() -> None:
    assert playlists.peak([Segment(6_000_000, 6), Segment(100_000, 2.8)]) == 8_000_000
    assert playlists.peak([Segment(600_000, 6), Segment(1_500_000, 3)]) == 4_000_000
    # Too short to count alone.
    assert playlists.peak([Segment(600_000, 6), Segment(900_000, 1)]) == round(8 * 1_500_000 / 7)


def test_a_single_short_segment_has_a_rate() -> None:
    assert playlists.peak([Segment(100, 0.5)]) == 1600

"""Links to renditions play without a login: every address in a playlist that is handed out is signed."""

import time
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

import pytest

from dumacle_cli.errors import InvalidValue, NoSuchRendition
from dumacle_cli.services import renditions
from dumacle_cli.services.downloads import Link
from dumacle_cli.transcode import playlists
from tests.factories import make_file, make_pod, make_rendition, make_transcode, make_user, make_version

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dumacle_cli.clients.object_store import ObjectStore
    from dumacle_cli.clients.objects import Location
    from dumacle_cli.store.models import File
    from dumacle_cli.store.transcodes import Published

pytestmark = pytest.mark.integration

MASTER = """#EXTM3U
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="Sound",URI="audio/index.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=900000,AUDIO="audio"
480p/index.m3u8
"""
MEDIA = """#EXTM3U
#EXT-X-MAP:URI="init.mp4"
#EXTINF:6.0,
0.m4s
#EXT-X-ENDLIST
"""
HLS = {"master.m3u8": MASTER.encode()}
for _folder in ("480p", "audio"):
    HLS |= {f"{_folder}/index.m3u8": MEDIA.encode()}
    HLS |= {f"{_folder}/{name}": f"{_folder} {name}".encode() for name in ("init.mp4", "0.m4s")}


@pytest.fixture
def film(session: "Session", bucket: "Location", object_store: "ObjectStore") -> "File":
    """A film in a pod whose keys begin with the pod's name."""
    pod = make_pod(session, "films", bucket=bucket.bucket, prefix="films")
    return make_file(session, pod, make_user(session), "holiday/film.mov", store=object_store)


@pytest.fixture
def hls(session: "Session", film: "File", object_store: "ObjectStore") -> "Published":
    make_rendition(session, make_transcode(session, film), HLS, store=object_store)
    return renditions.published(session, film.id, "hls")


def play(object_store: "ObjectStore", wanted: "Published", seconds: int = 60, *, write: bool = True) -> Link:
    return renditions.playing_link(lambda *_: object_store, wanted, seconds, playlists.signed, write=write)


def fetched(url: str) -> str:
    with urlopen(url) as answer:
        return str(answer.read().decode())


def addresses(playlist: str) -> list[str]:
    """Return every address in a playlist, and check that each is signed."""
    found = [line.split('URI="')[1].split('"')[0] for line in playlist.splitlines() if 'URI="' in line]
    found += [line for line in playlist.splitlines() if not line.startswith("#")]
    assert all("X-Amz-Signature" in parse_qs(urlsplit(address).query) for address in found)
    return found


def below(object_store: "ObjectStore", prefix: str) -> set[str]:
    return {entry.key.removeprefix(prefix) for entry in object_store.list(prefix)}


def test_link_plays_down_to_the_last_segment(object_store: "ObjectStore", hls: "Published") -> None:
    lists = addresses(fetched(play(object_store, hls).url))
    assert len(lists) == 2
    pieces = [fetched(piece) for each in lists for piece in addresses(fetched(each))]
    assert sorted(pieces) == sorted(body.decode() for name, body in HLS.items() if not name.endswith(".m3u8"))


def test_what_was_published_stays_as_it_is(object_store: "ObjectStore", hls: "Published") -> None:
    play(object_store, hls)
    for name, body in HLS.items():
        assert b"".join(object_store.get(hls.prefix + name)) == body


def test_texts_of_strangers_have_nothing_signed(session: "Session", film: "File", object_store: "ObjectStore") -> None:
    said = b"WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n../../other.mp4#xywh=0,0,1,1\n"
    media = MEDIA.replace('#EXT-X-MAP:URI="init.mp4"\n', "").replace("0.m4s", "0.vtt").encode()
    written = {"master.m3u8": b"#EXTM3U\nsubtitles/index.m3u8\n", "subtitles/index.m3u8": media}
    made = make_transcode(session, film)
    make_rendition(session, made, {**written, "subtitles/0.vtt": said}, store=object_store)
    link = play(object_store, renditions.published(session, film.id, "hls"))
    [texts] = addresses(fetched(link.url))
    [text] = addresses(fetched(texts))
    assert fetched(text).encode() == said


def test_each_link_has_playlists_of_its_own(object_store: "ObjectStore", hls: "Published") -> None:
    first, second = play(object_store, hls), play(object_store, hls)
    assert first.url != second.url
    copies = below(object_store, hls.prefix) - set(HLS)
    assert {name.rpartition("/")[2] for name in copies} == {"master.m3u8", "index.m3u8"}
    assert len(copies) == 2 * 3
    until = {int(name.split("/")[1].split("-")[0]) for name in copies}
    assert until == {int(first.expires_at.timestamp()), int(second.expires_at.timestamp())}


def test_addresses_expire_with_the_link(object_store: "ObjectStore", hls: "Published") -> None:
    link = play(object_store, hls, 600)
    [media, _] = addresses(fetched(link.url))
    for url in (link.url, media, *addresses(fetched(media))):
        assert parse_qs(urlsplit(url).query)["X-Amz-Expires"] == ["600"]


def test_expired_copies_go_when_a_new_link_is_made(object_store: "ObjectStore", hls: "Published") -> None:
    kept, gone = (f"links/{int(time.time()) + more}-abc/master.m3u8" for more in (60, -60))
    for name in (kept, gone, "linked/1-abc/master.m3u8"):
        object_store.put(hls.prefix + name, b"", EMPTY, "application/vnd.apple.mpegurl")
    play(object_store, hls)
    names = below(object_store, hls.prefix)
    assert {kept, "linked/1-abc/master.m3u8"} <= names
    assert gone not in names


EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_rehearsed_link_stores_nothing_and_leads_nowhere(object_store: "ObjectStore", hls: "Published") -> None:
    before = below(object_store, "")
    link = play(object_store, hls, write=False)
    assert below(object_store, "") == before
    with pytest.raises(HTTPError):
        fetched(link.url)


@pytest.mark.parametrize("seconds", [0, 604_801])
def test_link_is_good_for_a_week_at_most(object_store: "ObjectStore", hls: "Published", seconds: int) -> None:
    before = below(object_store, "")
    with pytest.raises(InvalidValue):
        play(object_store, hls, seconds)
    assert below(object_store, "") == before


def test_rendition_of_one_object_is_saved_under_the_files_name(
    session: "Session", object_store: "ObjectStore", film: "File"
) -> None:
    made = make_transcode(session, film, "mp4")
    make_rendition(session, made, {"video.mp4": b"moving"}, store=object_store)
    wanted = renditions.published(session, film.id, "mp4")
    with urlopen(renditions.link(lambda *_: object_store, wanted, 60).url) as answer:
        assert answer.read() == b"moving"
        assert answer.headers["Content-Type"] == "video/mp4"
        assert answer.headers["Content-Disposition"].startswith('inline; filename="film.mp4"')
    with urlopen(renditions.link(lambda *_: object_store, wanted, 60, download=True).url) as answer:
        assert answer.headers["Content-Disposition"].startswith('attachment; filename="film.mp4"')


def test_latest_rendition_of_the_present_content_is_meant(session: "Session", film: "File", hls: "Published") -> None:
    again = make_rendition(session, make_transcode(session, film), HLS)
    assert renditions.published(session, film.id, "hls").prefix == again.prefix != hls.prefix
    assert len(renditions.of_file(session, film.id)) == 2
    film.version_id = make_version(session, film, b"another").id
    session.flush()
    with pytest.raises(NoSuchRendition, match="has no rendition hls; it has none"):
        renditions.published(session, film.id, "hls")
    assert len(renditions.of_file(session, film.id)) == 2


def test_unknown_rendition_names_those_that_exist(session: "Session", film: "File", hls: "Published") -> None:
    make_rendition(session, make_transcode(session, film, "poster"), {"poster.jpg": b"still"})
    with pytest.raises(NoSuchRendition) as refused:
        renditions.published(session, film.id, "mp4")
    assert str(refused.value) == f"file {film.id} has no rendition mp4; it has hls, poster"
    assert refused.value.remedy == f"create it with: dumacle transcode submit {film.id} --preset PRESET"

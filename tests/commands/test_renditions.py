"""`dumacle transcode verify`: what was published is read back as a player would, and what is lost is made again."""

import hashlib
import json

import pytest

from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.store.database import Database
from dumacle_cli.transcode.published import unplayable
from tests.conftest import Run
from tests.films import Films, Submit, check, films, rows, submit

__all__ = ["films", "submit"]
pytestmark = pytest.mark.integration
JSON = ("-o", "json")


@pytest.fixture
def film(run: Run, submit: Submit, films: Films, database: Database) -> str:
    """A film that was published as HLS; returns the prefix of its objects."""
    submit(films(2), preset="hls")
    run("worker", "--once")
    return str(rows(database, "SELECT prefix FROM app.renditions")[0]["prefix"])


def named(object_store: ObjectStore, prefix: str, end: str) -> str:
    return next(entry.key for entry in object_store.list(prefix) if entry.key.endswith(end))


def put(object_store: ObjectStore, key: str, body: bytes) -> None:
    object_store.put(key, body, hashlib.sha256(body).hexdigest(), "video/mp4")


def test_what_was_published_is_whole(run: Run, film: str, object_store: ObjectStore, database: Database) -> None:
    [found] = run("transcode", "verify", "--pod", "films", *JSON).data
    assert (found["result"], found["transcode"], found["error"]) == ("verified", 1, None)
    body = b"".join(object_store.get(f"{film}inventory.json"))
    [row] = rows(database, "SELECT inventory FROM app.renditions")
    assert hashlib.sha256(body).digest() == row["inventory"]
    listed = {each["name"] for each in json.loads(body)["objects"]}
    assert listed == {entry.key.removeprefix(film) for entry in object_store.list(film)} - {"inventory.json"}
    assert run("transcode", "verify", *JSON).data == [found]
    assert run("transcode", "verify", "1", *JSON).data == [found]
    assert run("transcode", "verify", "--preset", "mp4", *JSON).data == []
    run("transcode", "verify", "1", "--preset", "hls", expect=2)
    run("transcode", "verify", "2", expect=6)


@pytest.mark.parametrize(
    ("end", "body", "result"),
    [
        (".m4s", None, "missing"),
        ("master.m3u8", None, "missing"),
        ("inventory.json", None, "missing"),
        (".m4s", b"x", "differs"),
        ("index.m3u8", b"#EXTM3U", "differs"),
        ("inventory.json", b"{}", "differs"),
    ],
)
def test_what_is_lost_is_found_and_made_again(
    run: Run,
    film: str,
    object_store: ObjectStore,
    database: Database,
    end: str,
    body: bytes | None,
    result: str,
) -> None:
    key = named(object_store, film, end)
    object_store.delete([key])
    if body is not None:
        put(object_store, key, body)
    for options in ((), ("--apply", "--dry-run")):
        [found] = run("transcode", "verify", *options, *JSON, expect=12).data
        assert (found["result"], found["repair"]) == (result, None)
    [found] = run("transcode", "verify", "--apply", *JSON, expect=12).data
    assert found["repair"] == "is transcoded again: transcode 2"
    run("worker", "--once")
    [found] = run("transcode", "verify", *JSON).data
    assert (found["result"], found["transcode"]) == ("verified", 2)
    check(database, object_store, 1)


def test_a_store_that_is_away_says_nothing(run: Run, film: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUMACLE_LOCAL_ENDPOINT", "http://127.0.0.1:9")
    [found] = run("transcode", "verify", "--apply", *JSON, expect=3).data
    assert (found["result"], found["repair"]) == ("failed", None)


def test_renditions_of_the_release_before_have_no_inventory(
    run: Run, film: str, object_store: ObjectStore, database: Database
) -> None:
    size = object_store.head(f"{film}inventory.json").size
    object_store.delete([f"{film}inventory.json"])
    with database.session() as session:
        session.connection().exec_driver_sql(f"UPDATE app.renditions SET inventory = NULL, size = size - {size}")
    assert run("transcode", "verify", *JSON).data[0]["result"] == "verified"
    object_store.delete([named(object_store, film, ".m4s")])
    assert run("transcode", "verify", *JSON, expect=12).data[0]["result"] == "differs"


MASTER = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n360p/index.m3u8\n"
MEDIA = '#EXTM3U\n#EXT-X-MAP:URI="init.mp4"\n#EXTINF:6.0,\n0.m4s\n#EXTINF:2.0,\n1.m4s\n#EXT-X-ENDLIST\n'
NAMES = ("master.m3u8", "360p/index.m3u8", "360p/init.mp4", "360p/0.m4s", "360p/1.m4s")


@pytest.mark.unit
@pytest.mark.parametrize(
    ("master", "media", "error"),
    [
        (MASTER, MEDIA, None),
        ("", MEDIA, "master.m3u8 is no playlist"),
        (MASTER.replace("360p", "480p"), MEDIA, "master.m3u8 names 480p/index.m3u8, which is not there"),
        (MASTER, MEDIA.replace("init", "in"), "360p/index.m3u8 names in.mp4, which is not there"),
        (MASTER, MEDIA.replace("#EXT-X-ENDLIST", ""), "360p/index.m3u8 has no end"),
        (MASTER, MEDIA.replace("6.0", "4.0"), "360p/index.m3u8 lasts 6.0 s, and 8.0 s were published"),
    ],
)
def test_the_rules_of_players(master: str, media: str, error: str | None) -> None:
    assert unplayable({"master.m3u8": master, "360p/index.m3u8": media}, NAMES, 8000) == error

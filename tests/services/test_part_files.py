"""Downloads that break off: they go on where they stopped, in one part file, and only whole content appears."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dumacle_cli import errors, retry
from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.local.process import wait
from dumacle_cli.services import downloads, part_files, verification, versions
from dumacle_cli.services.part_files import OVERLAP
from dumacle_cli.store.database import Database
from dumacle_cli.store.files import Content, Selection
from dumacle_cli.store.models import Version
from tests import factories
from tests.services.breaking import Breaking, breaking
from tests.services.test_downloads import IRREGULAR, many, names, one, spoil

pytestmark = pytest.mark.integration

MIB = 1024**2
FILM = os.urandom(4 * MIB + 7)


@pytest.fixture
def broken(object_store: ObjectStore) -> Iterator[tuple[Breaking, ObjectStore]]:
    with breaking(object_store) as made:
        yield made


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait shortly between tries."""
    monkeypatch.setattr(retry, "FIRST_DELAY", 0.01)
    monkeypatch.setattr(retry, "LONGEST_DELAY", 0.1)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for a store that is away."""
    monkeypatch.setattr(downloads, "PATIENCE", 0.0)


def part(folder: Path) -> Path:
    [found] = folder.glob(".dumacle-*.part")
    return found


def download(objects: ObjectStore, content: Content, target: Path, *, force: bool = False) -> downloads.Result:
    return downloads.to_file(lambda *_: objects, content, target, force=force).result


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("cuts", [1, 5])
def test_an_answer_that_breaks_off_is_continued(
    database: Database, broken: tuple[Breaking, ObjectStore], tmp_path: Path, ranges: bool, cuts: int
) -> None:
    server, objects = broken
    content, target = one(database, server.behind, body=FILM), tmp_path / "film"
    server.cuts, server.after, server.ranges = cuts, 3 * MIB // 4, ranges
    assert download(objects, content, target) == "downloaded"
    assert target.read_bytes() == FILM
    assert names(tmp_path) == ["film"]
    if ranges:
        assert server.starts == [each * server.after for each in range(cuts + 1)]


def test_a_stream_goes_on_as_well(database: Database, broken: tuple[Breaking, ObjectStore]) -> None:
    server, objects = broken
    content = one(database, server.behind, body=FILM)
    server.cuts, server.after = 3, MIB
    assert b"".join(downloads.checked(lambda *_: objects, content)) == FILM
    assert server.starts == [0, MIB, 2 * MIB, 3 * MIB]


@pytest.mark.parametrize("size", [0, 5])
def test_a_store_that_is_away_for_a_while_is_waited_for(
    database: Database, broken: tuple[Breaking, ObjectStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    server, objects = broken
    content = one(database, server.behind, body=bytes(size))
    server.away = True
    waited: list[int] = []

    def wait(patience: retry.Patience, tries: int) -> None:
        waited.append(tries)
        server.away = tries < 1

    monkeypatch.setattr(retry.Patience, "_wait", wait)
    assert download(objects, content, tmp_path / "x") == "downloaded"
    assert waited == [0, 1]


def test_what_was_received_is_kept_and_told(
    database: Database, broken: tuple[Breaking, ObjectStore], tmp_path: Path, impatient: None
) -> None:
    server, objects = broken
    content, target = one(database, server.behind, body=FILM), tmp_path / "film"
    server.cuts, server.after = 99, 2 * MIB
    with pytest.raises(errors.DownloadIncomplete, match=r"2.00 MiB of 4.00 MiB are kept in \.dumacle") as told:
        download(objects, content, target)
    assert (told.value.exit, part(tmp_path).stat().st_size) == (errors.Exit.TEMPORARY, 2 * MIB)
    assert names(tmp_path) == [part(tmp_path).name]
    found = list(downloads.to_folder(database, lambda *_: objects, Selection(), tmp_path / "in", force=False))
    assert found[0].result == "failed"
    assert "are kept in" in str(found[0].error)
    server.cuts, before = 0, len(server.starts)
    assert download(objects, content, target) == "downloaded"
    assert server.starts[before:] == [2 * MIB - OVERLAP]
    assert (target.read_bytes(), names(tmp_path)) == (FILM, ["film", "in"])


def test_a_store_that_stays_away_is_given_up_and_leaves_nothing(
    database: Database, broken: tuple[Breaking, ObjectStore], tmp_path: Path, impatient: None
) -> None:
    server, objects = broken
    content = one(database, server.behind)
    server.away = True
    with pytest.raises(errors.StoreUnavailable):
        download(objects, content, tmp_path / "x")
    assert names(tmp_path) == []


THERE: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda body: b"",
    "little": lambda body: body[:OVERLAP],
    "half": lambda body: body[: len(body) // 2],
    "all": lambda body: body,
    "a torn end": lambda body: body[: len(body) // 2] + bytes(OVERLAP // 2),
    "another content of its size": lambda body: os.urandom(len(body) // 2),
    "another content with the same end": lambda body: os.urandom(MIB) + body[MIB : 2 * MIB],
    "a longer content": lambda body: body + b"more",
}


@pytest.mark.parametrize("there", THERE)
@pytest.mark.parametrize("known", [True, False])
def test_a_part_file_is_continued_or_replaced(
    database: Database,
    broken: tuple[Breaking, ObjectStore],
    tmp_path: Path,
    there: str,
    known: bool,
    impatient: None,
) -> None:
    """Whatever it holds: the whole content comes out, and no other file."""
    server, objects = broken
    content, target = one(database, server.behind, body=FILM), tmp_path / "film"
    server.cuts, server.after = 1, MIB
    with pytest.raises(errors.DownloadIncomplete):
        download(objects, content, target)
    part(tmp_path).write_bytes(THERE[there](FILM))
    if not known:
        with database.session() as session:
            session.get_one(Version, content.version_id).sha256 = None
        with database.session() as session:
            content = versions.content(session, content.file_id)
    server.starts.clear()
    assert download(objects, content, target) == "downloaded"
    assert (target.read_bytes(), names(tmp_path)) == (FILM, ["film"])
    continued = known and there in ("half", "all")
    assert (0 not in server.starts) is continued


def test_a_new_version_replaces_what_was_received_of_the_old_one(
    database: Database, broken: tuple[Breaking, ObjectStore], tmp_path: Path, impatient: None
) -> None:
    server, objects = broken
    old, new = (one(database, server.behind, "x", body) for body in (FILM, FILM[::-1]))
    server.cuts, server.after = 1, MIB
    with pytest.raises(errors.DownloadIncomplete):
        download(objects, old, tmp_path / "film")
    assert download(objects, new, tmp_path / "film") == "downloaded"
    assert (tmp_path / "film").read_bytes() == FILM[::-1]
    assert names(tmp_path) == ["film"]


@pytest.mark.parametrize("resumed", [True, False])
def test_wrong_bytes_are_not_kept(
    database: Database, broken: tuple[Breaking, ObjectStore], tmp_path: Path, resumed: bool, impatient: None
) -> None:
    server, objects = broken
    content, target = one(database, server.behind, body=FILM), tmp_path / "film"
    if resumed:
        server.cuts, server.after = 1, MIB
        with pytest.raises(errors.DownloadIncomplete):
            download(objects, content, target)
    spoil(server.behind, content, FILM[:-1] + b"?")
    with pytest.raises(errors.ContentDiffers):
        download(objects, content, target)
    assert names(tmp_path) == []


def test_two_downloads_to_one_target_do_not_mix(database: Database, object_store: ObjectStore, tmp_path: Path) -> None:
    content, target = one(database, object_store, body=FILM), tmp_path / "film"
    folder = os.open(tmp_path, os.O_RDONLY)
    with part_files.opened(folder, b"film") as held:
        held.write(FILM[:10])
        with pytest.raises(errors.DownloadBusy):
            download(object_store, content, target)
        assert part(tmp_path).exists()
    os.close(folder)
    assert download(object_store, content, target) == "downloaded"


@pytest.mark.parametrize("kind", [*IRREGULAR, "another name of a file"])
def test_what_has_the_name_of_the_part_file_is_kept(
    database: Database, object_store: ObjectStore, tmp_path: Path, kind: str
) -> None:
    content, target = one(database, object_store, body=FILM), tmp_path / "film"
    (tmp_path / "mine").write_bytes(b"mine")
    name = tmp_path / f".dumacle-{hashlib.sha256(b'film').hexdigest()[:16]}.part"
    {**IRREGULAR, "another name of a file": lambda place: place.hardlink_to(tmp_path / "mine")}[kind](name)
    before = name.lstat().st_ino
    with pytest.raises(errors.Conflict, match="not a part file"):
        download(object_store, content, target)
    assert (name.lstat().st_ino, (tmp_path / "mine").read_bytes()) == (before, b"mine")
    assert not target.exists()


KILLED = """
import sys
from pathlib import Path
from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.clients.objects import Location
from dumacle_cli.services import downloads
from dumacle_cli.store.files import Content
from dumacle_cli.store.places import Place
location, content, target = eval(sys.stdin.read())
downloads.to_file(lambda *_: ObjectStore(location), content, Path(target), force=False)
"""


def received(folder: Path) -> bool:
    return any(path.stat().st_size >= 2 * MIB for path in folder.glob(".dumacle-*.part"))


def test_a_killed_download_leaves_one_part_file_that_the_next_one_continues(
    database: Database, broken: tuple[Breaking, ObjectStore], tmp_path: Path
) -> None:
    server, objects = broken
    content, target = one(database, server.behind, body=FILM), tmp_path / "film"
    server.hold = True
    at = objects.location
    keys = f"access_key={at.access_key!r}, secret_key={at.secret_key!r}"
    place = f"Location({at.provider!r}, {at.endpoint!r}, {at.region!r}, {at.bucket!r}, {keys})"
    for kills, server.after in ((1, 3 * MIB), (2, MIB // 2)):
        with subprocess.Popen([sys.executable, "-c", KILLED], stdin=subprocess.PIPE) as child:
            try:
                assert child.stdin
                child.stdin.write(f"{place}, {content!r}, {str(target)!r}".encode())
                child.stdin.close()
                wait(lambda: child.poll() is not None or (len(server.starts) >= kills and received(tmp_path)), 60)  # noqa: B023
                assert (child.poll(), received(tmp_path)) == (None, True)
            finally:
                child.kill()
        assert names(tmp_path) == [part(tmp_path).name]
    server.hold = False
    assert download(objects, content, target) == "downloaded"
    assert server.starts[-1] >= 2 * MIB - OVERLAP
    assert (target.read_bytes(), names(tmp_path)) == (FILM, ["film"])


def test_breaking_off_leaves_only_what_the_next_one_continues(
    database: Database, object_store: ObjectStore, tmp_path: Path
) -> None:
    for number in range(20):
        one(database, object_store, f"f{number}", bytes(3 * MIB))
    found = downloads.to_folder(database, lambda *_: object_store, Selection(), tmp_path, force=False)
    next(found)
    found.close()  # type: ignore[attr-defined]
    assert len([name for name in names(tmp_path) if name.startswith("f")]) < 20
    assert set(many(database, object_store, tmp_path).values()) <= {"downloaded", "unchanged"}
    assert names(tmp_path) == sorted(f"f{number}" for number in range(20))


def test_many_come_in_order_and_several_at_once(
    database: Database, broken: tuple[Breaking, ObjectStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With fewer rows ahead than there are, as with millions."""
    monkeypatch.setattr(downloads, "PAGE", 7)
    monkeypatch.setattr(downloads, "AHEAD", 10)
    server, objects = broken
    with database.session() as session:
        ada, pod = factories.make_user(session), factories.make_pod(session)
        for number in range(40):
            factories.make_file(session, pod, ada, f"{number:03}", b"%d" % number, store=server.behind)
    server.latency = 0.2
    began = time.monotonic()
    found = list(downloads.to_folder(database, lambda *_: objects, Selection(), tmp_path, force=False))
    assert [each.path for each in found] == [f"{number:03}" for number in range(40)]
    assert {each.result for each in found} == {"downloaded"}
    assert time.monotonic() - began < 40 * server.latency / 2
    assert (tmp_path / "017").read_bytes() == b"17"


def test_an_outage_is_waited_for_once_and_not_for_each_file(
    database: Database, broken: tuple[Breaking, ObjectStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "PATIENCE", 0.5)
    server, objects = broken
    with database.session() as session:
        ada, pod = factories.make_user(session), factories.make_pod(session)
        for number in range(30):
            factories.make_file(session, pod, ada, f"{number}")
    server.away = True
    pauses: list[float] = []
    monkeypatch.setattr("threading.Event.wait", lambda _, seconds=None: pauses.append(seconds or 0))
    assert set(many(database, objects, tmp_path / "in").values()) == {"failed"}
    assert len([each for each in pauses if each]) < 100
    found = verification.run(database, lambda *_: objects, Selection(), read=True, record=True)
    assert {each.result for each in found} == {"failed"}
    assert len([each for each in pauses if each]) < 200


def test_an_interrupted_download_ends_soon_though_the_store_hangs(
    configured: None,
    environment: Callable[..., None],
    database: Database,
    broken: tuple[Breaking, ObjectStore],
    tmp_path: Path,
) -> None:
    server, objects = broken
    with database.session() as session:
        ada, pod = factories.make_user(session, "ada@x"), factories.make_pod(session, bucket=objects.location.bucket)
        for name in "ab":
            factories.make_file(session, pod, ada, name, FILM, store=server.behind)
    environment(DUMACLE_LOCAL_ENDPOINT=objects.location.endpoint)
    server.hold, server.after = True, MIB
    asked = (sys.executable, "-m", "dumacle_cli", "files", "download", "--owner", "ada@x", "--to", str(tmp_path / "in"))
    with subprocess.Popen(asked) as child:
        until = time.monotonic() + 30
        while time.monotonic() < until and len(server.starts) < 2:
            time.sleep(0.05)
        time.sleep(0.5)
        began = time.monotonic()
        child.send_signal(signal.SIGINT)
        assert child.wait(30) == errors.Exit.INTERRUPTED
    assert time.monotonic() - began < 10
    assert [path.suffix for path in (tmp_path / "in").iterdir()] == [".part", ".part"]

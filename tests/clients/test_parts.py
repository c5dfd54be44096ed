"""Films that were broken off: what the store took is not sent again, whatever it lists and whatever its ETags are."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from dumacle_cli import retry
from dumacle_cli.errors import Exit
from dumacle_cli.local.process import wait
from dumacle_cli.store import parts
from dumacle_cli.store.database import Database
from dumacle_cli.store.parts import Holder, SentPart
from tests.clients.small_store import Answer, SmallStore, fault
from tests.clients.test_bad_stores import far, store, upload, verified
from tests.conftest import Run

__all__ = ["far", "store"]

pytestmark = pytest.mark.integration

MIB = 1024**2
PARTS = 4
Wrong = Callable[[str, str], Answer]


@pytest.fixture
def film(far: Run, store: SmallStore, tmp_path: Path, environment: Callable[..., None]) -> Path:
    """A film of four parts."""
    environment(DUMACLE_LARGE_FILE_SIZE="1MiB", DUMACLE_PATIENCE="0s")
    place = tmp_path / "film.mov"
    place.write_bytes(b"first" * (4 * MIB))
    return place


def break_off(far: Run, store: SmallStore, film: Path) -> None:
    """Upload all parts but the third, which is refused once the others were sent."""

    def others() -> set[str]:
        return {path for method, path in store.seen if method == "PUT" and "partNumber=3" not in path}

    def refused(method: str, path: str) -> Answer | None:
        if "partNumber=3" not in path:
            return None
        assert wait(lambda: len(others()) == PARTS - 1, 60)
        return fault("SlowDown", 503)(method, path)

    store.fault = refused
    upload(far, film, Exit.TEMPORARY)
    assert len(others()) == PARTS - 1
    store.fault = lambda method, path: None
    store.seen.clear()


def edit(film: Path) -> None:
    """Change the first part, and neither size nor time."""
    times = film.stat()
    film.write_bytes(b"other" + film.read_bytes()[5:])
    os.utime(film, ns=(times.st_atime_ns, times.st_mtime_ns))


def sent_again(store: SmallStore) -> list[int]:
    paths = [path for method, path in store.seen if method == "PUT"]
    return sorted(int(path.split("partNumber=")[1].split("&")[0]) for path in paths)


def settled(far: Run, store: SmallStore, film: Path, database: Database) -> None:
    """The object is the film, and nothing is remembered of its parts."""
    assert verified(far, "--read") == ["verified"]
    assert [body for body, _ in store.objects.values()] == [film.read_bytes()]
    with database.session() as session:
        assert session.scalar(text("SELECT count(*) FROM app.parts")) == 0


ETAGS: dict[str, Callable[[bytes], str]] = {
    "md5": lambda body: hashlib.md5(body).hexdigest(),
    "constant": lambda body: "x",
    "like md5": lambda body: hashlib.md5(b"secret" + body).hexdigest(),
}
NO_LISTS = [
    fault("NoSuchKey", 404),
    fault("NotImplemented", 501),
    fault("MethodNotAllowed", 405),
    fault("AccessDenied", 403),
    lambda method, path: (200, b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>", {}),
]


@pytest.mark.parametrize("etag", ETAGS.values(), ids=ETAGS)
@pytest.mark.parametrize("edited", [False, True], ids=["unchanged", "edited"])
def test_parts_that_the_store_took_are_not_sent_again(
    far: Run, store: SmallStore, film: Path, database: Database, etag: Callable[[bytes], str], edited: bool
) -> None:
    store.etag = etag
    break_off(far, store, film)
    if edited:
        edit(film)
    upload(far, film, 0)
    assert sent_again(store) == ([1, 3] if edited else [3])
    settled(far, store, film, database)


@pytest.mark.parametrize("wrong", NO_LISTS)
@pytest.mark.parametrize("edited", [False, True], ids=["unchanged", "edited"])
def test_a_store_that_lists_no_parts(
    far: Run, store: SmallStore, film: Path, database: Database, wrong: Wrong, edited: bool
) -> None:
    store.etag = ETAGS["constant"]
    break_off(far, store, film)
    if edited:
        edit(film)
    store.fault = lambda method, path: wrong(method, path) if method == "GET" and "uploadId" in path else None
    upload(far, film, 0)
    assert sent_again(store) == ([1, 3] if edited else [3])
    settled(far, store, film, database)


@pytest.mark.parametrize("wrong", NO_LISTS)
def test_a_store_that_lists_no_parts_and_lost_one(
    far: Run, store: SmallStore, film: Path, database: Database, wrong: Wrong
) -> None:
    break_off(far, store, film)
    for there in store.uploads.values():
        del there[2]
    store.fault = lambda method, path: wrong(method, path) if method == "GET" and "uploadId" in path else None
    upload(far, film, 0)
    assert sent_again(store) == [1, 2, 3, 3, 4]  # the store refuses to complete it, so that it begins again
    settled(far, store, film, database)


def test_parts_of_a_lost_upload_are_not_tried_any_longer(
    far: Run,
    store: SmallStore,
    film: Path,
    database: Database,
    environment: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The store answers for one part that the upload is gone, and for the others nothing that tells it."""
    environment(DUMACLE_PATIENCE="1h")
    monkeypatch.setattr(retry, "LONGEST_DELAY", 0.1)
    lost: list[str] = []

    def forget(method: str, path: str) -> Answer | None:
        if "partNumber" not in path:
            return None
        lost[:] = lost or [path.split("uploadId=")[1]]
        if lost[0] not in path:
            return None
        return (
            fault("NoSuchUpload", 404)(method, path) if "partNumber=4" in path else fault("SlowDown", 503)(method, path)
        )

    store.fault = forget
    upload(far, film, 0)
    settled(far, store, film, database)


def test_a_part_that_the_store_does_not_list_is_sent_again(
    far: Run, store: SmallStore, film: Path, database: Database
) -> None:
    break_off(far, store, film)
    for there in store.uploads.values():
        del there[2]
    upload(far, film, 0)
    assert sent_again(store) == [2, 3]
    settled(far, store, film, database)


def test_a_part_that_the_store_lists_with_another_etag_is_sent_again(
    far: Run, store: SmallStore, film: Path, database: Database
) -> None:
    break_off(far, store, film)
    for there in store.uploads.values():
        there[2] = bytes(len(there[2]))
    upload(far, film, 0)
    assert sent_again(store) == [2, 3]
    settled(far, store, film, database)


def test_an_upload_that_the_store_forgot_is_begun_again(
    far: Run, store: SmallStore, film: Path, database: Database
) -> None:
    break_off(far, store, film)
    store.uploads.clear()
    upload(far, film, 0)
    assert sent_again(store) == [1, 2, 3, 4]
    settled(far, store, film, database)


@pytest.mark.parametrize("etag", ETAGS.values(), ids=ETAGS)
@pytest.mark.parametrize("edited", [False, True], ids=["unchanged", "edited"])
def test_parts_whose_answers_were_not_recorded(
    far: Run, store: SmallStore, film: Path, database: Database, etag: Callable[[bytes], str], edited: bool
) -> None:
    store.etag = etag
    break_off(far, store, film)
    with database.session() as session:
        session.execute(text("DELETE FROM app.parts"))
    if edited:
        edit(film)
    # What may be an MD5 shows that a part is another one; else the whole is read back, refused, and sent anew later.
    refused = edited and etag is ETAGS["constant"]
    told = upload(far, film, Exit.INTEGRITY if refused else 0)
    assert len(sent_again(store)) == (4 if etag is ETAGS["like md5"] else 2 if edited and not refused else 1)
    if refused:
        assert "differs" in told
        upload(far, film, 0)
        far("files", "reap")
    settled(far, store, film, database)


def test_what_is_recorded_of_parts_is_of_the_present_upload_and_holder(
    far: Run, store: SmallStore, film: Path, database: Database
) -> None:
    break_off(far, store, film)
    with database.session() as session:
        row = session.execute(text("SELECT id, lease_id, upload_id FROM app.versions")).one()
        session.execute(text("DELETE FROM app.parts"))
    ours = Holder(row.id, row.lease_id, row.upload_id)
    part = SentPart(1, 5, "e", bytes(32))
    with database.session() as session:
        parts.record(session, [(Holder(row.id, row.lease_id + 1, row.upload_id), part)])
        parts.record(session, [(Holder(row.id, row.lease_id, "another"), part)])
        assert parts.sent(session, ours) == {}
        parts.record(session, [(ours, part)])
        parts.record(session, [(ours, SentPart(1, 6, "f", bytes(32)))])
        assert parts.sent(session, ours) == {1: SentPart(1, 6, "f", bytes(32))}
        assert parts.sent(session, Holder(row.id, row.lease_id, "another")) == {}
        parts.begin(session, Holder(row.id, row.lease_id, "another"))
        assert len(parts.sent(session, ours)) == 1
        parts.begin(session, ours)
        assert parts.sent(session, ours) == {}

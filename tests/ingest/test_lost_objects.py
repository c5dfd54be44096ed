"""A file whose object was found missing or different is uploaded again, whatever its source looks like."""

import hashlib
import os
from collections.abc import Callable

import pytest
from sqlalchemy import text

from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.store.database import Database
from tests.conftest import Result, Run
from tests.ingest import checker
from tests.ingest.conftest import Drive, Fill, Meddler

pytestmark = pytest.mark.integration
Upload = Callable[..., Result]
Harm = Callable[[ObjectStore, str], None]
OWNER = ("--owner", "ada@example.com")
MIB = 1024**2


def remove(store: ObjectStore, key: str) -> None:
    store.delete([key])


def shorten(store: ObjectStore, key: str) -> None:
    store.delete([key])
    store.put(key, b"short", hashlib.sha256(b"short").hexdigest(), "image/jpeg")


def counts(result: Result) -> dict[str, int]:
    names = ("uploaded", "new_versions", "unchanged", "failed")
    return {name: result.data[name] for name in names if result.data[name]}


def key_of(run: Run, path: str) -> str:
    return str(run("files", "show", path, *OWNER, "-o", "json").data["key"])


@pytest.mark.parametrize("harm", [remove, shorten])
@pytest.mark.parametrize("size", [0, 100, 17 * MIB])
@pytest.mark.parametrize("options", [[], ["--checksum"]])
def test_next_upload_brings_it_back(
    harm: Harm,
    size: int,
    options: list[str],
    upload: Upload,
    fill: Fill,
    run: Run,
    database: Database,
    object_store: ObjectStore,
) -> None:
    folder = fill(lost=size, fine=100)
    upload(folder)
    harm(object_store, key_of(run, "lost.jpg"))
    assert counts(upload(folder)) == {"unchanged": 2}
    run("files", "verify", *OWNER, expect=12)
    foreseen = upload(folder, *options, "--dry-run")
    real = upload(folder, *options)
    assert counts(foreseen) == counts(real) == {"uploaded": 1, "new_versions": 1, "unchanged": 1}
    checker.books(database)
    run("files", "verify", "--read", *OWNER)
    assert counts(upload(folder)) == {"unchanged": 2}


def test_it_comes_back_when_only_touched(upload: Upload, fill: Fill, run: Run, object_store: ObjectStore) -> None:
    folder = fill(lost=100)
    upload(folder)
    remove(object_store, key_of(run, "lost.jpg"))
    run("files", "verify", *OWNER, expect=12)
    os.utime(folder / "lost.jpg", ns=(0, 7))
    assert counts(upload(folder)) == {"uploaded": 1, "new_versions": 1}
    run("files", "verify", "--read", *OWNER)


def test_an_attempt_that_fails_does_not_make_it_known_again(
    upload: Upload, drive: Drive, fill: Fill, run: Run, object_store: ObjectStore
) -> None:
    folder = fill(lost=100)
    upload(folder)
    remove(object_store, key_of(run, "lost.jpg"))
    run("files", "verify", *OWNER, expect=12)
    source = folder / "lost.jpg"
    aside = folder.parent / "aside"
    assert drive(folder, Meddler(when_planned=lambda: source.rename(aside))).failed == 1
    aside.rename(source)
    assert counts(upload(folder)) == {"uploaded": 1, "new_versions": 1}


def test_what_is_found_again_stays(
    upload: Upload, fill: Fill, run: Run, database: Database, object_store: ObjectStore
) -> None:
    folder = fill(one=100)
    upload(folder)
    key, body = key_of(run, "one.jpg"), (folder / "one.jpg").read_bytes()
    remove(object_store, key)
    run("files", "verify", *OWNER, expect=12)
    object_store.put(key, body, hashlib.sha256(body).hexdigest(), "image/jpeg")
    run("files", "verify", "--read", *OWNER)
    assert counts(upload(folder)) == {"unchanged": 1}
    with database.session() as session:
        assert session.scalar(text("SELECT count(*) FROM app.versions")) == 1


def test_a_store_that_cannot_be_asked_loses_nothing(
    upload: Upload, fill: Fill, run: Run, environment: Callable[..., None]
) -> None:
    folder = fill(one=100)
    upload(folder)
    run("files", "verify", *OWNER, "--set", "local_endpoint=http://127.0.0.1:9", expect=3)
    assert counts(upload(folder)) == {"unchanged": 1}

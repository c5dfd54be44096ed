"""`dumacle files` through the only door."""

import hashlib
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import urlopen

import pytest
from sqlalchemy import select

from dumacle_cli import errors
from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.clients.objects import Location
from dumacle_cli.store.database import Database
from dumacle_cli.store.models import File, Pod, User, Version
from tests import factories
from tests.terminal import ask

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Run

pytestmark = pytest.mark.integration

ADA, BOB = "ada@example.com", "bob@example.com"
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def ids(database: Database, object_store: ObjectStore, bucket: Location) -> dict[str, int]:
    """Ada's files in pod `films`, by path; the last was deleted."""
    with database.session() as session:
        ada, bob = factories.make_user(session, ADA), factories.make_user(session, BOB)
        pod, plan = factories.make_pod(session, "films", bucket=bucket.bucket), factories.make_plan(session)
        for user in (ada, bob):
            factories.make_grant(session, pod, user)
            factories.make_subscription(session, user, plan)
        made = [
            factories.make_file(session, pod, ada, "a/1", b"one", store=object_store),
            factories.make_file(session, pod, ada, "a/22", b"twotwo", store=object_store),
            factories.make_file(session, pod, ada, "lost", b"lost", store=object_store, deleted_at=LONG_AGO),
        ]
        return {file.path: file.id for file in made}


def paths(run: "Run", *more: str) -> list[str]:
    return [file["path"] for file in run("files", "list", "-o", "json", *more).data]


@pytest.mark.parametrize("verb", [("verify",), ("relocate", "--to-pod", "films"), ("download",), ("url",)])
def test_a_file_that_was_never_stored_is_told_where_it_is_named(
    run: "Run", ids: dict[str, int], database: Database, verb: tuple[str, ...]
) -> None:
    with database.session() as session:
        pod, owner = session.execute(select(File.pod_id, File.owner_id).limit(1)).one()
        session.add(File(pod_id=pod, owner_id=owner, path="begun", size=5))
    told = run("files", verb[0], "begun", "--owner", ADA, *verb[1:], "-o", "json", expect=7).error
    assert "its upload never ended" in told["message"]
    assert "begun" not in run("files", "verify", "--owner", ADA, "-o", "json").out


def test_list_filters_sorts_pages_and_streams(run: "Run", ids: dict[str, int]) -> None:
    assert paths(run) == ["a/1", "a/22"]
    assert paths(run, "--owner", ADA, "--prefix", "a/2") == ["a/22"]
    everybodys, hers = (run("files", "list", *filters).out.splitlines() for filters in ((), ("--owner", ADA)))
    assert everybodys[0].split()[:4] == ["id", "owner", "pod", "path"]
    assert hers[0].split()[:3] == ["id", "pod", "path"]
    assert ADA in everybodys[1]
    assert ADA not in "".join(hers)
    assert run("files", "list", "--owner", ADA, "-o", "csv").out.startswith("id,owner,pod,path")
    assert paths(run, "--pod", "films", "--sort", "size", "--desc") == ["a/22", "a/1"]
    assert paths(run, "--status", "failed") == []
    assert paths(run, "--deleted") == ["lost"]
    first = run("files", "list", "--limit", "1", "-o", "json").json
    assert paths(run, "--limit", "1", "--after", first["next"]) == ["a/22"]
    assert paths(run, "--limit", "1", "--all") == ["a/1", "a/22"]
    for wrong, said in (
        (["--sort", "path"], "--sort path needs --owner or --pod"),
        (["--prefix", "a"], "--prefix needs --owner or --pod"),
        (["--prefix", "a", "--sort", "size"], "--prefix sorts by path; remove --sort"),
        (["--deleted", "--sort", "size"], "--deleted sorts by time of deletion; remove --sort"),
    ):
        assert run("files", "list", *wrong, "-o", "json", expect=2).error["message"] == said


def test_show_tells_the_whole_story(run: "Run", ids: dict[str, int]) -> None:
    shown = run("files", "show", "a/1", "--owner", ADA, "--watch", "-o", "json").data
    assert (shown["id"], shown["owner"], shown["pod"]) == (ids["a/1"], ADA, "films")
    assert shown["sha256"] == hashlib.sha256(b"one").hexdigest()
    assert [version["key"] for version in shown["versions"]] == [shown["key"]]
    run("files", "show", "999", expect=6)


def test_url_downloads_without_a_login(run: "Run", ids: dict[str, int]) -> None:
    link = run("files", "url", ids["a/1"], "--expires", "5min", "-o", "json").data
    with urlopen(link["url"]) as answer:
        assert answer.read() == b"one"
        assert 'filename="1"' in answer.headers["Content-Disposition"]
    run("files", "url", str(ids["a/1"]), "--expires", "8d", expect=2)
    run("files", "url", str(ids["lost"]), expect=7)


def test_download_one(run: "Run", ids: dict[str, int], tmp_path: Path) -> None:
    target = tmp_path / "x"
    assert (
        run("files", "download", "a/1", "--owner", ADA, "--to", target, "-o", "json").data[0]["result"] == "downloaded"
    )
    assert target.read_bytes() == b"one"
    run("files", "download", "a/22", "--owner", ADA, "--to", target, expect=7)
    run("files", "download", "a/22", "--owner", ADA, "--to", target, "--force")
    assert target.read_bytes() == b"twotwo"
    piped = run("files", "download", str(ids["a/1"]), "--to", "-")
    assert piped.raw == b"one"
    assert "downloaded" in piped.err
    assert run("files", "download", str(ids["a/1"]), "--to", "/dev/stdout").raw == b"one"


def test_download_to_what_is_no_folder(run: "Run", ids: dict[str, int], tmp_path: Path) -> None:
    one, many = (str(ids["a/1"]),), ("--owner", ADA)
    assert run("files", "download", *one, "--to", f"{tmp_path}/new/sub/", "-q").code == 0
    (got,) = (tmp_path / "new" / "sub").iterdir()
    for what, to in ((one, f"{got}/"), (one, f"{got}/x"), (one, f"{tmp_path}/absent/x"), (many, f"{got}")):
        error = run("files", "download", *what, "--to", to, "-o", "json", expect=2).error
        assert (error["code"], "folder" in error["message"]) == ("invalid-value", True)


def test_download_onto_what_is_no_file(run: "Run", ids: dict[str, int], tmp_path: Path) -> None:
    (tmp_path / "1").symlink_to("nowhere")
    asked = ("files", "download", "a/1", "--owner", ADA, "--to", tmp_path, "--force", "-o", "json")
    refused = run(*asked, expect=7).error["message"]
    assert refused == f"{tmp_path}/1 is a symbolic link, and only regular files are replaced"


def test_download_many(run: "Run", ids: dict[str, int], tmp_path: Path) -> None:
    asked = ("files", "download", "--owner", ADA, "--prefix", "a/", "--to", tmp_path, "-o", "json")
    assert [row["result"] for row in run(*asked).data] == ["downloaded", "downloaded"]
    (tmp_path / "a" / "1").write_bytes(b"mine")
    assert [row["result"] for row in run(*asked, expect=3).data] == ["refused", "unchanged"]
    run("files", "download", "--owner", ADA, expect=2)
    for filters in (("--prefix", "a"), ("--status", "uploaded"), ("--older-than", "1d")):
        run("files", "download", "a/1", *filters, expect=2)


def test_quiet_downloads_print_only_what_failed(run: "Run", ids: dict[str, int], tmp_path: Path) -> None:
    asked = ("files", "download", "--owner", ADA, "--to", tmp_path, "-q")
    assert run(*asked).out == ""
    assert (tmp_path / "a" / "22").read_bytes() == b"twotwo"
    (tmp_path / "a" / "1").write_bytes(b"mine")
    assert "refused" in run(*asked, expect=3).out
    assert "unchanged" not in run(*asked, expect=3).out


def test_filters_of_downloads(run: "Run", ids: dict[str, int], database: Database, tmp_path: Path) -> None:
    with database.session() as session:
        session.get_one(File, ids["a/1"]).created_at = LONG_AGO
        session.get_one(File, ids["a/22"]).upload_status = "verified"
    for number, (filters, path) in enumerate(((("--status", "verified"), "a/22"), (("--older-than", "10d"), "a/1"))):
        asked = ("files", "download", "--owner", ADA, *filters, "--to", tmp_path / str(number), "-o", "json")
        assert [row["path"] for row in run(*asked).data] == [path]


def test_move(run: "Run", ids: dict[str, int]) -> None:
    run("files", "move", "--owner", ADA, "--to-owner", BOB, "--max", "1", expect=8)
    foreseen = run("files", "move", "--owner", ADA, "--to-owner", BOB, "--dry-run", "-o", "json")
    assert paths(run, "--owner", BOB) == []
    moved = run("files", "move", "--owner", ADA, "--to-owner", BOB, "-o", "json")
    assert moved.data == foreseen.data == {"files": 2, "bytes": 9}
    assert paths(run, "--owner", BOB) == ["a/1", "a/22"]


def test_versions(
    run: "Run", ids: dict[str, int], database: Database, object_store: ObjectStore, tmp_path: Path
) -> None:
    with database.session() as session:
        file = session.get_one(File, ids["a/1"])
        first = file.version_id
        second = factories.make_version(session, file, b"newer", store=object_store)
        session.get_one(Version, first).status = "superseded"
        file.version_id, file.size, file.sha256 = second.id, second.size, second.sha256
    asked = ("a/1", "--owner", ADA)
    listed = run("files", "versions", *asked, "-o", "json").data
    assert [(each["size"], each["current"]) for each in listed] == [(5, True), (3, False)]
    run("files", "download", *asked, "--version", str(first), "--to", tmp_path / "old")
    assert (tmp_path / "old").read_bytes() == b"one"
    assert run("files", "download", *asked, "--version", str(first), "--to", "-").raw == b"one"
    with urlopen(run("files", "url", *asked, "--version", str(first), "-o", "json").data["url"]) as answer:
        assert answer.read() == b"one"
    for wrong in (("download", "--owner", ADA, "--to", str(tmp_path)), ("restore", "--owner", ADA)):
        run("files", *wrong, "--version", str(first), expect=2)
    run("files", "url", *asked, "--version", str(first), "--rendition", "hls", expect=2)
    run("files", "download", *asked, "--version", "999", expect=6)
    foreseen = run("files", "restore", *asked, "--version", str(first), "--dry-run", "-o", "json")
    assert run("files", "show", *asked, "-o", "json").data["size"] == 5
    restored = run("files", "restore", *asked, "--version", str(first), "--op-id", "once", "-o", "json")
    assert restored.data == foreseen.data == {"files": 1, "bytes": 3}
    assert run("files", "show", *asked, "-o", "json").data["size"] == 3
    assert run("files", "restore", *asked, "--version", str(first), "-o", "json").json["changed"] is False


def test_rename(run: "Run", ids: dict[str, int]) -> None:
    run("files", "rename", "a/1", "one", "--owner", ADA)
    assert paths(run, "--owner", ADA) == ["one", "a/22"]
    run("files", "rename", "--owner", ADA, "--prefix", "a/", "--to", "b/", "--dry-run")
    assert paths(run, "--owner", ADA) == ["one", "a/22"]
    renamed = run("files", "rename", "--owner", ADA, "--prefix", "a/", "--to", "b/", "-o", "json").json
    assert (renamed["data"], renamed["changed"]) == ({"files": 1, "bytes": 6}, True)
    assert paths(run, "--owner", ADA) == ["one", "b/22"]
    run("files", "rename", "one", "b/22", "--owner", ADA, expect=7)
    run("files", "rename", "--owner", ADA, "--prefix", "b/", "--to", "c/", "--max", "1")
    for wrong in (("one",), ("--prefix", "b/"), ("--to", "b/"), ("one", "two", "--prefix", "b/"), ()):
        run("files", "rename", *wrong, "--owner", ADA, expect=2)


def test_relocate(run: "Run", ids: dict[str, int], database: Database, bucket: Location, tmp_path: Path) -> None:
    with database.session() as session:
        pod, file = factories.make_pod(session, "clips", bucket=bucket.bucket, prefix="clips"), ids["a/1"]
        factories.make_rendition(session, factories.make_transcode(session, session.get_one(File, file)))
        owner = session.get_one(File, file).owner_id
    asked = ("files", "relocate", "--owner", ADA, "--prefix", "a/", "--to-pod", "clips", "-o", "json")
    refused = run(*asked, expect=3)
    assert {row["error"] for row in refused.data} == {f"{ADA} has no grant on pod clips"}
    with database.session() as session:
        factories.make_grant(session, session.get_one(Pod, pod.id), session.get_one(User, owner))
    run(*asked, "--max", "1", expect=8)
    foreseen = run(*asked, "--dry-run")
    assert paths(run, "--pod", "clips") == []
    done = run(*asked)
    assert [row | {"new_id": None} for row in done.data] == foreseen.data
    assert (done.json["changed"], foreseen.json["changed"], run(*asked).json["changed"]) == (True, True, False)
    assert (paths(run, "--pod", "clips"), paths(run, "--pod", "films")) == (["a/1", "a/22"], [])
    run("files", "download", "a/1", "--owner", ADA, "--to", tmp_path / "one")
    assert (tmp_path / "one").read_bytes() == b"one"


def test_delete_asks_and_takes_effect_once(run: "Run", ids: dict[str, int]) -> None:
    run("files", "delete", "a/1", "--owner", ADA, expect=2)
    run("files", "delete", "--owner", ADA, "--yes", "--max", "1", expect=8)
    run("files", "delete", "--yes", expect=2)
    asked = ("files", "delete", "a/1", "--owner", ADA, "--yes", "--op-id", "once", "-o", "json")
    assert (run(*asked).json["changed"], run(*asked).json["changed"]) == (True, False)
    assert run(*asked).data == {"files": 1, "bytes": 3}
    assert paths(run) == ["a/22"]


def test_restore(run: "Run", ids: dict[str, int]) -> None:
    run("files", "restore", "lost", "--owner", ADA)
    assert paths(run, "--owner", ADA) == ["a/1", "a/22", "lost"]
    run("files", "restore", str(ids["lost"]), expect=7)


def test_purge(run: "Run", ids: dict[str, int], object_store: ObjectStore) -> None:
    assert run("files", "purge", "--older-than", "3650d", "--yes", "-o", "json").json["changed"] is False
    foreseen = run("files", "purge", "--dry-run", "-o", "json")
    assert len(list(object_store.list(""))) == 3
    run("files", "purge", expect=2)
    purged = run("files", "purge", "--yes", "-o", "json")
    assert purged.data == foreseen.data == {"files": 1, "versions": 1, "renditions": 0, "bytes": 4, "skipped": 0}
    assert len(list(object_store.list(""))) == 2
    run("files", "purge", str(ids["a/1"]), "--yes", expect=7)
    run("files", "delete", str(ids["a/1"]), "--yes")
    assert run("files", "purge", "a/1", "--owner", ADA, "--yes", "-o", "json").data["files"] == 1


def test_purge_of_a_locked_file_is_partly_done(run: "Run", ids: dict[str, int], database: Database) -> None:
    with database.session() as other:
        other.execute(select(File.id).where(File.path == "lost").with_for_update())
        purged = run("files", "purge", "--older-than", "0s", "--yes", "-o", "json", expect=3)
        assert (purged.data["files"], purged.data["skipped"], purged.json["changed"]) == (0, 1, False)
        assert "1 skipped" in run("files", "purge", str(ids["lost"]), "--yes", expect=3).err
    assert run("files", "purge", str(ids["lost"]), "--yes", "-o", "json").data["files"] == 1


def test_id_of_a_deleted_pod_selects_what_lies_there(
    run: "Run", ids: dict[str, int], database: Database, object_store: ObjectStore, bucket: Location, tmp_path: Path
) -> None:
    pod = str(run("pods", "show", "films", "-o", "json").data["id"])
    run("pods", "delete", "films", "--yes")
    with database.session() as session:
        factories.make_pod(session, "films", bucket=bucket.bucket, prefix="again")
    assert paths(run, "--pod", "films") == []
    assert paths(run, "--pod", pod) == ["a/1", "a/22"]
    run("files", "download", "a/1", "--owner", ADA, "--pod", pod, "--to", tmp_path / "one")
    assert (tmp_path / "one").read_bytes() == b"one"
    assert run("files", "restore", "--pod", pod, "-o", "json").data["files"] == 1
    assert run("files", "delete", "--pod", pod, "--yes", "-o", "json").data["files"] == 3
    assert run("files", "purge", "--pod", "films", "--older-than", "0s", "--yes", "-o", "json").data["files"] == 0
    assert run("files", "purge", "--pod", pod, "--older-than", "0s", "--yes", "-o", "json").data["files"] == 3
    assert list(object_store.list("")) == []
    run("files", "list", "--pod", "0", expect=6)


def test_purge_takes_what_pod_prefix_and_owner_leave(
    run: "Run", ids: dict[str, int], database: Database, object_store: ObjectStore, bucket: Location
) -> None:
    with database.session() as session:
        for pod in (factories.make_pod(session, name, bucket=bucket.bucket) for name in ("clips", "songs")):
            for owner in (factories.make_user(session, f"{user}@{pod.name}") for user in ("eve", "joe")):
                for path in ("in/x", "out/x"):
                    gone = {"store": object_store, "deleted_at": LONG_AGO}
                    factories.make_file(session, pod, owner, path, b"12345", **gone)
    everything = deleted(run)

    def purge(*filters: str) -> int:
        asked = ("files", "purge", *filters, "--older-than", "0s", "--yes", "-o", "json")
        foreseen = run(*asked, "--dry-run").data
        assert run(*asked).data == foreseen
        return int(foreseen["files"])

    assert purge("--pod", "clips", "--prefix", "in/", "--owner", "eve@songs") == 0
    assert purge("--pod", "clips", "--prefix", "in/", "--owner", "eve@clips") == 1
    assert everything - deleted(run) == {("clips", "eve@clips", "in/x")}
    assert purge("--pod", "clips", "--prefix", "in/") == 1
    assert everything - deleted(run) == {("clips", "eve@clips", "in/x"), ("clips", "joe@clips", "in/x")}
    assert purge("--prefix", "in/") == 2
    assert purge("--pod", "clips") == 2
    assert deleted(run) == {("films", ADA, "lost"), ("songs", "eve@songs", "out/x"), ("songs", "joe@songs", "out/x")}
    assert len(stored(object_store)) == 3 + 2


def deleted(run: "Run") -> set[tuple[str, str, str]]:
    found = run("files", "list", "--deleted", "--all", "-o", "json").data
    return {(file["pod"], file["owner"], file["path"]) for file in found}


@pytest.mark.parametrize("filters", [("--older-than", "3650d"), ("--prefix", "z")])
def test_one_file_takes_no_filter(run: "Run", ids: dict[str, int], filters: tuple[str, ...]) -> None:
    for verb, path in (("purge", "lost"), ("delete", "a/1")):
        run("files", verb, str(ids[path]), *filters, "--yes", expect=2)
    assert (paths(run), paths(run, "--deleted")) == (["a/1", "a/22"], ["lost"])


@pytest.mark.parametrize(("answer", "code"), [("", 1), ("n", 1), ("yes", 1), ("y", 0)])
@pytest.mark.parametrize("verb", ["delete", "purge"])
def test_bulk_shows_what_goes_and_asks(
    run: "Run", ids: dict[str, int], object_store: ObjectStore, shop: None, verb: str, answer: str, code: int
) -> None:
    if verb == "purge":
        run("files", "delete", "--owner", ADA, "--yes")
    before = {"delete": deleted(run), "purge": stored(object_store)}
    asked = ask(answer, "files", verb, "--owner", ADA, "--prefix", "a/", "--older-than", "0s", "--profile", "shop")
    assert asked.code == code
    assert "2 files, 9 B: a/1, a/22" in asked.err
    assert re.search(r"\[database .+, profile shop\]\nContinue\? \[y/N\]", asked.err)
    assert re.search(r", older than \d{4}-\d\d-\d\d \d\d:\d\d UTC", asked.err)
    after = {"delete": deleted(run), "purge": stored(object_store)}
    assert len(before[verb] ^ after[verb]) == (0 if code else 2)


@pytest.mark.parametrize("verb", ["delete", "purge"])
@pytest.mark.parametrize("age", ["12m", "365", "3"])
def test_an_age_without_a_clear_unit_deletes_nothing(run: "Run", ids: dict[str, int], verb: str, age: str) -> None:
    before = deleted(run)
    refused = run("files", verb, "--owner", ADA, "--older-than", age, "--yes", expect=2)
    assert all(form in refused.err for form in ("365d", "12mo", "1y", "15min"))
    assert deleted(run) == before


@pytest.mark.parametrize("verb", ["delete", "purge"])
def test_a_dry_run_tells_the_date_of_an_age(run: "Run", ids: dict[str, int], verb: str) -> None:
    told = run("files", verb, "--owner", ADA, "--older-than", "1y", "--dry-run", "-o", "json").err
    year = datetime.now(UTC).year - 1
    assert re.search(rf"older than {year}-\d\d-\d\d \d\d:\d\d UTC", told)


@pytest.fixture
def shop(environment: "Callable[..., None]", tmp_path: Path) -> None:
    """A profile of this name, on the database and the bucket of this test."""
    file = tmp_path / "config.toml"
    file.write_text("[profiles.shop]\n")
    environment(DUMACLE_CONFIG=str(file))


def stored(object_store: ObjectStore) -> set[str]:
    return {entry.key for entry in object_store.list("")}


def test_purge_guards_its_number(run: "Run", ids: dict[str, int]) -> None:
    run("files", "delete", "--owner", ADA, "--yes")
    run("files", "purge", "--older-than", "0s", "--yes", "--max", "2", expect=8)
    run("files", "purge", "--older-than", "0s", "--yes", "--max", "3")


def test_verify(run: "Run", ids: dict[str, int], database: Database, object_store: ObjectStore) -> None:
    assert [row["result"] for row in run("files", "verify", "-o", "json").data] == ["verified", "verified"]
    with database.session() as session:
        key = run("files", "show", str(ids["a/1"]), "-o", "json").data["key"]
        assert session.get_one(File, ids["a/1"]).upload_status == "verified"
    object_store.put(key, b"eno", hashlib.sha256(b"eno").hexdigest(), "text/plain")
    found = run("files", "verify", "--read", "--owner", ADA, "-o", "json", expect=12)
    assert {row["path"]: row["result"] for row in found.data} == {"a/1": "differs", "a/22": "verified"}
    assert run("files", "verify", "a/22", "--owner", ADA, "-o", "json").data[0]["path"] == "a/22"
    run("files", "verify", "--limit", "0", expect=2)
    bad = ids["a/1"] % 2 + 1
    halves = [
        run("files", "verify", "--slice", f"{part}/2", "-o", "json", expect=12 if part == bad else 0).data
        for part in (1, 2)
    ]
    assert sorted(row["path"] for half in halves for row in half) == ["a/1", "a/22"]
    for wrong in (("--slice", "3/2"), ("--full", "--sample", "1"), ("--slice", "1/2", "--limit", "5")):
        run("files", "verify", *wrong, expect=2)
    quiet = run("files", "verify", "--read", "--full", "-q", expect=12)
    assert "a/1" in quiet.out
    assert "a/22" not in quiet.out
    assert "files upload; or" in run("files", "verify", "--read", "--sample", "9", expect=12).err


@pytest.mark.parametrize(
    "typed",
    [
        ("delete", "", "--owner", ADA, "--yes"),
        ("delete", "--owner=", "--yes"),
        ("delete", "--owner", ADA, "--older-than", "", "--yes"),
        ("delete", "--owner", ADA, "--prefix", "", "--yes"),
        ("delete", "--owner", ADA, "--pod=", "--yes"),
        ("purge", "--older-than", "", "--yes"),
        ("purge", "", "--owner", ADA, "--yes"),
        ("restore", "", "--owner", ADA),
        ("move", "", "--owner", ADA, "--to-owner", BOB),
        ("move", "--owner", ADA, "--pod=films", "--prefix=", "--to-owner", BOB),
    ],
)
def test_unset_variable_selects_nothing(typed: tuple[str, ...], run: "Run", ids: dict[str, int]) -> None:
    before = [paths(run, "--owner", ADA), paths(run, "--owner", ADA, "--deleted")]
    refused = run("files", *typed, "-o", "json", expect=errors.Exit.USAGE)
    assert "empty-argument" in refused.err
    assert [paths(run, "--owner", ADA), paths(run, "--owner", ADA, "--deleted")] == before

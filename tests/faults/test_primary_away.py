"""Uploads into a pod with two providers: while the primary is away files go to the secondary, and get to both later."""

import math
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.clients.objects import Location
from dumacle_cli.clients.puts import Puts
from dumacle_cli.errors import DumacleError
from dumacle_cli.ingest import engine, sides
from dumacle_cli.ingest.pace import Pace
from dumacle_cli.retry import Patience
from dumacle_cli.services import reap
from dumacle_cli.store.database import Database
from tests import buckets
from tests.conftest import Result, Run
from tests.factories import make_grant, make_plan, make_pod, make_subscription, make_user
from tests.faults.store_proxy import KINDS, StoreProxy, drop, error, slow_down, store_proxied
from tests.ingest import checker
from tests.s3_stub import Fault, Stub

pytestmark = pytest.mark.integration
JSON = ("-o", "json")
ADA = "ada@example.com"
TO = ("--pod", "films", "--owner", ADA)
PART = 8 * 1024**2
EVERYTHING = " ".join(KINDS)


@pytest.fixture
def second(bucket: Location) -> Location:
    """A bucket at another provider."""
    found = replace(bucket, provider="s3", bucket=f"{bucket.bucket}-second")
    buckets.create(found)
    return found


@pytest.fixture
def proxies(bucket: Location) -> Iterator[tuple[StoreProxy, StoreProxy]]:
    """The ways to the primary and to the secondary provider."""
    with store_proxied(bucket.endpoint or "") as first, store_proxied(bucket.endpoint or "") as other:
        yield first, other


@pytest.fixture
def primary(
    proxies: tuple[StoreProxy, StoreProxy],
    run: Run,
    database: Database,
    bucket: Location,
    second: Location,
    environment: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> StoreProxy:
    """The way to the primary provider of a pod with two."""
    with database.session() as session:
        films, ada = make_pod(session, "films", bucket=bucket.bucket), make_user(session, ADA)
        make_grant(session, films, ada)
        make_subscription(session, ada, make_plan(session))
    environment(
        DUMACLE_LOCAL_ENDPOINT=proxies[0].endpoint,
        DUMACLE_S3_ENDPOINT=proxies[1].endpoint,
        DUMACLE_S3_BUCKET=second.bucket,
        DUMACLE_S3_ACCESS_KEY=second.access_key,
        DUMACLE_S3_SECRET_KEY=second.secret_key,
    )
    monkeypatch.setattr(engine, "FAILOVER_SECONDS", 0.5)
    run("pods", "update", "films", "--secondary", "s3")
    return proxies[0]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Small files, an empty one, and a film of several parts."""
    folder = tmp_path / "tree"
    folder.mkdir()
    for number in range(80):
        (folder / f"{number}.jpg").write_bytes(os.urandom(1000 + number) if number else b"")
    (folder / "film.mp4").write_bytes(os.urandom(4 * PART + 17))
    return folder


def contents(location: Location) -> dict[str, bytes]:
    with ObjectStore(location) as objects:
        return {entry.key: b"".join(objects.get(entry.key)) for entry in objects.list("")}


def shown(run: Run) -> dict[str, Any]:
    found = run("pods", "show", "films", *JSON).data
    return {name: found[name] for name in ("copies_waiting", "copies_failed", "outages")}


def upload(run: Run, tree: Path, *options: str) -> Result:
    return run("files", "upload", tree, *TO, *JSON, *options)


def check_healed(run: Run, database: Database, tree: Path, bucket: Location, second: Location) -> None:
    """Heal with `pods reconcile --apply`, and check that everything is at both providers and nothing else is."""
    with database.session() as session:
        session.execute(text("UPDATE app.copies SET due_at = now() WHERE status <> 'stored'"))
        session.execute(text("UPDATE app.outages SET seen_at = now() - interval '1 hour'"))
    run("pods", "reconcile", "films", "--apply")
    assert run("pods", "reconcile", "films", *JSON).data == []
    assert shown(run) == {"copies_waiting": 0, "copies_failed": 0, "outages": []}
    for location in (bucket, second):
        with ObjectStore(location) as objects:
            checker.check(database, objects, checker.tree(tree))
    assert contents(bucket) == contents(second)
    run("files", "reap", "--older-than", "0s")
    assert buckets.unfinished_uploads(bucket) == buckets.unfinished_uploads(second) == []
    assert {each["result"] for each in run("files", "verify", *JSON).data} == {"verified"}
    run("pods", "check")


@pytest.mark.parametrize("fault", [drop, slow_down])
@pytest.mark.parametrize("after", [0, 40])
def test_what_the_primary_does_not_take_goes_to_the_secondary(
    fault: Any,
    after: int,
    run: Run,
    primary: StoreProxy,
    database: Database,
    bucket: Location,
    second: Location,
    tree: Path,
    environment: Callable[..., None],
) -> None:
    primary.inject("put part create complete", fault, math.inf, after)
    primary.inject("get head list", fault, math.inf, 0)
    done = upload(run, tree)
    assert done.data["uploaded"] == 81
    assert 0 < done.data["at_secondary"] <= 81 - after // 2
    assert "uploading to s3, because" in done.err
    state = shown(run)
    assert state["copies_waiting"] == 81
    assert "local since" in state["outages"][0]
    assert run("files", "download", "film.mp4", *TO[2:], "--to", "-").raw == (tree / "film.mp4").read_bytes()
    late = tree / "late.jpg"
    late.write_bytes(b"it goes to the secondary at once")
    again = upload(run, tree)
    assert (again.data["uploaded"], again.data["at_secondary"]) == (1, 1)
    assert "waiting for" not in again.err
    primary.heal()
    check_healed(run, database, tree, bucket, second)


def test_the_primary_is_used_again_as_soon_as_it_answers(
    run: Run,
    primary: StoreProxy,
    database: Database,
    bucket: Location,
    second: Location,
    tree: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sides, "LOOK_AGAIN_SECONDS", 0.0)
    primary.inject("put create", drop, math.inf)
    primary.inject("head", drop, 3)
    primary.point = lambda point: primary.heal() if point == "after head" else None
    done = upload(run, tree, "--concurrency", "8")  # so that there are files left when it answers
    assert "uploading to local again" in done.err
    assert 0 < done.data["at_secondary"] < done.data["uploaded"] == 81
    assert shown(run)["outages"] == []
    check_healed(run, database, tree, bucket, second)


def test_who_learns_late_that_the_primary_was_away_says_so_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two files look at the same time: one is refused, but only after the other was answered."""
    monkeypatch.setattr(sides, "LOOK_AGAIN_SECONDS", 0.0)
    asked, answered = threading.Event(), threading.Event()

    def refuse_the_first(_method: str, path: str) -> Fault | None:
        if "late" not in path:
            return None
        asked.set()
        assert answered.wait(10)
        return Fault(503)

    noted: list[DumacleError | None] = []
    store = Stub()
    store.fault = refuse_the_first
    location = Location("local", store.url, "us-east-1", "media", "k", "s")
    patience = Patience("the store", 5, lambda _: False, print)
    with closing(store.socket), ObjectStore(location) as objects, closing(Puts(location)) as puts:
        side = sides.Side(puts, objects, patience, Pace(4), is_primary=True)
        both = sides.Sides(side, None, noted.append, print, away=True)
        late = threading.Thread(target=both.chosen, args=("late",))
        late.start()
        assert asked.wait(10)
        assert both.chosen("soon") is side
        answered.set()
        late.join()
        store.shutdown()
    assert noted == [None]


def test_parts_at_the_primary_do_not_stay(
    run: Run, primary: StoreProxy, database: Database, bucket: Location, second: Location, tree: Path
) -> None:
    """A film in parts is sent to the secondary from its beginning."""
    primary.inject("part", drop, math.inf, 2)
    done = upload(run, tree)
    assert done.data["uploaded"] == 81
    assert done.data["at_secondary"] > 0
    assert len(buckets.unfinished_uploads(bucket)) == 1
    primary.heal()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reap, "STRAY_SECONDS", 0)
        check_healed(run, database, tree, bucket, second)


def test_both_are_away(
    run: Run,
    primary: StoreProxy,
    proxies: tuple[StoreProxy, StoreProxy],
    tree: Path,
    environment: Callable[..., None],
) -> None:
    environment(DUMACLE_PATIENCE="1s")
    for proxy in proxies:
        proxy.inject(EVERYTHING, drop, math.inf)
    failed = run("files", "upload", tree, *TO, *JSON, expect=10)
    assert "Traceback" not in failed.err
    for proxy in proxies:
        proxy.heal()
    assert upload(run, tree).data["uploaded"] == 81


def test_a_secondary_that_cannot_be_used_is_named(
    run: Run,
    primary: StoreProxy,
    tree: Path,
    environment: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    environment(DUMACLE_PATIENCE="1s")
    for name in ("ACCESS", "SECRET"):
        monkeypatch.delenv(f"DUMACLE_S3_{name}_KEY")
    primary.inject(EVERYTHING, drop, math.inf)
    failed = run("files", "upload", tree, *TO, *JSON, expect=10)
    assert "the secondary provider cannot be used" in failed.err


def test_copies_are_made_during_uploads(
    run: Run,
    primary: StoreProxy,
    proxies: tuple[StoreProxy, StoreProxy],
    database: Database,
    bucket: Location,
    second: Location,
    tree: Path,
) -> None:
    run("pods", "update", "films", "--copies-during-uploads")
    assert upload(run, tree).data["uploaded"] == 81
    assert shown(run)["copies_waiting"] == 0
    assert contents(bucket) == contents(second)
    (tree / "film.mp4").write_bytes(os.urandom(3 * PART))
    (tree / "late.jpg").write_bytes(b"late")
    proxies[1].inject("put complete", drop, math.inf)
    later = upload(run, tree)
    assert (later.data["uploaded"], later.data["at_secondary"]) == (2, 0)
    assert later.err.count("left to a worker") == 1
    assert shown(run)["copies_waiting"] == 2
    proxies[1].heal()
    run("worker", "--once")
    assert contents(bucket) == contents(second)
    check_healed(run, database, tree, bucket, second)
    run("pods", "update", "films", "--copies-by-worker")
    (tree / "last.jpg").write_bytes(b"last")
    upload(run, tree)
    assert shown(run)["copies_waiting"] == 1


def test_a_copy_of_parts_that_are_lost_does_not_stay(
    run: Run, primary: StoreProxy, bucket: Location, second: Location, tree: Path
) -> None:
    run("pods", "update", "films", "--copies-during-uploads")
    primary.inject("part", error(404, "NoSuchUpload"), 1, 2)
    assert upload(run, tree).data["uploaded"] == 81
    assert contents(bucket) == contents(second)
    assert buckets.unfinished_uploads(second) == []


def test_a_secondary_provider_in_use_stays(run: Run, primary: StoreProxy, database: Database) -> None:
    with database.session() as session:
        session.execute(
            text(
                "INSERT INTO app.runs (name, pod_id, owner_id, selection_hash, host, pid) "
                "SELECT 'r', p.id, u.id, 'h', 'h', 1 FROM app.pods AS p, app.users AS u LIMIT 1"
            )
        )
    refused = run("pods", "update", "films", "--no-secondary", *JSON, expect=7).error
    assert "in progress" in refused["message"]
    assert "files reap" in refused["fix"]
    with database.session() as session:
        session.execute(text("UPDATE app.runs SET ended_at = now(), status = 'done'"))
    run("pods", "update", "films", "--no-secondary")
    assert (
        "no secondary provider"
        in run("pods", "update", "films", "--copies-during-uploads", *JSON, expect=7).error["message"]
    )

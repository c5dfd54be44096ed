"""Pods: names, prefixes, capacity, grants, deletion, usage, and counters against rows."""

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from dumacle_cli.errors import AlreadyExists, Conflict, DumacleError, InvalidValue, NotFound
from dumacle_cli.services import pods
from dumacle_cli.store.database import Database
from dumacle_cli.store.models import Pod, User
from tests.factories import make_file, make_grant, make_pod, make_rendition, make_transcode, make_user, make_version

pytestmark = pytest.mark.integration

LOCAL = {"capacity": 1000, "provider": "local", "bucket": "media"}


def test_prefixes_are_derived_and_never_shared(database: Database) -> None:
    with database.session() as session:
        made = [pods.create(session, name, **LOCAL)[0] for name in ("Films!", "films", "films?", "Übrig", "???")]
        assert [pod.prefix for pod in made] == ["films", "films-2", "films-3", "brig", "pod"]
        pods.delete(session, "films")
        assert pods.create(session, "films", **LOCAL)[0].prefix == "films-4"
        elsewhere = pods.create(session, "Films", capacity=1, provider="s3", bucket="media")[0]
        assert elsewhere.prefix == "films"
        with pytest.raises(Conflict, match="films-2"):
            pods.create(session, "other", **LOCAL, prefix="films-2")
        assert pods.create(session, "bare", **LOCAL, prefix="")[0].prefix == ""
        assert pods.create(session, "renditions", **LOCAL)[0].prefix == "renditions-2"


def test_prefixes_lie_apart(database: Database) -> None:
    with database.session() as session:
        pods.create(session, "one", **LOCAL, prefix="a/b")
        for prefix in ("a", "a/b/c"):
            with pytest.raises(Conflict, match="'a/b'"):
                pods.create(session, "other", **LOCAL, prefix=prefix)
        assert pods.create(session, "a", **LOCAL)[0].prefix == "a-2"
        assert pods.create(session, "two", **LOCAL, prefix="a/bc")[1]


@pytest.mark.parametrize("name", ["", "  ", "12", "a\nb", "ü" * 128])
def test_names_that_cannot_be(database: Database, name: str) -> None:
    with database.session() as session, pytest.raises(InvalidValue):
        pods.create(session, name, **LOCAL)


NESTED = ["..", "a/../b", "./a", "a/.", "renditions", "a/renditions/7", "renditions/a"]


@pytest.mark.parametrize("prefix", ["/a", "a/", "a//b", "a b", "ä", "x" * 201, *NESTED])
def test_prefixes_that_cannot_be(database: Database, prefix: str) -> None:
    with database.session() as session, pytest.raises(InvalidValue):
        pods.create(session, "films", **LOCAL, prefix=prefix)


def test_providers_are_known_and_two(database: Database) -> None:
    with database.session() as session:
        for places in ({"provider": "ftp"},):
            with pytest.raises(InvalidValue):
                pods.create(session, "films", **(LOCAL | places))


def test_names_are_unique_among_live_pods(database: Database) -> None:
    with database.session() as session:
        first, changed = pods.create(session, "films", **LOCAL)
        assert changed
        with pytest.raises(AlreadyExists, match="pod films already exists"):
            pods.create(session, " films ", **LOCAL)
        pods.create(session, "photos", **LOCAL)
        with pytest.raises(AlreadyExists):
            pods.update(session, "photos", name="films")
        deleted, _ = pods.delete(session, "films")
        assert deleted.deleted_at is not None
        second, _ = pods.create(session, "films", **LOCAL)
        with pytest.raises(AlreadyExists):
            pods.restore(session, str(first.id))
        pods.delete(session, str(second.id))
        restored, changed = pods.restore(session, "films")
        assert (restored.id, restored.deleted_at, changed) == (second.id, None, True)
        assert pods.restore(session, str(second.id)) == (restored, False)


def test_a_deleted_pod_is_not_there(database: Database) -> None:
    with database.session() as session:
        pod, user = make_pod(session, "films"), make_user(session, "ada@example.com")
        pods.delete(session, "films")
        for attempt in (
            lambda: pods.get(session, "films"),
            lambda: pods.delete(session, str(pod.id)),
            lambda: pods.grant(session, "films", user.email),
            lambda: pods.update(session, "films", capacity=5),
            lambda: pods.restore(session, "photos"),
        ):
            with pytest.raises(NotFound):
                attempt()
        lease = session.execute(
            text("SELECT * FROM app.take_lease(:pod, :user, NULL, 1, 1, 60, now())"), _ids(pod, user)
        )
        assert lease.one().lease_id is None


def test_update_changes_only_what_differs(database: Database) -> None:
    with database.session() as session:
        pods.create(session, "films", **LOCAL)
        changed = pods.update(session, "films", name="movies", capacity=2000)
        assert (changed[0].name, changed[0].capacity, changed[1]) == ("movies", 2000, True)
        assert changed[0].prefix == "films"
        assert not pods.update(session, "movies", name="movies", capacity=2000)[1]


def test_capacity_cannot_fall_below_what_is_held(database: Database) -> None:
    with database.session() as session:
        pod = make_pod(session, "films", capacity=1000, used=300, reserved=200)
        with pytest.raises(Conflict) as refused:
            pods.update(session, "films", capacity=499)
        assert (refused.value.code, int(refused.value.exit)) == ("conflict", 7)
        shrunk, _ = pods.update(session, "films", capacity=500)
        assert (shrunk.capacity, shrunk.free) == (500, 0)
        assert session.get_one(Pod, pod.id).capacity == 500


def test_grants_are_idempotent_and_have_one_default(database: Database) -> None:
    with database.session() as session:
        for name in ("films", "photos"):
            make_pod(session, name)
        make_user(session, "ada@example.com")
        steps = [("films", False), ("films", False), ("photos", False), ("photos", True), ("films", False)]
        results = [pods.grant(session, pod, "ada@example.com", default=default) for pod, default in steps]
        assert [(grant.is_default, changed) for grant, changed in results] == [
            (True, True),
            (True, False),
            (False, True),
            (True, True),
            (False, False),
        ]
        assert pods.show(session, "films").granted_to == ["ada@example.com"]
        assert pods.revoke(session, "films", "ada@example.com")[1]
        assert not pods.revoke(session, "films", "ada@example.com")[1]
        assert pods.show(session, "films").granted_to == []
        with pytest.raises(NotFound):
            pods.grant(session, "films", "nobody@example.com")


def test_lists_page_by_id_and_name(database: Database) -> None:
    with database.session() as session:
        for name in ("c", "a", "b"):
            make_pod(session, name)
        make_pod(session, "d", primary_provider="s3")
        pods.delete(session, "b")
        assert _names(session, sort="name", deleted=False) == ["a", "c", "d"]
        assert _names(session, sort="id", deleted=False) == ["c", "a", "d"]
        assert _names(session, sort="name", deleted=True) == ["b"]
        assert _names(session, sort="id", deleted=False, provider="s3") == ["d"]


def test_usage_counts_what_is_not_purged(database: Database) -> None:
    with database.session() as session:
        _, ada, bob = _library(session)
        found = pods.usage(session, "films", by_owner=False, after=None, limit=10).items
        assert [(row.pod, row.used, row.reserved, row.files) for row in found] == [("films", 600, 0, 2)]
        assert (found[0].free, found[0].percent) == (400, 60.0)
        assert [row.pod for row in pods.usage(session, "", by_owner=False, after=None, limit=10).items] == ["films"]
        page = pods.usage(session, "films", by_owner=True, after=None, limit=1)
        assert [(row.owner, row.used, row.percent, row.files) for row in page.items] == [(ada.email, 500, 50.0, 1)]
        rest = pods.usage(session, "films", by_owner=True, after=page.after, limit=1)
        assert [(row.owner, row.used, row.files) for row in rest.items] == [(bob.email, 100, 1)]
        assert rest.after is None
        assert pods.holds_files(session, "films")
        assert not pods.holds_files(session, make_pod(session, "empty").name)


def test_check_agrees_with_leases_at_every_step(database: Database) -> None:
    with database.session() as session:
        pod, ada, _ = _library(session)
        assert pods.check(session) == ([], False)
        lease = _lease(session, pod, ada, 100)
        assert pods.check(session) == ([], False)
        file = make_file(session, pod, ada, "new.bin", b"")
        make_version(session, file, b"x", size=40, stored_at=None, status="uploading")
        assert pods.check(session) == ([], False)
        session.execute(text("UPDATE app.versions SET status = 'stored', stored_at = now() WHERE size = 40"))
        session.execute(text("UPDATE app.leases SET spent = 40 WHERE id = :id"), {"id": lease})
        assert pods.check(session) == ([], False)
        session.execute(text("SELECT app.close_lease(:id)"), {"id": lease})
        assert pods.check(session) == ([], False)


def test_renditions_count_like_contents(database: Database) -> None:
    """In the usage of each owner, and in the counters that a check expects and a repair writes."""
    with database.session() as session:
        pod, ada, bob = _library(session)
        file = make_file(session, pod, bob, "film.mp4", b"e" * 30)
        make_rendition(session, make_transcode(session, file, "hls"), {"master.m3u8": b"f" * 60})
        make_transcode(session, file, "mp4", "running", reserved=7)
        assert pods.check(session) == ([], False)
        owned = pods.usage(session, "films", by_owner=True, after=None, limit=10).items
        assert [(row.owner, row.used) for row in owned] == [(ada.email, 500), (bob.email, 100 + 30 + 60)]
        session.execute(text("UPDATE app.pods SET used = used - 60, reserved = 0"))
        session.execute(
            text("UPDATE app.quota_counters SET used = used - 60, reserved = 0 WHERE user_id = :id"), {"id": bob.id}
        )
        expected = {
            ("films", None, "pod used", 630, 690),
            ("films", None, "pod reserved", 0, 7),
            (None, bob.email, "storage used", 130, 190),
            (None, bob.email, "storage reserved", 0, 7),
        }
        found, _ = pods.check(session, repair=True)
        assert {(drift.pod, drift.user, drift.counter, drift.recorded, drift.actual) for drift in found} == expected
        assert pods.check(session) == ([], False)


def test_drift_is_found_and_repaired(database: Database) -> None:
    with database.session() as session:
        pod, ada, bob = _library(session)
        _lease(session, pod, ada, 100)
        session.execute(text("UPDATE app.pods SET used = used - 50, reserved = reserved + 7"))
        session.execute(
            text("UPDATE app.quota_counters SET used = used + 3 WHERE metric = 'storage' AND user_id = :id"),
            {"id": ada.id},
        )
        session.execute(text("UPDATE app.quota_counters SET reserved = 0 WHERE metric = 'upload'"))
        session.execute(
            text("DELETE FROM app.quota_counters WHERE metric = 'storage' AND user_id = :id"), {"id": bob.id}
        )
        expected = {
            ("films", None, "pod used", 550, 600),
            ("films", None, "pod reserved", 107, 100),
            (None, ada.email, "storage used", 503, 500),
            (None, ada.email, "upload reserved", 0, 100),
            (None, bob.email, "storage used", 0, 100),
        }
        found, changed = pods.check(session)
        assert ({(d.pod, d.user, d.counter, d.recorded, d.actual) for d in found}, changed) == (expected, False)
        assert all(d.drift == d.actual - d.recorded for d in found)
        repaired, changed = pods.check(session, repair=True)
        assert (repaired, changed) == (found, True)
        assert pods.check(session, repair=True) == ([], False)
        assert session.scalars(select(Pod.used).where(Pod.id == pod.id)).one() == 600


def test_a_repair_never_overfills_a_pod(database: Database) -> None:
    with database.session() as session:
        _library(session)
        session.execute(text("UPDATE app.pods SET used = 0, capacity = 599"))
        with pytest.raises(Conflict, match="more than its capacity"):
            pods.check(session, repair=True)
        assert session.scalars(select(Pod.used)).one() == 0


def test_repair_adds_differences_so_that_uploads_may_go_on(database: Database) -> None:
    with database.session() as session:
        pod, ada, _ = _library(session)
        session.execute(text("UPDATE app.pods SET used = used + 1"))
    with database.session() as repairing:
        pods.check(repairing)
        with database.session() as uploading:
            _lease(uploading, pod, ada, 100)
        pods.check(repairing, repair=True)
    with database.session() as session:
        assert pods.check(session) == ([], False)
        assert session.scalars(select(Pod.reserved)).one() == 100


def _library(session: Session) -> tuple[Pod, User, User]:
    """A pod of 1000 bytes: ada has 300 live, 150 superseded and 50 deleted, bob 100 live."""
    pod = make_pod(session, "films", capacity=1000)
    ada, bob = make_user(session, "ada@example.com"), make_user(session, "bob@example.com")
    make_grant(session, pod, ada)
    for user in (ada, bob):
        for metric in ("storage", "upload"):
            session.execute(text("INSERT INTO app.quota_limits VALUES (:u, :m, NULL)"), {"u": user.id, "m": metric})
    make_version(session, make_file(session, pod, ada, "a.bin", b"a" * 300), b"b" * 150, status="superseded")
    make_file(session, pod, ada, "gone.bin", b"c" * 50, deleted_at=func.now())
    make_file(session, pod, bob, "b.bin", b"d" * 100)
    session.refresh(pod)
    return pod, ada, bob


def _lease(session: Session, pod: Pod, user: User, size: int) -> int:
    taken = text("SELECT lease_id FROM app.take_lease(:pod, :user, NULL, :size, :size, 60, now())")
    return int(session.execute(taken, {**_ids(pod, user), "size": size}).scalar_one())


def _ids(pod: Pod, user: User) -> dict[str, int]:
    return {"pod": pod.id, "user": user.id}


def _names(session: Session, *, sort: str, deleted: bool, provider: str | None = None) -> list[str]:
    """Walk the pages one row at a time."""
    names: list[str] = []
    after = None
    while True:
        page = pods.list_(session, provider=provider, deleted=deleted, sort=sort, after=after, limit=1)
        names += [pod.name for pod in page.items]
        after = page.after
        if after is None:
            return names


def test_errors_have_sentences_without_gaps(database: Database) -> None:
    with database.session() as session, pytest.raises(DumacleError) as refused:
        pods.create(session, "7", **LOCAL)
    assert str(refused.value) == "name cannot be '7': a number would be read as a pod's id"

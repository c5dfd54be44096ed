"""Files that are deleted, moved, purged or erased while a worker is at them: it stops, and everything adds up."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.errors import Conflict
from dumacle_cli.services import files, placement, pods, purge, users
from dumacle_cli.services.erasure import finish
from dumacle_cli.store import work_units
from dumacle_cli.store.database import Database
from dumacle_cli.store.files import Selection
from dumacle_cli.store.models import File, Lease, Pod, QuotaCounter, Rendition, Transcode, Unit, User, Version
from tests import factories

pytestmark = pytest.mark.integration

SIZE = 400


@dataclass(frozen=True, slots=True)
class Work:
    """A file of 7 bytes that a worker is at: it was charged 60 s, and reserved room for its result."""

    file: int
    owner: int
    other: int
    held: work_units.Claimed

    @property
    def prefix(self) -> str:
        return placement.renditions(self.held.pod_prefix, self.file, self.held.transcode_id, self.held.token)

    @property
    def chosen(self) -> Selection:
        return Selection(ids=(self.file,))


@pytest.fixture
def work(database: Database, object_store: ObjectStore) -> Work:
    with database.session() as session:
        pod = factories.make_pod(session, prefix="films")
        ada, bob = factories.make_user(session, "ada@x"), factories.make_user(session, "bob@x")
        plan = factories.make_plan(session)
        for user in (ada, bob):
            factories.make_grant(session, pod, user)
            factories.make_subscription(session, user, plan)
        file = factories.make_file(session, pod, ada, store=object_store)
        transcode = factories.make_transcode(session, file, status="queued")
        unit = session.scalars(select(Unit.id).where(Unit.transcode_id == transcode.id)).one()
        held = work_units.claim(session, unit, "worker", 60)
        assert held
        work_units.charge(session, held, 60)
        work_units.reserve(session, held, SIZE)
    return Work(file.id, ada.id, bob.id, held)


def publish(session: Session, work: Work) -> bool:
    output = work_units.Output("hls", "hls", work.prefix, "master.m3u8", SIZE - 100)
    return work_units.publish(session, work.held, [output])


def stands(database: Database, work: Work) -> bool:
    """Whether the worker still holds its unit, and what it made is published."""
    with database.session() as session:
        held = work_units.renew(session, work.held.id, work.held.token, 60, 50)
        assert publish(session, work) is held
    return held


def delete(database: Database, work: Work) -> bool:
    with database.session() as session:
        return files.delete(session, work.chosen)[1]


def counted(database: Database, user: int) -> dict[str, tuple[int, int]]:
    """What a user uses and has reserved of each metric; fails where a counter differs from the rows."""
    with database.session() as session:
        assert pods.check(session) == ([], False)
        query = select(QuotaCounter).where(QuotaCounter.user_id == user, QuotaCounter.used + QuotaCounter.reserved > 0)
        return {counter.metric: (counter.used, counter.reserved) for counter in session.scalars(query)}


def test_a_worker_whose_file_is_deleted_stops(database: Database, work: Work) -> None:
    assert counted(database, work.owner) == {"storage": (7, SIZE), "transcode": (60, 0)}
    assert delete(database, work)
    assert not stands(database, work)
    assert counted(database, work.owner) == {"storage": (7, 0)}


def test_a_worker_whose_file_moves_publishes_for_the_new_owner(database: Database, work: Work) -> None:
    with database.session() as session:
        files.move(session, work.chosen, "bob@x")
    assert counted(database, work.other) == {"storage": (7, SIZE)}
    assert stands(database, work)
    assert counted(database, work.other) == {"storage": (7 + SIZE - 100, 0)}
    assert counted(database, work.owner) == {"transcode": (60, 0)}


@pytest.mark.parametrize(
    ("first", "second"), [("publish", "move"), ("publish", "delete"), ("move", "publish"), ("delete", "publish")]
)
def test_publishing_at_the_same_time(database: Database, work: Work, first: str, second: str) -> None:
    """Whoever comes second waits, and heeds what the first did."""

    doing: dict[str, Callable[[Session], bool]] = {
        "publish": lambda session: publish(session, work),
        "delete": lambda session: files.delete(session, work.chosen)[1],
        "move": lambda session: files.move(session, work.chosen, "bob@x")[1],
    }

    def follow() -> bool:
        with database.session() as session:
            return doing[second](session)

    with ThreadPoolExecutor(1) as pool:
        with database.session() as session:
            assert doing[first](session)
            following = pool.submit(follow)
            wait(database, following)
        assert following.result() is (first != "delete")
    owner = work.other if "move" in (first, second) else work.owner
    assert counted(database, owner)["storage"] == (7 if first == "delete" else 7 + SIZE - 100, 0)


def test_who_deletes_waits_for_the_pod_before_the_file(database: Database, work: Work) -> None:
    """That is the order of workers and uploads, so neither waits for the other in a circle."""
    with ThreadPoolExecutor(1) as pool:
        with database.session() as worker:
            worker.execute(select(Pod.id).with_for_update(key_share=True))
            deleting = pool.submit(delete, database, work)
            wait(database, deleting)
            worker.execute(select(File.id).with_for_update(nowait=True))
        assert deleting.result()


def wait(database: Database, other: "Future[bool]") -> None:
    """Return when the other transaction waits for a lock, or did not have to."""
    waiting = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    seen = False
    while not seen and not other.done():
        with database.session() as session:  # each anew: a transaction sees one state of this view
            seen = session.execute(text(waiting)).first() is not None


def test_a_purge_stops_the_worker_and_takes_what_it_left(
    database: Database, object_store: ObjectStore, work: Work
) -> None:
    """Also where the file was deleted before anybody cancelled what is made of deleted files."""
    factories.put(object_store, f"{work.prefix}v0/0.m4s")
    with database.session() as session:
        session.execute(text("UPDATE app.files SET deleted_at = now()"))
    assert purge.run(database, lambda *_: object_store) == purge.Purged(1, 1, 0, 7)
    assert list(object_store.list("")) == []
    assert not stands(database, work)
    assert counted(database, work.owner) == {}


def test_a_user_is_erased_with_what_is_being_made(database: Database, object_store: ObjectStore, work: Work) -> None:
    with database.session() as session:
        users.delete(session, "ada@x")
    finish(database, lambda *_: object_store, work.owner)
    assert not stands(database, work)
    with database.session() as session:
        assert session.scalars(select(Transcode)).all() == session.scalars(select(Rendition)).all() == []
        assert session.execute(select(Pod.used, Pod.reserved)).one() == (0, 0)
        assert pods.check(session) == ([], False)
        assert (session.get(User, work.owner), session.get_one(User, work.other).email) == (None, "bob@x")


def test_a_user_is_erased_when_his_uploads_ended(database: Database, object_store: ObjectStore, work: Work) -> None:
    with database.session() as session:
        version = session.scalars(select(Version)).one()
        pod = session.scalars(select(Pod.id)).one()
        lease = Lease(pod_id=pod, user_id=work.owner, granted=0, period_start=func.now(), until=func.now())
        session.add(lease)
        session.flush()
        version.lease_id = lease.id
        users.delete(session, "ada@x")
    with pytest.raises(Conflict, match="uploads of ada@x are still open"):
        finish(database, lambda *_: object_store, work.owner)
    with database.session() as session:
        assert session.get_one(User, work.owner)
        session.get_one(Lease, lease.id).closed_at = func.now()
    finish(database, lambda *_: object_store, work.owner)
    with database.session() as session:
        assert (session.get(User, work.owner), session.get_one(User, work.other).email) == (None, "bob@x")


def test_nobody_is_erased_who_is_not_deleted(database: Database, object_store: ObjectStore, work: Work) -> None:
    for user in (work.owner, work.other):
        finish(database, lambda *_: object_store, user)
    assert stands(database, work)
    with database.session() as session:
        assert [session.get_one(User, user).email for user in (work.owner, work.other)] == ["ada@x", "bob@x"]

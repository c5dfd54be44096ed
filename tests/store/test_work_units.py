"""Units under leases: one holder at a time, quotas and room given back, published once."""

import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

from dumacle_cli.errors import PodFull, QuotaExceeded
from dumacle_cli.services import placement
from dumacle_cli.store import queue, transcodes, work_units, workers
from dumacle_cli.store.database import Database
from dumacle_cli.store.models import Pod, Transcode, Unit, User
from dumacle_cli.store.places import Place
from dumacle_cli.store.work_units import Claimed, Output
from tests.factories import make_file, make_plan, make_pod, make_subscription, make_user

CODECS = ["h264"]
pytestmark = pytest.mark.integration

BODY = b"x" * 1000


@dataclass(frozen=True, slots=True)
class Work:
    """A unit that waits, and where its result goes."""

    unit: int
    transcode: int
    pod: int
    owner: int


@pytest.fixture
def session(database: Database) -> Iterator[Session]:
    """A session that commits as it goes, because leases outlive transactions."""
    with Session(database.engine, expire_on_commit=False) as opened:
        yield opened


@pytest.fixture
def work(session: Session) -> Work:
    """A transcode of a file of 1000 bytes, in a pod of 3000 bytes, of an owner with 2500 bytes and 60 s a month."""
    owner, pod = make_user(session), make_pod(session, capacity=3000)
    make_subscription(session, owner, make_plan(session, storage_limit=2500, transcode_limit=60))
    file = make_file(session, pod, owner, "film.mp4", BODY)
    transcode = Transcode(file_id=file.id, version_id=file.version_id, preset="hls")
    session.add(transcode)
    session.flush()
    unit = Unit(transcode_id=transcode.id, number=1, kind="chunk")
    session.add(unit)
    session.flush()
    session.commit()
    return Work(unit.id, transcode.id, pod.id, owner.id)


def claim(session: Session, work: Work, worker: str = "one", seconds: float = 60) -> Claimed:
    claimed = work_units.claim(session, work.unit, worker, seconds)
    session.commit()
    assert claimed is not None
    return claimed


def lapse(session: Session) -> None:
    session.execute(text("UPDATE app.units SET lease_until = now() - interval '1 second'"))
    session.commit()


def books(session: Session, work: Work) -> dict[str, Any]:
    """What pod, storage and seconds come to, and how transcode and unit stand."""
    session.commit()
    row = session.execute(
        text("""
            SELECT pods.used, pods.reserved, storage.used AS storage, storage.reserved AS held,
                coalesce(seconds.used, 0) AS charged, t.status, t.progress, t.attempts, t.seconds, t.error,
                u.status AS unit, u.attempt, u.crashes, u.setbacks, u.reserved AS unit_reserved
            FROM app.pods, app.transcodes AS t JOIN app.units AS u ON u.transcode_id = t.id
            JOIN app.quota_counters AS storage ON storage.metric = 'storage'
            LEFT JOIN app.quota_counters AS seconds ON seconds.metric = 'transcode'
        """)
    ).one()
    return dict(row._mapping)


def output(unit: Claimed, size: int = 700, name: str = "hls") -> Output:
    prefix = placement.renditions(unit.pod_prefix, unit.content.file_id, unit.transcode_id, unit.token)
    rungs = [{"name": "360p", "width": 640, "height": 360, "bitrate": 800_000, "frames": 50}]
    return Output(name, "hls", prefix, "master.m3u8", size, 640, 360, 800_000, 2000, 50, rungs)


def test_claims_what_waits(session: Session, work: Work) -> None:
    claimed = claim(session, work)
    assert (claimed.transcode_id, claimed.preset, claimed.attempt) == (work.transcode, "hls", 1)
    content = claimed.content
    assert (content.path, content.size, content.place) == ("film.mp4", 1000, Place("local", "media"))
    found = books(session, work)
    assert (found["status"], found["unit"], found["attempts"]) == ("running", "running", 1)


def test_only_one_of_many_claims(database: Database, work: Work) -> None:
    barrier = threading.Barrier(12)

    def one(number: int) -> bool:
        with database.session() as session:
            barrier.wait()
            return work_units.claim(session, work.unit, f"worker {number}", 60) is not None

    with ThreadPoolExecutor(12) as pool:
        assert sum(pool.map(one, range(12))) == 1


def test_a_claim_whose_answer_was_lost_is_asked_for_again(session: Session, work: Work) -> None:
    token = uuid.uuid4()
    first = work_units.claim(session, work.unit, "one", 60, token)
    session.commit()
    assert work_units.claim(session, work.unit, "one", 60, token) == first
    assert work_units.claim(session, work.unit, "two", 60) is None


def test_nothing_to_claim(session: Session, work: Work) -> None:
    assert work_units.claim(session, work.unit + 1, "one", 60) is None


def test_renews_for_the_holder_only(session: Session, work: Work) -> None:
    claimed = claim(session, work)
    assert work_units.renew(session, claimed.id, claimed.token, 60, 40)
    assert work_units.renew(session, claimed.id, claimed.token, 60, 30)
    assert books(session, work)["progress"] == 40
    assert not work_units.renew(session, claimed.id, uuid.uuid4(), 60, 50)
    assert books(session, work)["progress"] == 40


def test_progress_never_runs_backwards_over_attempts(session: Session, work: Work) -> None:
    first = claim(session, work)
    assert work_units.renew(session, first.id, first.token, 60, 40)
    assert work_units.release(session, first)
    assert books(session, work)["progress"] == 40
    second = claim(session, work)
    for percent, shown in ((10, 40), (50, 50)):
        assert work_units.renew(session, second.id, second.token, 60, percent)
        assert books(session, work)["progress"] == shown


def test_a_lapsed_lease_may_still_be_renewed_until_another_takes_it(session: Session, work: Work) -> None:
    claimed = claim(session, work)
    lapse(session)
    assert work_units.renew(session, claimed.id, claimed.token, 60, 10)
    lapse(session)
    second = claim(session, work, "two")
    assert not work_units.renew(session, claimed.id, claimed.token, 60, 10)
    assert work_units.renew(session, second.id, second.token, 60, 10)


def test_who_takes_over_gives_back_what_the_dead_one_held(session: Session, work: Work) -> None:
    dead = claim(session, work)
    work_units.charge(session, dead, 30)
    work_units.reserve(session, dead, 500)
    assert books(session, work) | {"reserved": 500, "held": 500, "charged": 30} == books(session, work)
    lapse(session)
    claimed = claim(session, work, "two")
    found = books(session, work)
    assert (found["reserved"], found["held"], found["charged"], found["unit_reserved"]) == (0, 0, 0, 0)
    assert (found["attempt"], found["setbacks"], claimed.setbacks) == (1, 1, 1)


def test_what_a_dead_worker_held_waits_again_after_the_reaper(session: Session, work: Work) -> None:
    work_units.charge(session, claim(session, work), 30)
    session.commit()
    assert work_units.reap(session) == 0
    lapse(session)
    assert work_units.reap(session) == 1
    found = books(session, work)
    assert (found["status"], found["unit"], found["attempt"], found["setbacks"]) == ("queued", "queued", 0, 1)
    assert (found["charged"], found["error"], found["attempts"]) == (0, "its worker died", 0)


def test_workers_that_die_over_it_are_never_counted_as_attempts(session: Session, work: Work) -> None:
    for _ in range(9):
        work_units.charge(session, claim(session, work), 30)
        session.commit()
        lapse(session)
        assert work_units.reap(session) == 1
        assert waits(session) <= 30
        lapse_waiting(session)
    found = books(session, work)
    assert (found["status"], found["attempt"], found["attempts"], found["setbacks"]) == ("queued", 0, 0, 9)
    assert claim(session, work).attempt == 1


def waits(session: Session) -> float:
    seconds = session.scalars(text("SELECT extract(epoch FROM lease_until - now()) FROM app.units")).one()
    session.commit()
    return float(seconds)


def lapse_waiting(session: Session) -> None:
    session.execute(text("UPDATE app.units SET lease_until = now() WHERE status = 'queued'"))
    session.execute(text("UPDATE app.pauses SET until = now()"))
    session.commit()


def test_setbacks_are_no_attempts_and_wait_longer_each_time(session: Session, work: Work) -> None:
    longest: list[float] = []
    for _ in range(8):
        claimed = claim(session, work)
        work_units.charge(session, claimed, 30)
        work_units.reserve(session, claimed, 300)
        assert work_units.set_back(session, claimed, "the disk is full", pod=False)
        longest.append(waits(session))
        lapse_waiting(session)
    found = books(session, work)
    assert (found["status"], found["attempt"], found["attempts"], found["setbacks"]) == ("queued", 0, 0, 8)
    assert (found["charged"], found["reserved"], found["error"]) == (0, 0, "the disk is full")
    assert longest[0] <= 2 < max(longest) <= 30
    assert session.scalars(text("SELECT count(*) FROM app.pauses")).one() == 0


def take(session: Session, worker: str = "one") -> Claimed | None:
    claimed = work_units.claim_next(session, worker, 60, uuid.uuid4(), CODECS)
    session.commit()
    return claimed


def test_a_pod_whose_store_is_away_is_tried_by_one_unit_at_a_time(session: Session, work: Work) -> None:
    second, _ = another(session, work, "second.mp4")
    claimed = take(session)
    assert claimed is not None
    assert not claimed.paused
    assert work_units.set_back(session, claimed, "the store is away", pod=True)
    session.commit()
    assert take(session) is None
    assert queue.wake_waiting_units(session, CODECS) == 0
    lapse_waiting(session)
    tried = take(session)
    assert tried is not None
    assert tried.paused
    assert take(session) is None
    work_units.end_pause(session, tried)
    session.commit()
    rest = take(session)
    assert rest is not None
    assert {tried.id, rest.id} == {work.unit, second}
    assert not rest.paused


def test_units_of_another_pod_go_on_while_a_store_is_away(session: Session, work: Work) -> None:
    claimed = take(session)
    assert claimed is not None
    assert work_units.set_back(session, claimed, "the store is away", pod=True)
    elsewhere, _ = another(session, work, "second.mp4", pod=make_pod(session, "other", capacity=3000))
    found = take(session)
    assert found is not None
    assert found.id == elsewhere


def another(
    session: Session, work: Work, path: str, *, pod: Pod | None = None, owner: User | None = None, priority: int = 0
) -> tuple[int, int]:
    """Submit one more file; returns the ids of its unit and of its owner."""
    owner, pod = owner or session.get_one(User, work.owner), pod or session.get_one(Pod, work.pod)
    file = make_file(session, pod, owner, path, b"y")
    [made] = transcodes.submit(session, [file.version_id], "hls", (), priority=priority)  # type: ignore[list-item]
    session.commit()
    return int(made.unit_id), owner.id


def order(session: Session) -> list[int]:
    return [claimed.id for claimed in iter(lambda: take(session), None)]


def test_owners_take_turns(session: Session, work: Work) -> None:
    """Who submits one file after another's hundred waits for one of these, not for all."""
    first = [work.unit, *(another(session, work, f"{number}.mp4")[0] for number in range(4))]
    bob, eve = make_user(session, "bob@example.com"), make_user(session, "eve@example.com")
    bobs = [another(session, work, f"b{number}.mp4", owner=bob)[0] for number in range(2)]
    taken = take(session)
    assert taken is not None
    eves = [another(session, work, "e.mp4", owner=eve)[0]]
    found = [taken.id, *order(session)]
    assert [unit for unit in found if unit in first] == first
    assert found.index(bobs[0]) <= 2
    assert found.index(eves[0]) <= 3
    assert found.index(bobs[1]) <= 5


def test_higher_priorities_come_first_and_equals_in_the_order_of_submission(session: Session, work: Work) -> None:
    low = another(session, work, "low.mp4", priority=-5)[0]
    high = [another(session, work, f"{number}.mp4", priority=5)[0] for number in range(12)]
    assert order(session) == [*high, work.unit, low]


def test_many_workers_claim_each_unit_once(database: Database, session: Session, work: Work) -> None:
    units = {work.unit, *(another(session, work, f"{number}.mp4")[0] for number in range(11))}
    barrier = threading.Barrier(8)

    def claims(number: int) -> list[int]:
        barrier.wait()
        taken: list[int] = []
        while True:
            try:
                with database.session() as own:
                    claimed = work_units.claim_next(own, f"worker {number}", 60, uuid.uuid4(), CODECS)
            except work_units.Raced:
                continue
            if claimed is None:
                return taken
            taken.append(claimed.id)

    with ThreadPoolExecutor(8) as pool:
        taken = [unit for each in pool.map(claims, range(8)) for unit in each]
    assert sorted(taken) == sorted(units)


def test_two_crashes_of_ffmpeg_end_in_quarantine(session: Session, work: Work) -> None:
    for crashes in (1, 2):
        claimed = claim(session, work)
        assert claimed.crashes == crashes - 1
        work_units.charge(session, claimed, 30)
        assert work_units.crash(session, claimed, "FFmpeg crashed with SIGSEGV")
        found = books(session, work)
        assert (found["charged"], found["crashes"]) == (0, crashes)
        assert found["error"] == "FFmpeg crashed with SIGSEGV"
        lapse_waiting(session)
    found = books(session, work)
    assert (found["status"], found["unit"]) == ("quarantined", "failed")


def note(session: Session, worker: str, machine: str | None) -> None:
    workers.note(session, worker, 2, "transcode", None, machine)
    session.commit()


def die(session: Session) -> None:
    """Let all workers be silent since before the end of their leases, and the leases end."""
    session.execute(text("UPDATE app.workers SET seen_at = seen_at - interval '1 minute'"))
    lapse(session)


def test_a_film_that_kills_two_workers_is_quarantined(session: Session, work: Work) -> None:
    """The machine lives on: the next worker was seen there after each death."""
    for number in (1, 2):
        note(session, f"worker {number}", "machine")
        claimed = take(session, f"worker {number}")
        assert claimed is not None
        work_units.charge(session, claimed, 30)
        die(session)
        note(session, f"worker {number + 1}", "machine")
        assert work_units.reap(session) == 1
        found = books(session, work)
        assert (found["charged"], found["crashes"], found["setbacks"]) == (0, number, number)
        lapse_waiting(session)
    found = books(session, work)
    assert (found["status"], found["unit"]) == ("quarantined", "failed")
    assert found["error"] == "the worker died over it, as it or FFmpeg had done before"
    assert take(session, "worker 3") is None


@pytest.mark.parametrize("machine", ["the same, started again", None])
def test_a_machine_that_loses_its_power_says_nothing_about_its_films(
    session: Session, work: Work, machine: str | None
) -> None:
    note(session, "elsewhere", "other machine")
    for number in range(4):
        note(session, "worker", "machine")
        assert take(session, "worker") is not None
        die(session)
        note(session, "elsewhere", "other machine")
        note(session, f"worker {number}", machine)
        assert work_units.reap(session) == 1
        lapse_waiting(session)
    found = books(session, work)
    assert (found["status"], found["crashes"], found["setbacks"]) == ("queued", 0, 4)


def test_a_container_that_is_started_again_has_the_same_name(session: Session, work: Work) -> None:
    note(session, "worker:1", "machine")
    assert take(session, "worker:1") is not None
    die(session)
    workers.forget(session, "worker:1")
    note(session, "worker:1", "machine")
    assert work_units.reap(session) == 1
    assert books(session, work)["crashes"] == 1


def test_what_crashed_is_tried_again_alone(session: Session, work: Work) -> None:
    """So that nothing else is to blame for the next crash, nor blamed for it."""
    second, _ = another(session, work, "second.mp4")
    third, _ = another(session, work, "third.mp4")
    session.execute(text("UPDATE app.units SET crashes = 1 WHERE id = :id"), {"id": second})
    session.commit()
    first = take(session, "busy")
    assert first is not None
    assert first.id == work.unit
    assert take(session, "busy") is None
    alone = take(session, "idle")
    assert alone is not None
    assert alone.id == second
    assert take(session, "idle") is None
    beside = take(session, "busy")
    assert beside is not None
    assert beside.id == third


def test_charges_once(session: Session, work: Work) -> None:
    claimed = claim(session, work)
    work_units.charge(session, claimed, 25)
    work_units.charge(session, claimed, 25)
    assert (books(session, work)["charged"], books(session, work)["seconds"]) == (25, 25)


def test_refuses_to_charge_above_the_quota(session: Session, work: Work) -> None:
    claimed = claim(session, work)
    with pytest.raises(QuotaExceeded, match=r"transcode quota .* 60 s left of 60 s, 61 s needed"):
        work_units.charge(session, claimed, 61)
    assert (books(session, work)["charged"], books(session, work)["seconds"]) == (0, None)


def test_an_attempt_after_a_release_is_charged_again(session: Session, work: Work) -> None:
    for _ in range(3):
        claimed = claim(session, work)
        work_units.charge(session, claimed, 25)
        assert books(session, work)["charged"] == 25
        assert work_units.release(session, claimed)
        found = books(session, work)
        assert (found["charged"], found["seconds"], found["attempt"], found["unit"]) == (0, None, 0, "queued")


def test_a_refund_of_a_closed_period_changes_nothing(session: Session, work: Work) -> None:
    claimed = claim(session, work)
    work_units.charge(session, claimed, 25)
    session.execute(text("UPDATE app.quota_counters SET closed_at = now() WHERE metric = 'transcode'"))
    session.commit()
    assert work_units.release(session, claimed)
    assert books(session, work)["charged"] == 25


def test_reserves_what_there_is_room_for(session: Session, work: Work) -> None:
    claimed = claim(session, work)
    work_units.reserve(session, claimed, 1500)
    work_units.reserve(session, claimed, 1500)
    assert (books(session, work)["reserved"], books(session, work)["held"]) == (1500, 1500)
    with pytest.raises(QuotaExceeded, match="storage"):
        work_units.reserve(session, claimed, 1501)
    with pytest.raises(PodFull):
        work_units.reserve(session, claimed, 2001)
    assert (books(session, work)["reserved"], books(session, work)["held"]) == (1500, 1500)


def test_publishes_once(session: Session, work: Work) -> None:
    claimed = claim(session, work)
    work_units.reserve(session, claimed, 700)
    assert work_units.publish(session, claimed, [output(claimed, 500), output(claimed, 200, "poster")])
    assert work_units.publish(session, claimed, [output(claimed, 500), output(claimed, 200, "poster")])
    found = books(session, work)
    assert (found["used"], found["reserved"], found["storage"], found["held"]) == (1700, 0, 1700, 0)
    assert (found["status"], found["unit"], found["progress"]) == ("done", "done", 100)
    rows = session.execute(text("SELECT name, entry, frames, rungs FROM app.renditions ORDER BY name")).all()
    assert [row.name for row in rows] == ["hls", "poster"]
    assert rows[0].rungs[0]["height"] == 360
    assert work_units.claim(session, work.unit, "two", 60) is None


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"prefix": "other/"},
        {"prefix": ""},
        {"prefix": "renditions/"},
        {"prefix": "renditions/1/"},
        {"entry": "../../../other.m3u8"},
        {"entry": "/other.m3u8"},
        {"entry": ""},
    ],
    ids=str,
)
def test_publishes_nothing_that_lies_elsewhere(session: Session, work: Work, elsewhere: dict[str, str]) -> None:
    claimed = claim(session, work)
    work_units.reserve(session, claimed, 700)
    with pytest.raises(ProgrammingError, match="not those of transcode"), session.begin_nested():
        work_units.publish(session, claimed, [replace(output(claimed), **elsewhere)])
    other = replace(output(claimed), prefix=output(claimed).prefix.replace(str(claimed.token), str(uuid.uuid4())))
    with pytest.raises(ProgrammingError, match="not those of transcode"), session.begin_nested():
        work_units.publish(session, claimed, [output(claimed), other])
    assert work_units.publish(session, claimed, [output(claimed)])


def test_who_lost_the_lease_changes_nothing(session: Session, work: Work) -> None:
    frozen = claim(session, work)
    work_units.reserve(session, frozen, 700)
    lapse(session)
    current = claim(session, work, "two")
    before = books(session, work)
    assert not work_units.publish(session, frozen, [output(frozen)])
    assert not work_units.fail(session, frozen, "late", final=True)
    assert not work_units.release(session, frozen)
    with pytest.raises(work_units.Lost):
        work_units.charge(session, frozen, 1)
    with pytest.raises(work_units.Lost):
        work_units.reserve(session, frozen, 1)
    assert books(session, work) == before
    assert work_units.publish(session, current, [output(current)])
    assert not work_units.publish(session, frozen, [output(frozen)])


def test_a_failed_attempt_waits_and_is_tried_three_times(session: Session, work: Work) -> None:
    for attempt in (1, 2, 3):
        claimed = claim(session, work)
        assert claimed.attempt == attempt
        work_units.charge(session, claimed, 30)
        work_units.reserve(session, claimed, 300)
        assert work_units.fail(session, claimed, f"failure {attempt}", final=False)
        found = books(session, work)
        assert (found["charged"], found["reserved"], found["held"], found["error"]) == (0, 0, 0, f"failure {attempt}")
        assert found["status"] == ("failed" if attempt == 3 else "queued")
        assert work_units.claim(session, work.unit, "hasty", 60) is None
        lapse(session)


def test_a_final_failure_is_not_tried_again(session: Session, work: Work) -> None:
    assert work_units.fail(session, claim(session, work), "not a film", final=True)
    assert (books(session, work)["status"], books(session, work)["error"]) == ("failed", "not a film")


@pytest.mark.parametrize("runs", [False, True])
def test_cancels(runs: bool, session: Session, work: Work) -> None:
    if runs:
        claimed = claim(session, work)
        work_units.charge(session, claimed, 30)
        work_units.reserve(session, claimed, 300)
    assert work_units.cancel(session, [work.transcode]) == 1
    found = books(session, work)
    assert (found["status"], found["unit"], found["charged"], found["reserved"]) == ("cancelled", "cancelled", 0, 0)
    assert work_units.cancel(session, [work.transcode]) == 0
    if runs:
        assert not work_units.renew(session, claimed.id, claimed.token, 60, 50)
        assert not work_units.publish(session, claimed, [output(claimed)])


def test_many_at_once_keep_the_books(database: Database, session: Session, work: Work) -> None:
    """Claims that lapse at once, publications, cancellations: whatever wins, nothing is counted twice."""
    steps: list[Callable[[Session, Claimed], object]] = [
        lambda session, claimed: work_units.publish(session, claimed, [output(claimed, 300)]),
        lambda session, claimed: work_units.fail(session, claimed, "x", final=False),
        lambda session, _: work_units.cancel(session, [work.transcode]),
        lambda session, claimed: work_units.release(session, claimed),
        lambda session, _: work_units.claim(session, work.unit, "other", 60),
    ]
    claimed = claim(session, work)
    work_units.charge(session, claimed, 30)
    work_units.reserve(session, claimed, 300)
    lapse(session)
    barrier = threading.Barrier(len(steps))

    def one(step: Callable[[Session, Claimed], object]) -> None:
        with database.session() as own:
            barrier.wait()
            step(own, replace(claimed))

    with ThreadPoolExecutor(len(steps)) as pool:
        list(pool.map(one, steps))
    found = books(session, work)
    published = found["status"] == "done"
    assert (found["reserved"], found["held"]) == (0, 0)
    assert (found["used"], found["storage"]) == ((1300, 1300) if published else (1000, 1000))
    assert found["charged"] == (30 if published else 0)


def jobs(session: Session) -> list[tuple[str, str, dict[str, str], int]]:
    query = "SELECT queue_name, task_name, args, priority FROM queue.procrastinate_jobs ORDER BY id"
    return [tuple(row) for row in session.execute(text(query))]


def test_wakes_with_the_transaction(database: Database, session: Session, work: Work) -> None:
    queue.wake_transcode(session, [work.unit])
    with database.session() as other:
        assert jobs(other) == []
    session.commit()
    assert jobs(session) == [("transcode", "transcode", {"id": str(work.unit)}, 0)]
    queue.wake_transcode(session, [work.unit, work.unit + 1])
    queue.wake_stripe(session, ["sub_1", "sub_2", "sub_1"])
    queue.wake_stripe(session, [])
    session.commit()
    assert [job[1:3] for job in jobs(session)[1:]] == [("stripe", {"id": "sub_1"}), ("stripe", {"id": "sub_2"})]


def test_wakes_what_waits_and_nothing_else(session: Session, work: Work) -> None:
    assert queue.wake_waiting_units(session, CODECS) == 1
    assert queue.wake_waiting_units(session, CODECS) == 0
    session.execute(text("DELETE FROM queue.procrastinate_jobs"))
    claimed = claim(session, work)
    assert queue.wake_waiting_units(session, CODECS) == 0
    work_units.fail(session, claimed, "try again", final=False)
    assert queue.wake_waiting_units(session, CODECS) == 0
    lapse(session)
    assert queue.wake_waiting_units(session, CODECS) == 1


def test_forgets_the_calls_of_dead_workers_only(session: Session) -> None:
    workers = """
        INSERT INTO queue.procrastinate_workers (last_heartbeat)
        VALUES (now()), (now() - interval '5 minutes') RETURNING id
    """
    alive, dead = session.scalars(text(workers)).all()
    call = """
        INSERT INTO queue.procrastinate_jobs (queue_name, task_name, status, worker_id)
        VALUES ('q', 'alive', 'doing', :alive), ('q', 'dead', 'doing', :dead), ('q', 'nobody', 'doing', NULL),
            ('q', 'waits', 'todo', NULL), ('q', 'old', 'failed', NULL)
    """
    session.execute(text(call), {"alive": alive, "dead": dead})
    queue.forget_dead(session)
    assert [job[1] for job in jobs(session)] == ["alive", "waits"]

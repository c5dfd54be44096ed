"""Transcodes are submitted once however often they are asked for, and end as they were told to."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, get_args

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from dumacle_cli.errors import Conflict, NotFound, QuotaExceeded, UsageError, UserDisabled
from dumacle_cli.services import quotas, transcodes
from dumacle_cli.services.transcode_request import TranscodeRequest
from dumacle_cli.services.transcodes import TranscodeFilter
from dumacle_cli.store import transcodes as store
from dumacle_cli.store import work_units
from dumacle_cli.store.database import Database
from dumacle_cli.store.models import File, Pod, QuotaCounter, QuotaLimit, Transcode, Unit, User
from dumacle_cli.store.models.transcodes import TRANSCODE_STATUSES
from tests.factories import (
    make_file,
    make_grant,
    make_plan,
    make_pod,
    make_rendition,
    make_subscription,
    make_transcode,
    make_user,
    make_version,
)

pytestmark = pytest.mark.integration

RUNG = {"name": "480p", "width": 854, "height": 480, "bitrate": 900_000, "frames": 720}


@pytest.fixture
def ada(session: Session) -> User:
    user = make_user(session, "ada@example.com")
    make_subscription(session, user, make_plan(session))
    return user


@pytest.fixture
def pod(session: Session, ada: User) -> Pod:
    made = make_pod(session, "films")
    make_grant(session, made, ada)
    return made


@pytest.fixture
def film(session: Session, pod: Pod, ada: User) -> File:
    return make_file(session, pod, ada, "film.mp4")


def submit(session: Session, *files: File, preset: str = "hls") -> tuple[list[transcodes.Transcode], bool]:
    return transcodes.submit(session, [str(file.id) for file in files], preset)


def called(session: Session) -> list[str]:
    """Return the units that workers are called to."""
    return list(session.scalars(text("SELECT args->>'id' FROM queue.procrastinate_jobs WHERE status = 'todo'")))


def use_up(session: Session, user: User) -> None:
    session.add(QuotaLimit(user_id=user.id, metric="transcode", limit=0))
    session.flush()


# Words


def test_statuses_are_those_of_their_table() -> None:
    assert get_args(transcodes.TranscodeStatus) == TRANSCODE_STATUSES


# Submitting


def test_what_is_submitted_waits_and_a_worker_is_called(session: Session, film: File) -> None:
    [made], changed = submit(session, film)
    assert changed
    assert (made.file, made.path, made.owner, made.pod) == (film.id, "film.mp4", "ada@example.com", "films")
    assert (made.preset, made.status, made.progress, made.version) == ("hls", "queued", 0, film.version_id)
    [unit] = session.scalars(select(Unit)).all()
    assert (unit.transcode_id, unit.number, unit.kind, unit.status) == (made.id, 1, "chunk", "queued")
    assert called(session) == [str(unit.id)]


def test_each_file_has_one_result_in_the_order_that_was_typed(session: Session, film: File, pod: Pod) -> None:
    ada = session.get_one(User, film.owner_id)
    other = make_file(session, pod, ada, "other.mp4")
    make_transcode(session, other, "hls", "done")
    found, changed = submit(session, other, film, other)
    assert changed
    assert [(each.path, each.status) for each in found] == [("other.mp4", "done"), ("film.mp4", "queued")]
    assert session.scalar(select(func.count()).select_from(Transcode)) == 2


@pytest.mark.parametrize(
    ("status", "again"),
    [
        ("queued", False),
        ("running", False),
        ("publishing", False),
        ("done", False),
        ("quarantined", False),
        ("failed", True),
        ("cancelled", True),
    ],
)
def test_what_stands_is_not_submitted_again(session: Session, film: File, status: str, again: bool) -> None:
    before = make_transcode(session, film, "hls", status)
    [found], changed = submit(session, film)
    assert changed is again
    assert (found.id == before.id) is not again
    assert submit(session, film) == ([found], False)
    assert session.get_one(Transcode, before.id).status == status


def test_another_preset_and_another_content_are_another_matter(session: Session, film: File) -> None:
    make_transcode(session, film, "hls", "done")
    assert submit(session, film, preset="mp4")[1]
    film.version_id = make_version(session, film, b"another").id
    session.flush()
    [made], changed = submit(session, film)
    assert changed
    assert made.version == film.version_id


def test_the_latest_decides(session: Session, film: File) -> None:
    make_transcode(session, film, "hls", "quarantined")
    make_transcode(session, film, "hls", "failed")
    assert submit(session, film)[1]


def test_the_latest_of_the_contents_and_the_preset_that_are_asked_for(session: Session, film: File, pod: Pod) -> None:
    other = make_file(session, pod, session.get_one(User, film.owner_id), "other.mp4")
    make_transcode(session, film, "hls", "failed")
    last = make_transcode(session, film, "hls", "done")
    make_transcode(session, film, "mp4", "done")
    make_transcode(session, other, "hls", "done")
    assert film.version_id
    assert [row.Transcode.id for row in store.latest(session, [film.version_id], "hls")] == [last.id]


def test_file_is_named_by_path_with_its_owner(session: Session, film: File) -> None:
    [made], _ = transcodes.submit(session, ["film.mp4"], "hls", owner="ada@example.com", pod="films")
    assert made.file == film.id
    with pytest.raises(UsageError):
        transcodes.submit(session, ["film.mp4"], "hls")
    with pytest.raises(NotFound):
        transcodes.submit(session, ["lost.mp4"], "hls", owner="ada@example.com")


def test_without_a_content_there_is_nothing_to_transcode(session: Session, film: File, pod: Pod, ada: User) -> None:
    empty = File(pod_id=pod.id, owner_id=ada.id, path="empty.mp4", size=1)
    session.add(empty)
    session.flush()
    deleted = make_file(session, pod, ada, "gone.mp4", deleted_at="2026-01-01T00:00:00Z")
    for file in (empty, deleted):
        with pytest.raises(Conflict, match=f"file {file.id} is deleted, or its upload never ended"):
            submit(session, film, file)


def test_used_up_quota_refuses_what_is_new_and_names_itself(session: Session, film: File, ada: User) -> None:
    standing = make_transcode(session, film, "hls", "done")
    use_up(session, ada)
    assert submit(session, film)[0][0].id == standing.id
    with pytest.raises(QuotaExceeded) as refused, session.begin_nested():
        submit(session, film, preset="mp4")
    assert str(refused.value).startswith("the transcode quota of ada@example.com is used up: 0s left of 0s")
    assert "dumacle quotas set ada@example.com" in refused.value.remedy
    assert session.scalar(select(func.count()).select_from(Transcode)) == 1
    assert called(session) == []


def test_disabled_owner_gets_no_transcode(session: Session, film: File, ada: User) -> None:
    ada.status = "disabled"
    session.flush()
    with pytest.raises(UserDisabled):
        submit(session, film)


def test_many_at_once_submit_each_file_once(database: Database) -> None:
    with database.session() as session:
        ada = make_user(session)
        make_subscription(session, ada, make_plan(session))
        pod = make_pod(session)
        names = [str(make_file(session, pod, ada).id) for _ in range(20)]

    def one(number: int) -> bool:
        with database.session() as session:
            return transcodes.submit(session, names if number % 2 else names[::-1], "hls")[1]

    with ThreadPoolExecutor(6) as pool:
        changes = list(pool.map(one, range(6)))
    assert changes.count(True) == 1
    with database.session() as session:
        assert session.scalar(select(func.count()).select_from(Transcode)) == 20
        assert sorted(called(session)) == sorted(str(unit) for unit in session.scalars(select(Unit.id)))


# Arriving


def test_wish_takes_its_kinds_only() -> None:
    request = TranscodeRequest("hls", ("video/",))
    assert request.takes("video/mp4")
    assert not request.takes("audio/mpeg")
    assert not request.takes("image/jpeg")


# Looking


@pytest.fixture
def several(session: Session, film: File, pod: Pod) -> Iterator[dict[str, int]]:
    bob, clips = make_user(session, "bob@example.com"), make_pod(session, "clips")
    clip = make_file(session, clips, bob, "clip.mp4")
    made = {
        "a": make_transcode(session, film, "hls", "done"),
        "b": make_transcode(session, film, "mp4", "failed"),
        "c": make_transcode(session, clip, "hls", "queued"),
    }
    return {name: each.id for name, each in made.items()}


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, "abc"),
        ({"status": "done"}, "a"),
        ({"preset": "hls"}, "ac"),
        ({"preset": "hls", "status": "queued"}, "c"),
        ({"owner": "ada@example.com"}, "ab"),
        ({"pod": "clips"}, "c"),
        ({"file": "film.mp4", "owner": "ada@example.com"}, "ab"),
        ({"owner": "bob@example.com", "pod": "films"}, ""),
    ],
)
def test_list_shows_what_the_filters_leave(
    session: Session, several: dict[str, int], filters: dict[str, Any], expected: str
) -> None:
    chosen = transcodes.choose(session, **filters)
    found = transcodes.list_(session, chosen, descending=False, after=None, limit=10)
    assert [each.id for each in found.items] == [several[name] for name in expected]


@pytest.mark.parametrize("descending", [False, True])
def test_list_pages(session: Session, several: dict[str, int], descending: bool) -> None:
    seen: list[int] = []
    after = None
    for _ in several:
        page = transcodes.list_(session, TranscodeFilter(), descending=descending, after=after, limit=1)
        seen += [each.id for each in page.items]
        after = page.after
    assert (after, seen) == (None, sorted(several.values(), reverse=descending))


def test_show_tells_units_renditions_and_rungs(session: Session, film: File) -> None:
    made = make_transcode(session, film, "hls", "done")
    rendition = make_rendition(session, made, rungs=[RUNG], width=854, height=480, frames=720, duration_ms=30_000)
    shown = transcodes.show(session, made.id)
    assert [(unit.number, unit.kind, unit.status) for unit in shown.units] == [(1, "chunk", "done")]
    [found] = shown.renditions
    assert (found.id, found.name, found.preset, found.version) == (rendition.id, "hls", "hls", film.version_id)
    assert (found.size, found.frames, found.duration_ms) == (rendition.size, 720, 30_000)
    assert shown.rungs == [transcodes.Rung(**RUNG)]  # type: ignore[arg-type]


def test_unknown_transcode_is_said_to_be_so(session: Session, film: File) -> None:
    for ask in (transcodes.get, transcodes.cancel, transcodes.retry):
        with pytest.raises(NotFound, match="there is no transcode 7"):
            ask(session, [7])
    with pytest.raises(NotFound):
        transcodes.show(session, 7)


# Ending and trying again


def spent(session: Session, user: User) -> tuple[int, int, int]:
    """Return the seconds used, and the bytes reserved on the user's storage and on all pods."""
    rows = {row.metric: row for row in session.scalars(select(QuotaCounter).where(QuotaCounter.user_id == user.id))}
    for row in rows.values():
        session.refresh(row)
    seconds = rows["transcode"].used if "transcode" in rows else 0
    return seconds, rows["storage"].reserved, session.scalar(select(func.sum(Pod.reserved))) or 0


def test_cancelled_work_gives_back_what_it_took(session: Session, film: File, ada: User) -> None:
    [made], _ = submit(session, film)
    [unit] = session.scalars(select(Unit.id)).all()
    held = work_units.claim(session, unit, "a worker", 60)
    assert held
    work_units.charge(session, held, 30)
    work_units.reserve(session, held, 1000)
    assert spent(session, ada) == (30, 1000, 1000)
    [ended], changed = transcodes.cancel(session, [made.id])
    assert (ended.status, ended.seconds, changed) == ("cancelled", None, True)
    assert spent(session, ada) == (0, 0, 0)
    assert work_units.renew(session, unit, held.token, 60, 50) is False
    assert transcodes.cancel(session, [made.id]) == ([ended], False)


@pytest.mark.parametrize("status", ["done", "failed", "quarantined"])
def test_what_is_over_is_not_cancelled(session: Session, film: File, status: str) -> None:
    made = make_transcode(session, film, "hls", status)
    [found], changed = transcodes.cancel(session, [made.id])
    assert (found.status, changed) == (status, False)


@pytest.mark.parametrize("status", ["failed", "cancelled", "quarantined"])
def test_retry_is_a_new_transcode_and_leaves_the_old_one(session: Session, film: File, status: str) -> None:
    old = make_transcode(session, film, "hls", status, error="it broke", attempts=3)
    [made], changed = transcodes.retry(session, [old.id])
    assert changed
    assert (made.status, made.attempts, made.error) == ("queued", 0, None)
    [unit] = session.scalars(select(Unit.id).where(Unit.transcode_id == made.id)).all()
    assert called(session) == [str(unit)]
    [kept] = transcodes.get(session, [old.id])
    assert (kept.status, kept.attempts, kept.error) == (status, 3, "it broke")
    assert transcodes.retry(session, [old.id]) == ([made], False)


def test_retry_of_what_goes_well_changes_nothing(session: Session, film: File) -> None:
    made = [make_transcode(session, film, "hls", "done").id, make_transcode(session, film, "mp4", "running").id]
    found, changed = transcodes.retry(session, made[::-1])
    assert ([each.id for each in found], changed) == (made[::-1], False)


def test_retry_of_an_earlier_content_is_refused(session: Session, film: File) -> None:
    old = make_transcode(session, film, "hls", "failed")
    film.version_id = make_version(session, film, b"another").id
    session.flush()
    with pytest.raises(Conflict) as refused:
        transcodes.retry(session, [old.id])
    assert refused.value.remedy == f"dumacle transcode submit {film.id} --preset hls"


def test_retry_needs_minutes_too(session: Session, film: File, ada: User) -> None:
    old = make_transcode(session, film, "hls", "failed")
    use_up(session, ada)
    with pytest.raises(QuotaExceeded):
        transcodes.retry(session, [old.id])


def test_reap_takes_back_what_lapsed_and_calls_again(session: Session, film: File) -> None:
    submit(session, film)
    submit(session, film, preset="mp4")
    first, second = session.scalars(select(Unit.id).order_by(Unit.id)).all()
    assert work_units.claim(session, first, "a worker", 60)
    session.execute(text("UPDATE app.units SET lease_until = now() - interval '1 s' WHERE lease_token IS NOT NULL"))
    session.execute(text("DELETE FROM queue.procrastinate_jobs"))
    assert transcodes.reap(session) == (transcodes.Reaped(returned=1, woken=2), True)
    assert sorted(called(session)) == sorted([str(first), str(second)])
    assert transcodes.reap(session) == (transcodes.Reaped(returned=0, woken=0), False)
    assert {each.status for each in transcodes.get(session, list(session.scalars(select(Transcode.id))))} == {"queued"}


def test_quota_of_a_transcode_is_that_of_its_owner(session: Session, film: File, ada: User) -> None:
    use_up(session, make_user(session, "bob@example.com"))
    assert submit(session, film)[1]
    assert [quota.used for quota in quotas.show(session, ada.email) if quota.metric == "transcode"] == [0]

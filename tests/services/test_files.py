"""Files: choosing, listing, moving, deleting, restoring."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from dumacle_cli import errors
from dumacle_cli.services import files, pods
from dumacle_cli.store import files as store
from dumacle_cli.store.database import Database
from dumacle_cli.store.files import Selection, successor
from dumacle_cli.store.models import File, Lease, Pod, QuotaCounter, Transcode, User, Version
from tests import factories

pytestmark = pytest.mark.integration


def used(session: Session, user: User) -> int:
    query = select(QuotaCounter.used).where(QuotaCounter.user_id == user.id, QuotaCounter.metric == "storage")
    return session.scalar(query) or 0


def reserved(session: Session, user: User) -> int:
    query = select(QuotaCounter.reserved).where(QuotaCounter.user_id == user.id, QuotaCounter.metric == "storage")
    return session.scalar(query) or 0


def paths(session: Session, chosen: Selection, **more: object) -> list[str]:
    options = {"sort": None, "descending": False, "after": None, "limit": 50} | more
    return [file.path for file in files.list_(session, chosen, **options).items]  # type: ignore[arg-type]


def couple(session: Session, limit: int | None = None) -> tuple[User, User, Pod]:
    """Two users with storage, both granted the same pod."""
    one, other, pod = factories.make_user(session), factories.make_user(session), factories.make_pod(session)
    plan = factories.make_plan(session, storage_limit=limit)
    for user in (one, other):
        factories.make_grant(session, pod, user)
        factories.make_subscription(session, user, plan)
    return one, other, pod


@pytest.mark.unit
@given(st.text(min_size=1), st.text(), st.text())
def test_a_prefix_is_a_range(prefix: str, rest: str, other: str) -> None:
    end = successor(prefix)
    for path in (prefix + rest, other):
        raw = path.encode()
        assert (prefix.encode() <= raw and (not end or raw < end.encode())) == path.startswith(prefix)


@pytest.mark.unit
@pytest.mark.parametrize(
    ("prefix", "end"), [("a", "b"), ("a\U0010ffff", "b"), ("\ud7ff", "\ue000"), ("\U0010ffff", ""), ("x/", "x0")]
)
def test_successors(prefix: str, end: str) -> None:
    assert successor(prefix) == end


def test_wildcards_in_a_prefix_are_plain_characters(database: Database) -> None:
    with database.session() as session:
        ada, _, pod = couple(session)
        for path in ("a%/1", "ab/1", "a_/1", "a%", "b"):
            factories.make_file(session, pod, ada, path)
        assert paths(session, files.select(session, owner=ada.email, prefix="a%")) == ["a%", "a%/1"]
        assert paths(session, files.select(session, pod=pod.name, prefix="a_")) == ["a_/1"]


@pytest.mark.parametrize("sort", ["created", "path", "size"])
@pytest.mark.parametrize("descending", [False, True])
def test_pages_meet_every_file_once_in_order(database: Database, sort: files.Sort, descending: bool) -> None:
    with database.session() as session:
        ada, _, pod = couple(session)
        made = [
            factories.make_file(session, pod, ada, path, b"x" * len(path)) for path in ["q", "ww", "e", "rr", "t", "yy"]
        ]
        keys = {"created": lambda f: f.id, "path": lambda f: (f.path, f.id), "size": lambda f: (f.size, f.id)}
        expected = [file.path for file in sorted(made, key=keys[sort], reverse=descending)]
        chosen, found, after = files.select(session, owner=ada.email), [], None
        for _ in range(3):
            page = files.list_(session, chosen, sort=sort, descending=descending, after=after, limit=2)
            found += [file.path for file in page.items]
            after = page.after
        assert found == expected
        assert after is None


def test_deleted_files_are_listed_apart_by_when_they_went(database: Database) -> None:
    with database.session() as session:
        ada, _, pod = couple(session)
        for path, day in (("late", 3), ("early", 1), ("middle", 2)):
            factories.make_file(session, pod, ada, path, deleted_at=datetime(2026, 1, day, tzinfo=UTC))
        factories.make_file(session, pod, ada, "live")
        assert paths(session, files.select(session, owner=ada.email)) == ["live"]
        gone = files.select(session, owner=ada.email, deleted=True)
        assert paths(session, gone) == ["early", "middle", "late"]
        first = files.list_(session, gone, sort=None, descending=False, after=None, limit=1)
        assert paths(session, gone, after=first.after) == ["middle", "late"]


@pytest.mark.parametrize(
    ("chosen", "sort"), [(Selection(), "path"), (Selection(), "size"), (Selection(prefix="a"), None),
                         (Selection(owner_id=1, prefix="a"), "size"), (Selection(deleted=True), "path")],
)  # fmt: skip
def test_orders_without_an_index_are_refused(database: Database, chosen: Selection, sort: files.Sort | None) -> None:
    with database.session() as session, pytest.raises(errors.UsageError):
        files.list_(session, chosen, sort=sort, descending=False, after=None, limit=1)


def test_status_filter(database: Database) -> None:
    with database.session() as session:
        ada, _, pod = couple(session)
        factories.make_file(session, pod, ada, "ok")
        factories.make_file(session, pod, ada, "bad", upload_status="failed")
        assert paths(session, files.select(session, owner=ada.email, status="failed")) == ["bad"]


def test_finding_by_id_and_by_path(database: Database) -> None:
    with database.session() as session:
        ada, bob, pod = couple(session)
        second = factories.make_pod(session)
        one = factories.make_file(session, pod, ada, "1")
        factories.make_file(session, second, ada, "1")
        other = factories.make_file(session, pod, bob, "n\\x0al")
        assert files.find(session, str(one.id)) == one.id
        assert files.find(session, "1", owner=ada.email, pod=pod.name) == one.id
        assert (
            files.find(session, "n\nl", owner=bob.email) == files.find(session, "n\\x0al", owner=bob.email) == other.id
        )
        with pytest.raises(errors.Conflict, match="several pods"):
            files.find(session, "1", owner=ada.email)
        with pytest.raises(errors.UsageError):
            files.find(session, "path")
        for missing in ("9" * 30, "999999"):
            with pytest.raises(errors.NotFound):
                files.find(session, missing)


def test_moving_takes_the_storage_of_all_contents_along(database: Database) -> None:
    with database.session() as session:
        ada, bob, pod = couple(session)
        moved = factories.make_file(session, pod, ada, "a", b"12345")
        factories.make_version(session, moved, b"123", status="superseded")
        factories.make_version(session, moved, b"12", status="failed", stored_at=None)
        factories.make_file(session, pod, ada, "b", b"1")
        key = session.scalar(select(Version.key).where(Version.id == moved.version_id))
        result, changed = files.move(session, Selection(ids=(moved.id,)), bob.email)
        assert (result, changed) == (files.Affected(1, 5), True)
        assert (used(session, ada), used(session, bob)) == (1, 8)
        assert paths(session, files.select(session, owner=bob.email)) == ["a"]
        assert files.show(session, moved.id).key == key
        assert files.move(session, Selection(ids=(moved.id,)), bob.email) == (files.Affected(0, 0), False)
        assert session.scalar(select(Pod.used).where(Pod.id == pod.id)) == 9


def test_moving_takes_the_storage_of_renditions_along(database: Database) -> None:
    """Of all contents, and what is reserved for one that is being made; everything adds up at any moment."""
    with database.session() as session:
        ada, bob, pod = couple(session)
        moved, stays = (
            factories.make_file(session, pod, ada, "a", b"12345"),
            factories.make_file(session, pod, ada, "b"),
        )
        factories.make_rendition(session, factories.make_transcode(session, moved), {"a": b"123"})
        moved.version_id = factories.make_version(session, moved, b"12").id
        factories.make_rendition(session, factories.make_transcode(session, moved), {"a": b"1"})
        factories.make_transcode(session, moved, "mp4", "running", reserved=100)
        factories.make_rendition(session, factories.make_transcode(session, stays), {"a": b"1234"})
        assert files.move(session, Selection(ids=(moved.id,)), bob.email)[1]
        assert (used(session, ada), used(session, bob)) == (7 + 4, 5 + 3 + 2 + 1)
        assert (reserved(session, ada), reserved(session, bob)) == (0, 100)
        assert pods.check(session) == ([], False)


@pytest.mark.parametrize("allowed", [16, 17])
def test_renditions_count_against_the_quota_of_who_gets_them(database: Database, allowed: int) -> None:
    with database.session() as session:
        ada, bob, pod = couple(session, limit=allowed)
        file = factories.make_file(session, pod, ada, "a", b"12345")
        factories.make_rendition(session, factories.make_transcode(session, file), {"a": b"12"})
        factories.make_transcode(session, file, "mp4", "running", reserved=10)
        chosen = Selection(ids=(file.id,))
        if allowed == 5 + 2 + 10:
            assert files.move(session, chosen, bob.email)[1]
        else:
            with pytest.raises(errors.QuotaExceeded, match="16 B left of 16 B, 17 B"), session.begin_nested():
                files.move(session, chosen, bob.email)


def test_moving_needs_grant_quota_and_a_free_path(database: Database) -> None:
    with database.session() as session:
        ada, bob, pod = couple(session, limit=10)
        stranger, gone = factories.make_user(session), factories.make_user(session, status="disabled")
        six = factories.make_file(session, pod, ada, "six", b"123456")
        mine = factories.make_file(session, pod, bob, "mine", b"12345")
        chosen = Selection(ids=(six.id,))
        for other, error in ((stranger, errors.NotGranted), (gone, errors.UserDisabled), (bob, errors.QuotaExceeded)):
            with pytest.raises(error), session.begin_nested():
                files.move(session, chosen, other.email)
        mine.path, mine.size = "six", 5
        session.flush()
        with pytest.raises(errors.Conflict, match="another file at six"):
            files.move(session, chosen, bob.email)
        assert (used(session, ada), used(session, bob)) == (6, 5)


def test_a_file_whose_bytes_a_lease_counts_stays(database: Database) -> None:
    with database.session() as session:
        ada, bob, pod = couple(session)
        file = factories.make_file(session, pod, ada)
        lease = Lease(pod_id=pod.id, user_id=ada.id, granted=9, period_start=func.now(), until=func.now())
        session.add(lease)
        session.flush()
        factories.make_version(session, file, status="uploading", stored_at=None, lease_id=lease.id)
        with pytest.raises(errors.Conflict, match="being uploaded"):
            files.move(session, Selection(ids=(file.id,)), bob.email)


def test_deleting_by_filter_and_restoring(database: Database) -> None:
    with database.session() as session:
        ada, bob, pod = couple(session)
        for path in ("a/1", "a/2", "b"):
            factories.make_file(session, pod, ada, path, b"xx")
        factories.make_file(session, pod, bob, "a/3", b"xx")
        chosen = files.choose(session, "", owner=ada.email, prefix="a/")
        assert files.summary(session, chosen) == (2, "2 files, 4 B: a/1, a/2")
        with pytest.raises(errors.TooMany, match="2 files"):
            files.delete(session, chosen, maximum=1)
        assert files.delete(session, chosen, maximum=2) == (files.Affected(2, 4), True)
        assert files.delete(session, chosen) == (files.Affected(0, 0), False)
        assert used(session, ada) == 6
        gone = files.choose(session, "", owner=ada.email, deleted=True)
        assert files.restore(session, gone) == (files.Affected(2, 4), True)
        assert paths(session, files.select(session, owner=ada.email)) == ["a/1", "a/2", "b"]


def test_deleting_cancels_what_is_being_made_and_restoring_does_not_begin_it_again(database: Database) -> None:
    with database.session() as session:
        ada, _, pod = couple(session)
        file, other = (factories.make_file(session, pod, ada, path) for path in "ab")
        made = [
            factories.make_transcode(session, file, "hls", "running", reserved=100),
            factories.make_transcode(session, file, "mp4", "queued"),
            factories.make_transcode(session, file, "audio", "done"),
            factories.make_transcode(session, other, "hls", "running", reserved=10),
        ]
        factories.make_rendition(session, made[2])
        chosen = Selection(ids=(file.id,))
        assert files.delete(session, chosen)[1]
        assert statuses(session, made) == ["cancelled", "cancelled", "done", "running"]
        assert reserved(session, ada) == 10
        assert pods.check(session) == ([], False)
        files.restore(session, Selection(ids=(file.id,), deleted=True))
        assert statuses(session, made) == ["cancelled", "cancelled", "done", "running"]


def statuses(session: Session, made: list[Transcode]) -> list[str]:
    found = {
        each.id: each.status for each in session.scalars(select(Transcode).execution_options(populate_existing=True))
    }
    return [found[each.id] for each in made]


def test_age_selects_live_files_by_when_they_came(database: Database) -> None:
    with database.session() as session:
        ada, _, pod = couple(session)
        factories.make_file(session, pod, ada, "old", created_at=datetime(2020, 1, 1, tzinfo=UTC))
        factories.make_file(session, pod, ada, "new")
        files.delete(session, files.choose(session, "", before=datetime.now(UTC) - timedelta(days=30)))
        assert paths(session, files.select(session, owner=ada.email)) == ["new"]


def test_restoring_meets_what_came_after(database: Database) -> None:
    with database.session() as session:
        ada, _, pod = couple(session)
        first = factories.make_file(session, pod, ada, "a", deleted_at=datetime(2026, 1, 1, tzinfo=UTC))
        second = factories.make_file(session, pod, ada, "a", deleted_at=datetime(2026, 1, 2, tzinfo=UTC))
        both = Selection(ids=(first.id, second.id), deleted=True)
        with pytest.raises(errors.Conflict, match="there is another file at a"):
            files.restore(session, both)
        assert files.find(session, "a", owner=ada.email, deleted=True) == second.id
        files.restore(session, Selection(ids=(second.id,), deleted=True))
        with pytest.raises(errors.Conflict):
            files.restore(session, Selection(ids=(first.id,), deleted=True))
        with pytest.raises(errors.Conflict, match="not deleted"):
            files.find(session, str(second.id), deleted=True)


def test_bulk_needs_a_filter_and_a_file_none(database: Database) -> None:
    with database.session() as session:
        for arguments in ({}, {"prefix": "a", "file": "1"}):
            with pytest.raises(errors.UsageError):
                files.choose(session, arguments.pop("file", ""), **arguments)


def test_a_file_that_is_restored_while_another_takes_its_path_conflicts(database: Database) -> None:
    with database.session() as session:
        ada, _, pod = couple(session)
        gone = factories.make_file(session, pod, ada, "a", deleted_at=datetime(2026, 1, 1, tzinfo=UTC))
        factories.make_file(session, pod, ada, "a")
        assert not store.change(session, [gone.id], deleted_at=None)
        assert session.scalar(select(File.deleted_at).where(File.id == gone.id))

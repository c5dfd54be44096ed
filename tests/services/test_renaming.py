"""Renaming: a path or a prefix, in sets, and never onto another file."""

from itertools import combinations

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from dumacle_cli import errors
from dumacle_cli.services import files, pods
from dumacle_cli.store.database import Database
from dumacle_cli.store.models import Audit, File, Lease, Pod, User
from tests import factories

pytestmark = pytest.mark.integration


def made(session: Session, *paths: str) -> tuple[User, Pod]:
    ada, pod = factories.make_user(session), factories.make_pod(session)
    for path in paths:
        factories.make_file(session, pod, ada, path, path.encode())
    return ada, pod


def paths(session: Session, owner: User) -> list[str]:
    return list(
        session.scalars(select(File.path).where(File.owner_id == owner.id, File.deleted_at.is_(None)).order_by("path"))
    )


def rename(session: Session, owner: User, prefix: str, to: str, **more: object) -> tuple[files.Affected, bool]:
    chosen = files.select(session, owner=owner.email, prefix=prefix, pod=str(more.pop("pod", "")))
    return files.rename_prefix(session, chosen, to, **more)  # type: ignore[arg-type]


def test_a_file_gets_another_path(database: Database) -> None:
    with database.session() as session:
        ada, _ = made(session, "a/x", "b")
        file = files.find(session, "a/x", owner=ada.email)
        key = files.show(session, file).key
        assert files.rename(session, file, "c/ü\n") == (files.Affected(1, 3), True)
        assert paths(session, ada) == ["b", "c/ü\\x0a"]
        assert (files.find(session, "c/ü\n", owner=ada.email), files.show(session, file).key) == (file, key)
        assert files.rename(session, file, "c/ü\\x0a") == (files.Affected(0, 0), False)
        with pytest.raises(errors.Conflict, match="another file at b"):
            files.rename(session, file, "b")
        assert pods.check(session) == ([], False)


@pytest.mark.parametrize("path", ["/a", "a/", "a//b", ".", "..", "a/../b", "./a", "a/.", "é" * 1025])
def test_paths_that_no_file_can_have_are_refused(database: Database, path: str) -> None:
    with database.session() as session:
        ada, _ = made(session, "x")
        with pytest.raises(errors.InvalidValue):
            files.rename(session, files.find(session, "x", owner=ada.email), path)
        assert paths(session, ada) == ["x"]


def test_a_prefix_is_replaced_for_its_owner_and_pod_only(database: Database) -> None:
    with database.session() as session:
        ada, pod = made(session, "a/1", "a/b/2", "ab", "a%/3")
        bob, _ = made(session, "a/1")
        other = factories.make_pod(session)
        factories.make_file(session, other, ada, "a/4")
        factories.make_file(session, pod, ada, "a/5", deleted_at=func.now())
        assert rename(session, ada, "a/", "c/", pod=pod.name) == (files.Affected(2, 8), True)
        assert paths(session, ada) == ["a%/3", "a/4", "ab", "c/1", "c/b/2"]
        assert paths(session, bob) == ["a/1"]
        assert rename(session, ada, "c/", "c/") == (files.Affected(0, 0), False)
        assert rename(session, ada, "none/", "x/") == (files.Affected(0, 0), False)


def test_a_prefix_need_not_end_in_a_slash(database: Database) -> None:
    with database.session() as session:
        ada, _ = made(session, "IMG_1", "IMG_2")
        rename(session, ada, "IMG_", "2026/beach-")
        assert paths(session, ada) == ["2026/beach-1", "2026/beach-2"]
        with pytest.raises(errors.InvalidValue):
            rename(session, ada, "2026/beach-1", "x/")


def test_prefixes_are_escaped_as_paths(database: Database) -> None:
    with database.session() as session:
        ada, _ = made(session, "t\\x09ab/1", "b\\\\s/2")
        rename(session, ada, "t\tab/", "n\new/")
        rename(session, ada, "b\\s/", "b/")
        assert paths(session, ada) == ["b/2", "n\\x0aew/1"]


@pytest.mark.parametrize("clashes", [1, 3])
def test_nothing_is_renamed_if_a_path_is_taken(database: Database, clashes: int) -> None:
    with database.session() as session:
        before = [*(f"a/{number}" for number in range(5)), *(f"b/{number}" for number in range(clashes))]
        ada, _ = made(session, *before)
        more = " and 2 more" if clashes == 3 else ""
        with pytest.raises(errors.Conflict, match=f"another file at b/0{more}$"):
            rename(session, ada, "a/", "b/")
        assert paths(session, ada) == before


NESTED = ("x", "a/x", "a/a/x", "a/a/a/x", "b/x", "b/a/x", "a/b/x")


@pytest.mark.parametrize(("prefix", "to"), [("a/", "a/a/"), ("a/a/", "a/"), ("a/", "b/"), ("a/", "a/b/")])
def test_paths_that_take_over_from_each_other(database: Database, prefix: str, to: str) -> None:
    """All of them move, or one is in the way of a file that stays: for each set of some nested paths."""
    with database.session() as session:
        for names in (set(some) for size in range(1, 5) for some in combinations(NESTED, size)):
            ada, _ = made(session, *names)
            moved = {name: to + name.removeprefix(prefix) for name in names if name.startswith(prefix)}
            stay = names - set(moved)
            if stay & set(moved.values()):
                with pytest.raises(errors.Conflict):
                    rename(session, ada, prefix, to)
                assert set(paths(session, ada)) == names
            else:
                rename(session, ada, prefix, to)
                assert set(paths(session, ada)) == stay | set(moved.values())


def test_a_guard_on_the_number(database: Database) -> None:
    with database.session() as session:
        ada, _ = made(session, "a/1", "a/2")
        with pytest.raises(errors.TooMany):
            rename(session, ada, "a/", "b/", maximum=1)
        assert rename(session, ada, "a/", "b/", maximum=2)[0].files == 2


def test_a_file_that_is_being_uploaded_keeps_its_path(database: Database) -> None:
    with database.session() as session:
        ada, pod = made(session, "a/1")
        lease = Lease(pod_id=pod.id, user_id=ada.id, granted=9, period_start=func.now(), until=func.now())
        session.add(lease)
        session.flush()
        file = session.scalars(select(File).where(File.owner_id == ada.id)).one()
        factories.make_version(session, file, status="uploading", stored_at=None, lease_id=lease.id)
        with pytest.raises(errors.Conflict, match="being uploaded"):
            rename(session, ada, "a/", "b/")


def test_renditions_follow_and_the_audit_log_tells(database: Database) -> None:
    with database.session() as session:
        ada, _ = made(session, "a/film.mp4")
        file = session.scalars(select(File).where(File.owner_id == ada.id)).one()
        factories.make_rendition(session, factories.make_transcode(session, file))
        rename(session, ada, "a/", "b/")
        assert [each.name for each in files.show(session, file.id).renditions] == ["hls"]
        seen = session.scalars(select(Audit).where(Audit.table_name == "files").order_by(Audit.id.desc())).first()
        assert seen
        assert (seen.before or {})["path"] == "a/film.mp4"
        assert (seen.after or {})["path"] == "b/film.mp4"

"""Queries of the purge: what may go, what is marked to go, and what is gone."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Select, exists, func, or_, select, text, tuple_, union_all, update
from sqlalchemy.orm import Session, aliased

from dumacle_cli.store.files import Selection, conditions, one_of
from dumacle_cli.store.models import File, Lease, Pod, Rendition, Transcode, Version
from dumacle_cli.store.places import KEYHOLDER, PLACE, Place, is_own

LEFTOVER = ("superseded", "failed")


@dataclass(frozen=True, slots=True)
class Doomed:
    """A content that is marked to go, where its bytes lie, what was made of it, and whether its whole file goes."""

    version_id: int
    file_id: int
    place: Place
    key: str
    upload_id: str | None
    prefix: str
    transcodes: list[int]
    whole: bool

    @property
    def is_own(self) -> bool:
        """Whether the key is one that the program makes for the pod."""
        return is_own(self.prefix, self.key)


def _free(file_id: Any) -> ColumnElement[bool]:
    """Say that no lease counts the bytes of any content of the file any more."""
    counted = exists().where(Version.file_id == file_id, Lease.id == Version.lease_id, Lease.closed_at.is_(None))
    return ~counted


def files(chosen: Selection) -> Select[int]:
    """Select the chosen deleted files that are not marked yet, the earliest first."""
    deleted = conditions(replace(chosen, deleted=True))
    return select(File.id).where(*deleted, _free(File.id)).order_by(File.deleted_at, File.id)


def leftovers(chosen: Selection) -> Select[int]:
    """Select the contents of the chosen live files that are not the present one any more, or never were.

    An instant of the selection is that at which these were given up, not that of their files.
    """
    following = aliased(Version)
    superseded_at = (
        select(func.min(following.stored_at))
        .where(following.file_id == Version.file_id, following.id > Version.id)
        .scalar_subquery()
    )
    query = (
        select(Version.id)
        .join(File, File.id == Version.file_id)
        .where(Version.status.in_(LEFTOVER), File.version_id.is_distinct_from(Version.id))
        .where(*conditions(replace(chosen, deleted=False, before=None)))
        .where(~exists().where(Lease.id == Version.lease_id, Lease.closed_at.is_(None)))
    )
    if chosen.before:
        query = query.where(func.coalesce(superseded_at, Version.created_at) < chosen.before)
    return query.order_by(Version.status, Version.id)


@dataclass(frozen=True, slots=True)
class Extent:
    """How much a purge would take now, with what an earlier one left half done.

    `files` are deleted ones, `versions` all contents, `old` those of live files; bytes are what becomes free.
    """

    files: int
    versions: int
    old: int
    renditions: int
    bytes: int


def extent(session: Session, chosen: Selection) -> Extent:
    """Count what a purge would take now."""
    gone = union_all(files(chosen).order_by(None), select(File.id).where(File.purging_at.is_not(None))).cte("gone")
    old = leftovers(chosen).order_by(None).cte("old")
    going = or_(Version.file_id.in_(select(gone.c.id)), Version.id.in_(select(old.c.id)), Version.status == "purging")
    numbers = [select(func.count()).select_from(found).scalar_subquery() for found in (gone, old)]
    size = func.coalesce(func.sum(Version.size).filter(Version.stored_at.is_not(None)), 0)
    found = session.execute(select(numbers[0], func.count(), numbers[1], size).where(going)).one()
    made = session.execute(
        select(func.count(), func.coalesce(func.sum(Rendition.size), 0))
        .select_from(Rendition)
        .join(Transcode, Transcode.id == Rendition.transcode_id)
        .join(Version, Version.id == Transcode.version_id)
        .where(going)
    ).one()
    return Extent(found[0], found[1], found[2], made[0], int(found[3]) + int(made[1]))


def mark_files(session: Session, chosen: Selection, limit: int) -> bool:
    """Mark the next deleted files with all their contents, and let go of these; says whether there were any."""
    query = files(chosen).limit(limit).with_for_update(of=File, skip_locked=True)
    ids = list(session.scalars(query))
    session.execute(update(File).where(one_of(File.id, ids)).values(purging_at=func.now(), version_id=None))
    session.execute(update(Version).where(one_of(Version.file_id, ids)).values(status="purging"))
    return bool(ids)


def mark_leftovers(session: Session, chosen: Selection, limit: int) -> bool:
    """Mark the next old contents; says whether there were any."""
    query = leftovers(chosen).limit(limit).with_for_update(of=Version, skip_locked=True)
    ids = list(session.scalars(query))
    session.execute(update(Version).where(one_of(Version.id, ids)).values(status="purging"))
    return bool(ids)


def doomed(session: Session, limit: int, without: Iterable[Place], after: int = 0) -> list[Doomed]:
    """Return the next contents behind an id that are marked, whoever marked them, elsewhere than at these places."""
    transcodes = func.array(select(Transcode.id).where(Transcode.version_id == Version.id).scalar_subquery())
    place = (PLACE, Version.key, Version.upload_id, Pod.prefix)
    where = tuple_(Pod.primary_provider, Pod.bucket, func.coalesce(KEYHOLDER, 0))
    failed = [(each.provider, each.bucket, each.pod_id or 0) for each in without]
    query = (
        select(Version.id, File.id, *place, transcodes, File.purging_at.is_not(None))
        .join(File, File.id == Version.file_id)
        .join(Pod, Pod.id == File.pod_id)
        .where(Version.status == "purging", Version.id > after, where.not_in(failed))
        .order_by(Version.id)
        .limit(limit)
    )
    return [Doomed(*row) for row in session.execute(query)]


@dataclass(frozen=True, slots=True)
class Removed:
    """How many contents and renditions were still there to be removed, and their bytes."""

    versions: int
    renditions: int
    bytes: int


def remove_versions(session: Session, ids: Sequence[int]) -> Removed:
    """Delete those that are still there and marked, with what was made of them, and give their storage back."""
    query = text("SELECT versions, renditions, bytes FROM app.purge_versions(CAST(:ids AS bigint[]))")
    return Removed(*session.execute(query, {"ids": list(ids)}).one())


def remove_files(session: Session, limit: int) -> int:
    """Delete marked files of which no content is left; returns how many."""
    return int(session.scalars(select(func.app.purge_files(limit))).one())

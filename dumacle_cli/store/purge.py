"""Queries of the purge: what can be purged, what is marked, and removing it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Select, exists, func, or_, select, text, tuple_, union_all, update
from sqlalchemy.orm import Session, aliased

from dumacle_cli.store import copies
from dumacle_cli.store.files import Selection, conditions, one_of
from dumacle_cli.store.models import File, Lease, Pod, Rendition, Transcode, Version
from dumacle_cli.store.place_columns import KEYHOLDER, PLACE
from dumacle_cli.store.places import Place, is_own

OLD = ("superseded", "failed")
KEPT = ("stored", "superseded")


@dataclass(frozen=True, slots=True)
class MarkedVersion:
    """A version marked for removal: its object, its transcodes, and whether its whole file is removed.

    `shared`: another version that is kept has the same object.
    """

    version_id: int
    file_id: int
    place: Place
    key: str
    upload_id: str | None
    prefix: str
    transcodes: list[int]
    whole_file: bool
    shared: bool
    second: Place | None = None

    def everywhere(self) -> Iterator["MarkedVersion"]:
        """Yield it for each of its places; a multipart upload is open at the first only."""
        yield self
        if self.second:
            yield replace(self, place=self.second, upload_id=None)

    @property
    def is_own(self) -> bool:
        """Whether the key has the form of keys that Dumacle makes for the pod."""
        return is_own(self.prefix, self.key)


def _free(file_id: Any) -> ColumnElement[bool]:
    """Require that no open lease counts the bytes of any version of the file."""
    counted = exists().where(Version.file_id == file_id, Lease.id == Version.lease_id, Lease.closed_at.is_(None))
    return ~counted


def deleted_files(chosen: Selection) -> Select[int]:
    """Select the chosen deleted files that are not marked yet, earliest deletion first."""
    deleted = conditions(replace(chosen, deleted=True))
    return select(File.id).where(*deleted, _free(File.id)).order_by(File.deleted_at, File.id)


def old_versions(chosen: Selection) -> Select[int]:
    """Select the superseded and failed versions of the chosen live files.

    `chosen.before` applies to when the versions were superseded or started, not to their files.
    """
    following, began = aliased(Version), tuple_(func.coalesce(Version.stored_at, Version.created_at), Version.id)
    superseded_at = (
        select(func.min(following.stored_at))
        .where(following.file_id == Version.file_id, tuple_(following.stored_at, following.id) > began)
        .scalar_subquery()
    )
    query = (
        select(Version.id)
        .join(File, File.id == Version.file_id)
        .where(Version.status.in_(OLD), File.version_id.is_distinct_from(Version.id))
        .where(*conditions(replace(chosen, deleted=False, before=None)))
        .where(~exists().where(Lease.id == Version.lease_id, Lease.closed_at.is_(None)))
    )
    if chosen.before:
        query = query.where(func.coalesce(superseded_at, Version.created_at) < chosen.before)
    return query.order_by(Version.status, Version.id)


@dataclass(frozen=True, slots=True)
class Totals:
    """What a purge would remove now, including what an earlier purge did not finish.

    `files` are deleted files, `versions` all their versions and the `old` ones of live files, `bytes` the space freed.
    """

    files: int
    versions: int
    old: int
    renditions: int
    bytes: int


def totals(session: Session, chosen: Selection) -> Totals:
    """Count what a purge would remove now."""
    gone = union_all(deleted_files(chosen).order_by(None), select(File.id).where(File.purging_at.is_not(None))).cte(
        "gone"
    )
    old = old_versions(chosen).order_by(None).cte("old")
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
    return Totals(found[0], found[1], found[2], made[0], int(found[3]) + int(made[1]))


def mark_files(session: Session, chosen: Selection, limit: int) -> bool:
    """Mark the next deleted files with all their versions, skipping locked ones; returns whether there were any."""
    query = deleted_files(chosen).limit(limit).with_for_update(of=File, skip_locked=True)
    ids = list(session.scalars(query))
    session.execute(update(File).where(one_of(File.id, ids)).values(purging_at=func.now(), version_id=None))
    session.execute(update(Version).where(one_of(Version.file_id, ids)).values(status="purging"))
    return bool(ids)


def mark_old_versions(session: Session, chosen: Selection, limit: int) -> bool:
    """Mark the next old versions, skipping locked ones; returns whether there were any."""
    query = old_versions(chosen).limit(limit).with_for_update(of=Version, skip_locked=True)
    ids = list(session.scalars(query))
    session.execute(update(Version).where(one_of(Version.id, ids)).values(status="purging"))
    return bool(ids)


def failed_versions() -> Select[int]:
    """Select the versions that failed uploads left behind."""
    return old_versions(Selection()).where(Version.status == "failed")


def mark_failed_versions(session: Session, limit: int) -> bool:
    """Mark the next failed versions, skipping locked ones; returns whether there were any."""
    ids = list(session.scalars(failed_versions().limit(limit).with_for_update(of=Version, skip_locked=True)))
    session.execute(update(Version).where(one_of(Version.id, ids)).values(status="purging"))
    return bool(ids)


def count_failed_versions(session: Session) -> int:
    """Count the versions that failed uploads left behind."""
    return session.scalars(select(func.count()).select_from(failed_versions().order_by(None).subquery())).one()


def remaining(session: Session, chosen: Selection) -> int:
    """Count the files and old versions that a purge could still remove."""
    unfinished = select(File.id).where(File.purging_at.is_not(None))
    queries = (deleted_files(chosen).order_by(None), old_versions(chosen).order_by(None), unfinished)
    numbers = [select(func.count()).select_from(query.subquery()).scalar_subquery() for query in queries]
    return sum(session.execute(select(*numbers)).one())


def marked(session: Session, limit: int, without: Iterable[Place], after: int = 0) -> list[MarkedVersion]:
    """Return the next marked versions with an id above `after`, no matter which purge marked them.

    `without` names buckets to skip. Nobody begins to share the object of a marked version (app.share_objects), so one
    that is not shared now stays so, and the last of several purges that mark versions of an object sees that.
    """
    transcodes = func.array(select(Transcode.id).where(Transcode.version_id == Version.id).scalar_subquery())
    place = (PLACE, Version.key, Version.upload_id, Pod.prefix)
    other = aliased(Version)
    shared = exists().where(other.key == Version.key, other.status.in_(KEPT))
    where = tuple_(Pod.primary_provider, Pod.bucket, func.coalesce(KEYHOLDER, 0))
    failed = [(each.provider, each.bucket, each.pod_id or 0) for each in without]
    query = (
        select(Version.id, File.id, *place, transcodes, File.purging_at.is_not(None), shared)
        .join(File, File.id == Version.file_id)
        .join(Pod, Pod.id == File.pod_id)
        .where(Version.status == "purging", Version.id > after, where.not_in(failed))
        .order_by(Version.id)
        .limit(limit)
    )
    found = [MarkedVersion(*row) for row in session.execute(query)]
    second = copies.second_places(session, [version.version_id for version in found])
    return [replace(version, second=second.get(version.version_id)) for version in found]


@dataclass(frozen=True, slots=True)
class Removed:
    """How many versions and renditions were removed, and their bytes."""

    versions: int
    renditions: int
    bytes: int


def remove_versions(session: Session, ids: Sequence[int]) -> Removed:
    """Delete the versions that are still marked, with their renditions, and free the storage that they used."""
    query = text("SELECT versions, renditions, bytes FROM app.purge_versions(CAST(:ids AS bigint[]))")
    return Removed(*session.execute(query, {"ids": list(ids)}).one())


def remove_files(session: Session, limit: int) -> int:
    """Delete marked files that have no versions left, skipping locked ones; returns how many."""
    return int(session.scalars(select(func.app.purge_files(limit))).one())

"""Queries about files and their versions."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Row,
    Select,
    Text,
    any_,
    exists,
    func,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, aliased

from dumacle_cli.errors import ForeignObject
from dumacle_cli.store import paging, storage
from dumacle_cli.store.models import Copy, File, Lease, Pod, PodGrant, User, Version
from dumacle_cli.store.models.files import PATH_BYTES
from dumacle_cli.store.place_columns import PLACE
from dumacle_cli.store.places import Place, is_own

SORTS: dict[str, list[Any]] = {
    "created": [File.id],
    "path": [File.path, File.id],
    "size": [File.size, File.id],
    "deleted": [File.deleted_at, File.id],
}
SAMPLE = 3
SEARCH_LIMIT = 100_000


@dataclass(frozen=True, slots=True)
class Selection:
    """A filter for live or deleted files; `before` compares when they were created or deleted (UTC).

    `part` (i, n) selects the i-th of n parts of about the same number of files, by their ids.
    """

    ids: tuple[int, ...] | None = None
    owner_id: int | None = None
    pod_id: int | None = None
    prefix: str = ""
    status: str | None = None
    before: datetime | None = None
    deleted: bool = False
    part: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Content:
    """The current version of a file: where its object is, and what it must contain; size in bytes, mtime in ns."""

    file_id: int
    version_id: int
    path: str
    place: Place
    key: str
    size: int
    sha256: bytes | None
    md5: bytes | None
    etag: str | None
    content_type: str
    mtime_ns: int | None
    pod_prefix: str

    def own_key(self) -> str:
        """Return the key; raises ForeignObject if Dumacle did not make it for the pod."""
        if not is_own(self.pod_prefix, self.key):
            raise ForeignObject(what=f"content {self.version_id}", key=self.key)
        return self.key


@dataclass(frozen=True, slots=True)
class Stored:
    """What files use of their owner's storage, and what is reserved for their renditions (bytes)."""

    owner_id: int
    used: int
    reserved: int


def one_of(column: Any, ids: Sequence[int]) -> ColumnElement[bool]:
    """Require that a column is one of these ids, passed as a single parameter."""
    return column == any_(literal(list(ids), ARRAY(BigInteger)))  # type: ignore[no-any-return]


def conditions(chosen: Selection) -> list[ColumnElement[bool]]:
    """Turn a selection into conditions on files; a prefix becomes a range, so that it has no wildcards."""
    found: list[ColumnElement[bool]] = [File.deleted_at.is_(None)]
    if chosen.deleted:
        found = [File.deleted_at.is_not(None), File.purging_at.is_(None)]
    if chosen.ids is not None:
        found.append(one_of(File.id, chosen.ids))
    if chosen.owner_id is not None:
        found.append(File.owner_id == _hidden_from_planner(chosen.owner_id, chosen.deleted))
    if chosen.pod_id is not None:
        found.append(File.pod_id == _hidden_from_planner(chosen.pod_id, chosen.deleted))
    if chosen.status:
        found.append(File.upload_status == chosen.status)
    if chosen.before:
        found.append((File.deleted_at if chosen.deleted else File.created_at) < chosen.before)
    if chosen.part:
        found.append(File.id % chosen.part[1] == chosen.part[0] - 1)
    return [*found, *_with_prefix(chosen.prefix)]


def _hidden_from_planner(number: int, deleted: bool) -> Any:
    """Hide an id from the planner if deleted files are wanted: an owner of half of all files may have deleted none, and
    the planner would scan everybody's deleted files for theirs.
    """
    return select(literal(number, BigInteger)).scalar_subquery() if deleted else number


def _with_prefix(prefix: str) -> list[ColumnElement[bool]]:
    end = successor(prefix)
    return [File.path >= prefix, *([File.path < end] if end else [])] if prefix else []


def successor(prefix: str) -> str:
    """Return the smallest text above all texts with the prefix, by code points, or an empty string if there is none."""
    for last in range(len(prefix) - 1, -1, -1):
        point = ord(prefix[last]) + 1
        if point <= 0x10FFFF:
            # Skips surrogates, which no text contains.
            return prefix[:last] + chr(0xE000 if 0xD800 <= point <= 0xDFFF else point)
    return ""


# Reading


def _listed() -> Select[Any]:
    """Select files with the names of owner and pod, looked up only for the rows of the page."""
    owner = select(User.email).where(User.id == File.owner_id).scalar_subquery().label("owner")
    pod = select(Pod.name).where(Pod.id == File.pod_id).scalar_subquery().label("pod")
    return select(File, owner, pod).execution_options(populate_existing=True)


def page(
    session: Session, chosen: Selection, *, sort: str, descending: bool, after: str | None, limit: int
) -> paging.Page[Row[Any]]:
    """Return a page of files with their owner's e-mail and the name of their pod."""
    keys = SORTS[sort]
    query = paging.keyset(_listed().where(*conditions(chosen)), keys, after, limit, descending=descending)
    return paging.page(session.execute(query).all(), limit, lambda row: [_token(row.File, key) for key in keys])


def _token(file: File, key: Any) -> Any:
    value = getattr(file, key.key)
    return value.isoformat() if isinstance(value, datetime) else value


def find(session: Session, file_id: int) -> Row[Any] | None:
    """Return a file, live or deleted, with its owner's e-mail and the name of its pod, or None."""
    return session.execute(_listed().where(File.id == file_id)).one_or_none()


def at(session: Session, paths: Sequence[str], chosen: Selection) -> Sequence[File]:
    """Return at most two selected files at these paths, those with a content first.

    Of deleted files, it is the last one deleted at each path.
    """
    query = select(File).where(*conditions(chosen), File.path.in_(paths))
    if chosen.deleted:
        query = query.ext(distinct_on(File.path)).order_by(File.path, File.deleted_at.desc(), File.id.desc())
    else:
        query = query.order_by(File.version_id.is_(None), File.id)
    return session.scalars(query.limit(2)).all()


def alike(session: Session, path: str, chosen: Selection) -> str | None:
    """Return a selected path that is equal after Unicode normalization, among the first 100,000."""
    if "\0" in path or (not path.isprintable() and any("\ud800" <= char <= "\udfff" for char in path)):
        return None
    some = select(File.path).where(*conditions(chosen)).limit(SEARCH_LIMIT).subquery()
    same = func.normalize(some.c.path, text("NFKC")) == func.normalize(path, text("NFKC"))
    return session.scalars(select(some.c.path).where(same).limit(1)).one_or_none()


def versions(session: Session, file_id: int) -> Sequence[Version]:
    """Return the versions of a file that still exist, latest first."""
    query = select(Version).where(Version.file_id == file_id).order_by(Version.id.desc())
    return session.scalars(query.execution_options(populate_existing=True)).all()


def total(session: Session, chosen: Selection) -> tuple[int, int]:
    """Return the number of selected files, and their bytes."""
    files, size = session.execute(
        select(func.count(), func.coalesce(func.sum(File.size), 0)).where(*conditions(chosen))
    ).one()
    return files, int(size)


def sample(session: Session, chosen: Selection) -> Sequence[str]:
    """Return the paths of the first few selected files."""
    return session.scalars(select(File.path).where(*conditions(chosen)).order_by(File.id).limit(SAMPLE)).all()


def _contents(version_id: int | None = None) -> Select[Any]:
    at_primary = (Copy.version_id == Version.id) & (Copy.provider == Pod.primary_provider)
    etag = func.coalesce(select(Copy.etag).where(at_primary).scalar_subquery(), Version.etag)
    version = (Version.key, Version.size, Version.sha256, Version.md5, etag, Version.content_type)
    mtime = Version.mtime_ns if version_id else File.mtime_ns
    columns: list[Any] = [File.id, Version.id, File.path, PLACE, *version, mtime, Pod.prefix]
    wanted = version_id or File.version_id
    return (
        select(*columns)
        .join(Version, (Version.file_id == File.id) & (Version.id == wanted))
        .join(Pod, Pod.id == File.pod_id)
    )


def contents(session: Session, ids: Sequence[int], version_id: int | None = None) -> list[Content]:
    """Return the current versions of these files, or this one, except of deleted files and those without a version."""
    query = _contents(version_id).where(one_of(File.id, ids), File.deleted_at.is_(None))
    return [Content(*row) for row in session.execute(query)]


def contents_page(session: Session, chosen: Selection, *, after: str | None, limit: int) -> paging.Page[Content]:
    """Return a page of current versions, sorted by path."""
    query = paging.keyset(_contents().where(*conditions(chosen)), SORTS["path"], after, limit)
    found = [Content(*row) for row in session.execute(query)]
    return paging.page(found, limit, lambda content: [content.path, content.file_id])


# Changing


def lock(session: Session, chosen: Selection, limit: int | None) -> list[int]:
    """Lock up to `limit` selected files until the transaction ends, in the order of their ids; returns the ids."""
    query = select(File.id).where(*conditions(chosen)).order_by(File.id).limit(limit)
    return list(session.scalars(query.with_for_update(key_share=True)))


def of_others(session: Session, ids: Sequence[int], user_id: int) -> list[int]:
    """Return which of these files belong to other users."""
    return list(session.scalars(select(File.id).where(one_of(File.id, ids), File.owner_id != user_id)))


def busy(session: Session, ids: Sequence[int]) -> str | None:
    """Return the path of one of these files that an open lease still counts, or None."""
    query = (
        select(File.path)
        .join(Version, Version.file_id == File.id)
        .join(Lease, Lease.id == Version.lease_id)
        .where(one_of(File.id, ids), Lease.closed_at.is_(None))
    )
    return session.scalars(query.limit(1)).one_or_none()


def taken(session: Session, ids: Sequence[int], owner_id: int | None = None) -> str | None:
    """Return a path at which the owner, by default the present one, would have two live files, or None."""
    there = aliased(File)
    meets = (
        there.pod_id == File.pod_id,
        there.owner_id == (File.owner_id if owner_id is None else owner_id),
        there.path == File.path,
        there.id != File.id,
        there.deleted_at.is_(None) | one_of(there.id, ids),
    )
    query = select(File.path).where(one_of(File.id, ids), exists().where(*meets))
    return session.scalars(query.limit(1)).one_or_none()


def change(session: Session, ids: Sequence[int], **values: Any) -> bool:
    """Set columns of these files; returns false if another live file now has one of the paths."""
    statement = update(File).where(one_of(File.id, ids)).values(**values).execution_options(synchronize_session=False)
    try:
        with session.begin_nested():
            session.execute(statement)
    except IntegrityError:
        return False
    return True


def version(session: Session, file_id: int, version_id: int, *, lock: bool = False) -> Version | None:
    """Return a version of a file, or None; with `lock` it is locked until the transaction ends."""
    query = select(Version).where(Version.file_id == file_id, Version.id == version_id)
    query = query.execution_options(populate_existing=True)
    return session.scalars(query.with_for_update(key_share=True) if lock else query).one_or_none()


def make_current(session: Session, file_id: int, version_id: int) -> None:
    """Point a file to another of its stored versions; the present one is superseded as by an upload.

    `stored_at` becomes the present time, since the time until a purge is counted from it.
    """
    session.execute(
        text(
            """
            WITH before AS (
                UPDATE app.versions AS v SET status = 'superseded' FROM app.files AS f
                WHERE f.id = :file AND v.id = f.version_id
            ), after AS (
                UPDATE app.versions SET status = 'stored', stored_at = now() WHERE id = :version
            )
            UPDATE app.files AS f
            SET version_id = v.id, size = v.size, mtime_ns = v.mtime_ns, sha256 = v.sha256,
                content_type = v.content_type, upload_status = 'uploaded', upload_progress = 100,
                uploaded_at = v.stored_at, verified_at = NULL, error = NULL
            FROM app.versions AS v WHERE v.id = :version AND f.id = :file
            """
        ),
        {"file": file_id, "version": version_id},
    )


# Renaming


@dataclass(frozen=True, slots=True)
class Renaming:
    """New paths of files: all after the first `cut` characters is appended to `start`."""

    ids: Sequence[int]
    cut: int
    start: str

    @property
    def path(self) -> ColumnElement[str]:
        """The new path of a file."""
        return literal(self.start, Text).concat(func.substr(File.path, self.cut + 1))


def unusable_path(session: Session, renaming: Renaming) -> str | None:
    """Return a new path that is too long, empty, or has a part that is empty, `.` or `..`; or None."""
    path = renaming.path
    odd = (func.octet_length(path) > PATH_BYTES) | path.regexp_match(r"(^|/)\.{0,2}(/|$)")
    query = select(path).where(one_of(File.id, renaming.ids), odd).order_by(File.id)
    return session.scalars(query.limit(1)).one_or_none()


def taken_paths(session: Session, renaming: Renaming) -> tuple[int, str | None]:
    """Return how many new paths other live files of the same owner and pod have, and the first of them."""
    there = aliased(File)
    clash = (there.pod_id == File.pod_id) & (there.owner_id == File.owner_id) & (there.path == renaming.path)
    others = there.deleted_at.is_(None) & ~one_of(there.id, renaming.ids)
    query = (
        select(func.count(), func.min(there.path))
        .select_from(File)
        .join(there, clash)
        .where(one_of(File.id, renaming.ids), others)
    )
    number, first = session.execute(query).one()
    return number, first


def rename(session: Session, renaming: Renaming) -> bool:
    """Give files their new paths; returns false if another live file now has one of them.

    A path that one file takes over from another of them becomes free first: unique indexes compare each row at once.
    """
    left = set(renaming.ids)
    while left:
        now = _whose_paths_are_free(session, replace(renaming, ids=sorted(left)))
        if not now or not change(session, now, path=renaming.path):
            return False
        left.difference_update(now)
    return True


def _whose_paths_are_free(session: Session, renaming: Renaming) -> list[int]:
    there = aliased(File)
    clash = (there.pod_id == File.pod_id) & (there.owner_id == File.owner_id) & (there.path == renaming.path)
    taken = exists().where(clash, there.deleted_at.is_(None))
    return list(session.scalars(select(File.id).where(one_of(File.id, renaming.ids), ~taken)))


def not_granted(session: Session, ids: Sequence[int], user_id: int) -> str | None:
    """Return the name of a pod with some of these files that is not granted to the user, or None."""
    granted = exists().where(PodGrant.pod_id == Pod.id, PodGrant.user_id == user_id)
    pods = select(File.pod_id).where(one_of(File.id, ids))
    return session.scalars(select(Pod.name).where(Pod.id.in_(pods), ~granted).limit(1)).one_or_none()


def stored(session: Session, ids: Sequence[int]) -> list[Stored]:
    """Return the bytes that all versions and renditions of these files use, by owner."""
    counted = storage.counted()
    query = (
        select(File.owner_id, func.sum(counted.c.used), func.sum(counted.c.reserved))
        .join(counted, counted.c.file_id == File.id)
        .where(one_of(File.id, ids))
        .group_by(File.owner_id)
    )
    return [Stored(owner_id, int(used), int(reserved)) for owner_id, used, reserved in session.execute(query)]


def move_storage(session: Session, sizes: Sequence[Stored], user_id: int) -> tuple[int, int | None]:
    """Move these bytes from their owners' storage to a user's; returns their use and limit (bytes)."""
    owners = {"owners": [s.owner_id for s in sizes], "used": [s.used for s in sizes]}
    session.execute(
        text("SELECT app.carry_storage(:owners, :used, :reserved, :user)"),
        owners | {"reserved": [s.reserved for s in sizes], "user": user_id},
    )
    used, allowed = session.execute(
        text("SELECT used + reserved, allowed FROM app.quota_usage(:user, 'storage', now())"), {"user": user_id}
    ).one()
    return used, allowed


# Verifying


def stalest(session: Session, chosen: Selection, limit: int) -> list[int]:
    """Return the selected files with a version that were never verified or longest ago."""
    query = select(File.id).where(*conditions(chosen), File.version_id.is_not(None))
    return list(session.scalars(query.order_by(File.verified_at.asc().nulls_first(), File.id).limit(limit)))


def sampled(session: Session, chosen: Selection, number: int) -> list[int]:
    """Return this many of the selected files with a version, at random."""
    query = select(File.id).where(*conditions(chosen), File.version_id.is_not(None))
    return list(session.scalars(query.order_by(func.random()).limit(number)))


def following(session: Session, chosen: Selection, after: int, limit: int) -> list[int]:
    """Return the selected files with a version and an id above `after`, in the order of their ids."""
    query = select(File.id).where(*conditions(chosen), File.version_id.is_not(None), File.id > after)
    return list(session.scalars(query.order_by(File.id).limit(limit)))


def verified_times(session: Session, ids: Sequence[int]) -> dict[int, datetime | None]:
    """Return when each of these files was last verified."""
    rows = session.execute(select(File.id, File.verified_at).where(one_of(File.id, ids)))
    return {row[0]: row[1] for row in rows}


_RECORD_VERIFIED = text("""
    UPDATE app.files SET
        verified_at = CASE WHEN seen.fault IS NULL THEN now() END,
        upload_status = CASE WHEN seen.fault IS NULL THEN 'verified' ELSE 'uploaded' END,
        lost_version_id = CASE WHEN seen.fault IS NOT NULL THEN seen.version END,
        error = left(seen.fault, 2000)
    FROM unnest(CAST(:ids AS bigint[]), CAST(:versions AS bigint[]), CAST(:faults AS text[]))
        AS seen (id, version, fault)
    WHERE files.id = seen.id AND files.version_id = seen.version AND files.deleted_at IS NULL
        AND files.upload_status IN ('uploaded', 'verified')
    RETURNING files.id
""")


_LOCK_SHARED = text("""
    SELECT FROM app.versions WHERE key = ANY (CAST(:keys AS text[])) ORDER BY id FOR NO KEY UPDATE
""")
_LOSE_SHARED = text("""
    UPDATE app.files AS f SET
        verified_at = NULL, lost_version_id = v.id,
        upload_status = CASE WHEN f.upload_status = 'verified' THEN 'uploaded' ELSE f.upload_status END,
        error = CASE WHEN f.upload_status IN ('uploaded', 'verified') THEN left(lost.fault, 2000) ELSE f.error END
    FROM unnest(CAST(:keys AS text[]), CAST(:faults AS text[])) AS lost (key, fault)
    JOIN app.versions AS v ON v.key = lost.key
    WHERE f.id = v.file_id AND f.version_id = v.id AND f.id <> ALL (CAST(:recorded AS bigint[]))
""")


def record_verified(session: Session, faults: Sequence[tuple[Content, str | None]]) -> set[int]:
    """Record verification results, with None for no error; returns the files that still had that version.

    A version with an error is lost, and with it all that share its object: the next upload of their paths replaces
    them.
    """
    columns = {
        "ids": [content.file_id for content, _ in faults],
        "versions": [content.version_id for content, _ in faults],
        "faults": [fault for _, fault in faults],
    }
    lost = {content.key: fault for content, fault in faults if fault is not None}
    if lost:  # so that no upload begins to share these objects meanwhile (app.share_objects)
        session.execute(_LOCK_SHARED, {"keys": list(lost)})
    recorded = set(session.scalars(_RECORD_VERIFIED, columns))
    if lost:
        shared = {"keys": list(lost), "faults": list(lost.values()), "recorded": list(recorded)}
        session.execute(_LOSE_SHARED, shared)
    return recorded

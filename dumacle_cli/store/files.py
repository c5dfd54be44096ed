"""Queries about files and their contents."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ARRAY, BigInteger, ColumnElement, Row, Select, any_, exists, func, literal, select, text, update
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, aliased

from dumacle_cli.errors import ForeignObject
from dumacle_cli.store import paging, storage
from dumacle_cli.store.models import File, Lease, Pod, PodGrant, User, Version
from dumacle_cli.store.places import PLACE, Place, is_own

SORTS: dict[str, list[Any]] = {
    "created": [File.id],
    "path": [File.path, File.id],
    "size": [File.size, File.id],
    "deleted": [File.deleted_at, File.id],
}
SAMPLE = 3
LOOKED_THROUGH = 100_000


@dataclass(frozen=True, slots=True)
class Selection:
    """Which files: live or deleted ones, and all that is said of them; `before` is when they came or went (UTC)."""

    ids: tuple[int, ...] | None = None
    owner_id: int | None = None
    pod_id: int | None = None
    prefix: str = ""
    status: str | None = None
    before: datetime | None = None
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Content:
    """The present content of a file: where its bytes lie, and what they must be; size in bytes."""

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
    pod_prefix: str

    def own_key(self) -> str:
        """Return the key; raises ForeignObject where it is not one that the program makes for the pod."""
        if not is_own(self.pod_prefix, self.key):
            raise ForeignObject(what=f"content {self.version_id}", key=self.key)
        return self.key


@dataclass(frozen=True, slots=True)
class Stored:
    """What files of one owner use of his storage, and what is reserved of it for their renditions (bytes)."""

    owner_id: int
    used: int
    reserved: int


def one_of(column: Any, ids: Sequence[int]) -> ColumnElement[bool]:
    """Say that a column is one of these ids, as one parameter however many they are."""
    return column == any_(literal(list(ids), ARRAY(BigInteger)))  # type: ignore[no-any-return]


def conditions(chosen: Selection) -> list[ColumnElement[bool]]:
    """Turn a selection into conditions on files; a prefix is a range, so that no character of it is a wildcard."""
    found: list[ColumnElement[bool]] = [File.deleted_at.is_(None)]
    if chosen.deleted:
        found = [File.deleted_at.is_not(None), File.purging_at.is_(None)]
    if chosen.ids is not None:
        found.append(one_of(File.id, chosen.ids))
    if chosen.owner_id is not None:
        found.append(File.owner_id == _unseen(chosen.owner_id, chosen.deleted))
    if chosen.pod_id is not None:
        found.append(File.pod_id == _unseen(chosen.pod_id, chosen.deleted))
    if chosen.status:
        found.append(File.upload_status == chosen.status)
    if chosen.before:
        found.append((File.deleted_at if chosen.deleted else File.created_at) < chosen.before)
    return [*found, *_beginning(chosen.prefix)]


def _unseen(number: int, deleted: bool) -> Any:
    """Hide from the planner whose deleted files are wanted: whoever has half of all files may have deleted none, and
    it would look for his half among those of everybody.
    """
    return select(literal(number, BigInteger)).scalar_subquery() if deleted else number


def _beginning(prefix: str) -> list[ColumnElement[bool]]:
    end = successor(prefix)
    return [File.path >= prefix, *([File.path < end] if end else [])] if prefix else []


def successor(prefix: str) -> str:
    """Return the least text above all that begin with the prefix, by code points; empty where there is none."""
    for last in range(len(prefix) - 1, -1, -1):
        point = ord(prefix[last]) + 1
        if point <= 0x10FFFF:
            # No text holds a surrogate.
            return prefix[:last] + chr(0xE000 if 0xD800 <= point <= 0xDFFF else point)
    return ""


# Reading


def _listed() -> Select[Any]:
    """Select files with the names of owner and pod, looked up for the rows of the page only."""
    owner = select(User.email).where(User.id == File.owner_id).scalar_subquery().label("owner")
    pod = select(Pod.name).where(Pod.id == File.pod_id).scalar_subquery().label("pod")
    return select(File, owner, pod).execution_options(populate_existing=True)


def page(
    session: Session, chosen: Selection, *, sort: str, descending: bool, after: str | None, limit: int
) -> paging.Page[Row[Any]]:
    """Return a page of files with the e-mail of the owner and the name of the pod."""
    keys = SORTS[sort]
    query = paging.keyset(_listed().where(*conditions(chosen)), keys, after, limit, descending=descending)
    return paging.page(session.execute(query).all(), limit, lambda row: [_token(row.File, key) for key in keys])


def _token(file: File, key: Any) -> Any:
    value = getattr(file, key.key)
    return value.isoformat() if isinstance(value, datetime) else value


def find(session: Session, file_id: int) -> Row[Any] | None:
    """Return a file, deleted or not, with the e-mail of the owner and the name of the pod, or None."""
    return session.execute(_listed().where(File.id == file_id)).one_or_none()


def at(session: Session, paths: Sequence[str], chosen: Selection) -> Sequence[File]:
    """Return at most two files of the selection at these paths; of deleted ones, at each the one deleted last."""
    query = select(File).where(*conditions(chosen), File.path.in_(paths))
    if chosen.deleted:
        query = query.ext(distinct_on(File.path)).order_by(File.path, File.deleted_at.desc(), File.id.desc())
    return session.scalars(query.limit(2)).all()


def alike(session: Session, path: str, chosen: Selection) -> str | None:
    """Return a path of the selection that is the same text in another form of Unicode, among the first 100,000."""
    if "\0" in path or (not path.isprintable() and any("\ud800" <= char <= "\udfff" for char in path)):
        return None
    some = select(File.path).where(*conditions(chosen)).limit(LOOKED_THROUGH).subquery()
    same = func.normalize(some.c.path, text("NFKC")) == func.normalize(path, text("NFKC"))
    return session.scalars(select(some.c.path).where(same).limit(1)).one_or_none()


def versions(session: Session, file_id: int) -> Sequence[Version]:
    """Return all contents of a file that still exist, the latest first."""
    return session.scalars(select(Version).where(Version.file_id == file_id).order_by(Version.id.desc())).all()


def total(session: Session, chosen: Selection) -> tuple[int, int]:
    """Return how many files are selected, and their bytes."""
    files, size = session.execute(
        select(func.count(), func.coalesce(func.sum(File.size), 0)).where(*conditions(chosen))
    ).one()
    return files, int(size)


def sample(session: Session, chosen: Selection) -> Sequence[str]:
    """Return the paths of the first few selected files."""
    return session.scalars(select(File.path).where(*conditions(chosen)).order_by(File.id).limit(SAMPLE)).all()


def _contents() -> Select[Any]:
    version = (Version.key, Version.size, Version.sha256, Version.md5, Version.etag, Version.content_type)
    columns: list[Any] = [File.id, Version.id, File.path, PLACE, *version, Pod.prefix]
    return (
        select(*columns)
        .join(Version, (Version.file_id == File.id) & (Version.id == File.version_id))
        .join(Pod, Pod.id == File.pod_id)
    )


def contents(session: Session, ids: Sequence[int]) -> list[Content]:
    """Return the present contents of these files, less those that have none or were deleted."""
    query = _contents().where(one_of(File.id, ids), File.deleted_at.is_(None))
    return [Content(*row) for row in session.execute(query)]


def contents_page(session: Session, chosen: Selection, *, after: str | None, limit: int) -> paging.Page[Content]:
    """Return a page of present contents by path."""
    query = paging.keyset(_contents().where(*conditions(chosen)), SORTS["path"], after, limit)
    found = [Content(*row) for row in session.execute(query)]
    return paging.page(found, limit, lambda content: [content.path, content.file_id])


# Changing


def lock(session: Session, chosen: Selection, limit: int | None) -> list[int]:
    """Lock the selected files until the transaction ends, in the order of their ids; returns these, `limit` at most."""
    query = select(File.id).where(*conditions(chosen)).order_by(File.id).limit(limit)
    return list(session.scalars(query.with_for_update(key_share=True)))


def of_others(session: Session, ids: Sequence[int], user_id: int) -> list[int]:
    """Return those of these files that belong to somebody else."""
    return list(session.scalars(select(File.id).where(one_of(File.id, ids), File.owner_id != user_id)))


def busy(session: Session, ids: Sequence[int]) -> str | None:
    """Return the path of one of these files whose bytes a lease still counts, or None."""
    query = (
        select(File.path)
        .join(Version, Version.file_id == File.id)
        .join(Lease, Lease.id == Version.lease_id)
        .where(one_of(File.id, ids), Lease.closed_at.is_(None))
    )
    return session.scalars(query.limit(1)).one_or_none()


def taken(session: Session, ids: Sequence[int], owner_id: int | None = None) -> str | None:
    """Return a path at which one of these files, given to that owner, would meet another live file, or None."""
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
    """Set columns of these files; False where another live file came to be at one of the paths meanwhile."""
    statement = update(File).where(one_of(File.id, ids)).values(**values).execution_options(synchronize_session=False)
    try:
        with session.begin_nested():
            session.execute(statement)
    except IntegrityError:
        return False
    return True


def not_granted(session: Session, ids: Sequence[int], user_id: int) -> str | None:
    """Return the name of a pod of these files that is not granted to the user, or None."""
    granted = exists().where(PodGrant.pod_id == Pod.id, PodGrant.user_id == user_id)
    pods = select(File.pod_id).where(one_of(File.id, ids))
    return session.scalars(select(Pod.name).where(Pod.id.in_(pods), ~granted).limit(1)).one_or_none()


def stored(session: Session, ids: Sequence[int]) -> list[Stored]:
    """Return by owner the bytes that all contents and renditions of these files take."""
    counted = storage.counted()
    query = (
        select(File.owner_id, func.sum(counted.c.used), func.sum(counted.c.reserved))
        .join(counted, counted.c.file_id == File.id)
        .where(one_of(File.id, ids))
        .group_by(File.owner_id)
    )
    return [Stored(owner_id, int(used), int(reserved)) for owner_id, used, reserved in session.execute(query)]


def carry_storage(session: Session, sizes: Sequence[Stored], user_id: int) -> tuple[int, int | None]:
    """Take these bytes from their owners' storage and add them to the user's; returns his use and his limit (bytes)."""
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
    """Return the selected files with a content that were verified longest ago, those never verified first."""
    query = select(File.id).where(*conditions(chosen), File.version_id.is_not(None))
    return list(session.scalars(query.order_by(File.verified_at.asc().nulls_first(), File.id).limit(limit)))


_JUDGE = text("""
    UPDATE app.files SET
        verified_at = CASE WHEN seen.fault IS NULL THEN now() END,
        upload_status = CASE WHEN seen.fault IS NULL THEN 'verified' ELSE 'uploaded' END,
        error = left(seen.fault, 2000)
    FROM unnest(CAST(:ids AS bigint[]), CAST(:versions AS bigint[]), CAST(:faults AS text[]))
        AS seen (id, version, fault)
    WHERE files.id = seen.id AND files.version_id = seen.version AND files.deleted_at IS NULL
        AND files.upload_status IN ('uploaded', 'verified')
    RETURNING files.id
""")


def judge(session: Session, faults: Sequence[tuple[Content, str | None]]) -> set[int]:
    """Record what verifying found, None for no fault; returns the files that still had that content."""
    columns = {
        "ids": [content.file_id for content, _ in faults],
        "versions": [content.version_id for content, _ in faults],
        "faults": [fault for _, fault in faults],
    }
    return set(session.scalars(_JUDGE, columns))

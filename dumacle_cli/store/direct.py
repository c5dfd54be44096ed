"""Queries about direct uploads: versions whose bytes a client sends to the store itself.

They belong to no run, and have a part size from the start.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from dumacle_cli.store.models import File, Lease, Pod, User, Version
from dumacle_cli.store.place_columns import PLACE
from dumacle_cli.store.places import Place
from dumacle_cli.store.uploads import UNFINISHED


@dataclass(frozen=True, slots=True)
class Upload:
    """A direct upload: sizes in bytes, hashes as announced; `status` is that of its version.

    `reserved_until` is None once the reservation was closed. `error` is the last error of its file.
    """

    version_id: int
    file_id: int
    path: str
    owner_id: int
    owner: str
    pod_id: int
    pod: str
    place: Place
    key: str
    size: int
    part_size: int
    content_type: str
    sha256: bytes | None
    md5: bytes | None
    upload_id: str | None
    status: str
    lease_id: int
    reserved_until: datetime | None
    deleted: bool
    error: str | None


@dataclass(frozen=True, slots=True)
class Reservation:
    """A lease for one file, or the limit that refused it with its free bytes."""

    lease_id: int | None
    refused_by: str | None
    free: int


@dataclass(frozen=True, slots=True)
class Busy:
    """An upload to a file that has not ended: by a run, or direct."""

    file_id: int
    run_id: int | None
    until: datetime


def _uploads() -> Any:
    until = select(Lease.until).where(Lease.id == Version.lease_id, Lease.closed_at.is_(None)).scalar_subquery()
    columns: list[Any] = [
        *(Version.id, File.id, File.path, File.owner_id, User.email, File.pod_id, Pod.name, PLACE),
        *(Version.key, Version.size, Version.part_size, Version.content_type, Version.sha256, Version.md5),
        *(Version.upload_id, Version.status, Version.lease_id, until, File.deleted_at.is_not(None), File.error),
    ]
    return (
        select(*columns)
        .join(File, File.id == Version.file_id)
        .join(Pod, Pod.id == File.pod_id)
        .join(User, User.id == File.owner_id)
        .where(Version.run_id.is_(None), Version.part_size.is_not(None), Version.lease_id.is_not(None))
    )


def find(session: Session, version_id: int) -> Upload:
    """Return a direct upload by the id of its version."""
    return Upload(*session.execute(_uploads().where(Version.id == version_id)).one())


def latest(session: Session, file_id: int) -> Upload | None:
    """Return the last direct upload of a file, or None."""
    query = _uploads().where(Version.file_id == file_id).order_by(Version.id.desc()).limit(1)
    row = session.execute(query).one_or_none()
    return Upload(*row) if row else None


def lock(session: Session, upload: Upload) -> Upload:
    """Lock pod, file and version until the transaction ends, and return the upload as it is now."""
    session.execute(select(Pod.id).where(Pod.id == upload.pod_id).with_for_update(key_share=True))
    session.execute(select(File.id).where(File.id == upload.file_id).with_for_update(key_share=True))
    session.execute(select(Version.id).where(Version.id == upload.version_id).with_for_update(key_share=True))
    return find(session, upload.version_id)


def lock_target(session: Session, pod: int, user: int) -> None:
    """Lock the user against deletion and the pod against changes, so that one path is announced once at a time."""
    session.execute(select(User.id).where(User.id == user).with_for_update(read=True, key_share=True))
    session.execute(select(Pod.id).where(Pod.id == pod).with_for_update(key_share=True))


def reserve(session: Session, pod: int, user: int, size: int, seconds: float) -> Reservation:
    """Reserve the bytes of one file in the pod and in the user's quotas for at most a day."""
    query = text("SELECT lease_id, refused_by, free FROM app.reserve_upload(:pod, :user, :size, :seconds)")
    row = session.execute(query, {"pod": pod, "user": user, "size": size, "seconds": seconds}).one()
    return Reservation(row.lease_id, row.refused_by, max(row.free or 0, 0))


def keep(session: Session, lease: int, seconds: float) -> datetime | None:
    """Keep a reservation for at least this long; returns when it ends, or None if it was closed."""
    until: datetime | None = session.scalars(select(func.app.keep_upload(lease, seconds))).one()
    return until


def allowed(session: Session, user: int, metric: str) -> int:
    """Return the limit of a user's quota (bytes)."""
    query = text("SELECT allowed FROM app.quota_usage(:user, :metric, now())")
    return int(session.scalars(query, {"user": user, "metric": metric}).one() or 0)


_AT_PATH = f"""
    SELECT f.id AS file_id, v.id AS version_id, v.upload_id, v.part_size, l.id AS lease_id, l.run_id, l.until
    FROM app.files AS f JOIN app.versions AS v ON v.file_id = f.id JOIN app.leases AS l ON l.id = v.lease_id
    WHERE f.pod_id = :pod AND f.owner_id = :owner AND f.path = :path AND f.deleted_at IS NULL
        AND v.status IN {UNFINISHED} AND l.closed_at IS NULL
"""  # noqa: S608 - a constant


def give_up_unstarted(session: Session, pod: int, owner: int, path: str) -> None:
    """Give up direct uploads to this path for which no link was made yet, because their command was broken off."""
    session.execute(
        text(
            f"""
            WITH unstarted AS ({_AT_PATH} AND v.upload_id IS NULL AND v.part_size IS NOT NULL AND l.run_id IS NULL),
            given_up AS (
                UPDATE app.versions SET status = 'failed' WHERE id IN (SELECT version_id FROM unstarted)
            )
            SELECT app.close_lease(lease_id) FROM unstarted ORDER BY lease_id
            """  # noqa: S608 - a constant
        ),
        {"pod": pod, "owner": owner, "path": path},
    )


def busy(session: Session, pod: int, owner: int, path: str) -> Busy | None:
    """Return an upload to this path that has not ended, or None."""
    query = f"SELECT file_id, run_id, until FROM ({_AT_PATH} AND l.until > now()) AS open LIMIT 1"  # noqa: S608
    row = session.execute(text(query), {"pod": pod, "owner": owner, "path": path}).one_or_none()
    return Busy(*row) if row else None


def intend(session: Session, **values: Any) -> int:
    """Write file and version before any link is made, and return the version's id.

    Takes pod, owner, lease, path, size, part_size, key, content_type, sha256 and md5. Earlier attempts that never ended
    are marked as failed; the next purge removes their objects.
    """
    return int(
        session.scalars(
            text(
                f"""
                WITH file AS (
                    INSERT INTO app.files (pod_id, owner_id, path, size, content_type, upload_status)
                    VALUES (:pod, :owner, :path, :size, :content_type, 'uploading')
                    ON CONFLICT (pod_id, owner_id, path) WHERE deleted_at IS NULL
                    DO UPDATE SET upload_status = 'uploading', upload_progress = 0, run_id = NULL, error = NULL
                    RETURNING id
                ), given_up AS (
                    UPDATE app.versions AS v SET status = 'failed' FROM file
                    WHERE v.file_id = file.id AND v.status IN {UNFINISHED}
                )
                INSERT INTO app.versions
                    (file_id, lease_id, size, part_size, key, content_type, status, sha256, md5)
                SELECT id, :lease, :size, :part_size, :key, :content_type, 'uploading', :sha256, :md5 FROM file
                RETURNING id
                """  # noqa: S608 - a constant
            ),
            values,
        ).one()
    )


def start(session: Session, version: int, upload_id: str) -> bool:
    """Record the multipart upload before a link is made; false if the upload has one already, or ended."""
    query = text(
        "UPDATE app.versions SET upload_id = :upload WHERE id = :version AND upload_id IS NULL "
        "AND status = 'uploading' RETURNING id"
    )
    return bool(session.execute(query, {"version": version, "upload": upload_id}).all())


def complete(session: Session, upload: Upload) -> None:
    """Record that all parts are stored, before the upload is completed."""
    for table, column, row in (("versions", "status", upload.version_id), ("files", "upload_status", upload.file_id)):
        query = f"UPDATE app.{table} SET {column} = 'completing' WHERE id = :id AND {column} = 'uploading'"  # noqa: S608
        session.execute(text(query), {"id": row})


def give_up(session: Session, upload: Upload, status: str, error: str) -> None:
    """Mark an upload as failed: its file keeps an earlier content, or takes the status if it has none."""
    session.execute(text("UPDATE app.versions SET status = 'failed' WHERE id = :id"), {"id": upload.version_id})
    session.execute(
        text(
            """
            UPDATE app.files
            SET upload_status = CASE WHEN version_id IS NULL THEN :status ELSE 'uploaded' END,
                upload_progress = CASE WHEN version_id IS NULL THEN 0 ELSE 100 END, error = left(:error, 2000)
            WHERE id = :id
            """
        ),
        {"id": upload.file_id, "status": status, "error": error},
    )


def close(session: Session, leases: Sequence[int]) -> None:
    """Close reservations: book what they spent and give the rest back."""
    query = text("SELECT app.close_lease(id) FROM unnest(CAST(:leases AS bigint[])) AS l (id) ORDER BY id")
    session.execute(query, {"leases": list(leases)})

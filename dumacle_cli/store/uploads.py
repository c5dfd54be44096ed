"""Queries of the upload engine, each for a whole set of files."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

UNFINISHED = "('planned', 'uploading', 'completing')"


@dataclass(frozen=True, slots=True)
class Known:
    """What the database knows about a path: its current version, and another run that is uploading to it now."""

    file_id: int
    version_id: int | None
    size: int
    mtime_ns: int | None
    sha256: bytes | None
    upload_status: str
    busy_run: int | None


@dataclass(frozen=True, slots=True)
class Lease:
    """The result of requesting capacity: a lease, or the limit that refused it; `granted` and `free` in bytes."""

    id: int | None
    granted: int
    refused_by: str | None
    free: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """A version that is being uploaded to its key."""

    file_id: int
    version_id: int
    key: str


def reap_leases(session: Session) -> None:
    """Close the leases that expired."""
    session.execute(text("SELECT app.reap_leases(now())"))


def open_run(session: Session, **values: Any) -> Any:
    """Open a run, or return the same run if it is open already, with the age of its heartbeat in seconds."""
    return session.execute(
        text(
            "INSERT INTO app.runs (name, pod_id, owner_id, prefix, selection_hash, host, pid) "
            "VALUES (:name, :pod, :owner, :prefix, :selection, :host, :pid) "
            "ON CONFLICT (pod_id, owner_id, prefix, selection_hash) WHERE status = 'running' "
            "DO UPDATE SET name = runs.name "
            "RETURNING id, host, pid, xmax = 0 AS made, extract(epoch FROM now() - heartbeat_at)::float AS silent"
        ),
        values,
    ).one()


def take_over_run(session: Session, run: int, host: str, pid: int) -> None:
    """Take over a run whose process is gone, and close its leases."""
    session.execute(
        text("SELECT app.close_lease(id) FROM app.leases WHERE run_id = :run AND closed_at IS NULL ORDER BY id"),
        {"run": run},
    )
    session.execute(
        text("UPDATE app.runs SET host = :host, pid = :pid, heartbeat_at = now() WHERE id = :run"),
        {"run": run, "host": host, "pid": pid},
    )


def holder(session: Session, run: int) -> Any:
    """Return the host and pid of the process that holds the run."""
    return session.execute(text("SELECT host, pid FROM app.runs WHERE id = :run"), {"run": run}).one()


def heartbeat(session: Session, run: int, host: str, pid: int, seconds: float) -> bool:
    """Extend the run and its leases by `seconds`; returns false if another process holds the run."""
    ours = session.execute(
        text(
            "UPDATE app.runs SET heartbeat_at = now() "
            "WHERE id = :run AND host = :host AND pid = :pid AND status = 'running' RETURNING id"
        ),
        {"run": run, "host": host, "pid": pid},
    ).all()
    if not ours:
        return False
    session.execute(text("SELECT app.keep_leases(:run, :seconds)"), {"run": run, "seconds": seconds})
    return True


def close_run(session: Session, run: int, **values: Any) -> None:
    """Close a run with status, files, size and totals (JSON), if this host and pid still hold it.

    Its leases are closed, and attempts that an earlier holder left open are marked as failed.
    """
    ours = session.execute(
        text(
            "UPDATE app.runs SET status = :status, planned_files = :files, planned_bytes = :size, "
            "totals = CAST(:totals AS jsonb), heartbeat_at = now(), ended_at = now() "
            "WHERE id = :run AND host = :host AND pid = :pid AND status = 'running' RETURNING id"
        ),
        {"run": run, **values},
    ).all()
    if ours:
        session.execute(
            text("SELECT app.close_lease(id) FROM app.leases WHERE run_id = :run AND closed_at IS NULL ORDER BY id"),
            {"run": run},
        )
        _fail_open_attempts(session, run)


def _fail_open_attempts(session: Session, run: int) -> None:
    session.execute(
        text(
            f"""
            WITH left_open AS (
                SELECT id FROM app.files
                WHERE run_id = :run AND upload_status NOT IN ('uploaded', 'verified')
                    AND upload_status IN {UNFINISHED}
            ), given_up AS (
                UPDATE app.versions AS v SET status = 'failed' FROM left_open
                WHERE v.file_id = left_open.id AND v.status IN {UNFINISHED}
            )
            UPDATE app.files AS f
            SET upload_status = CASE WHEN f.version_id IS NULL THEN 'cancelled' ELSE 'uploaded' END,
                upload_progress = CASE WHEN f.version_id IS NULL THEN 0 ELSE 100 END, error = 'the run was broken off'
            FROM left_open WHERE f.id = left_open.id
            """  # noqa: S608 - a constant
        ),
        {"run": run},
    )


def known(session: Session, pod: int, owner: int, run: int, paths: Sequence[str]) -> dict[str, Known]:
    """Return what is known about these paths."""
    rows = session.execute(
        text(
            f"""
            SELECT f.path, f.id, f.version_id, f.size, f.mtime_ns, f.sha256, f.upload_status,
                (SELECT l.run_id FROM app.versions AS v JOIN app.leases AS l ON l.id = v.lease_id
                 WHERE f.upload_status IN {UNFINISHED} AND v.file_id = f.id AND v.status IN {UNFINISHED}
                     AND l.closed_at IS NULL AND l.until > now() AND l.run_id <> :run LIMIT 1)
            FROM app.files AS f
            WHERE f.pod_id = :pod AND f.owner_id = :owner AND f.deleted_at IS NULL
                AND f.path = ANY (CAST(:paths AS text[]))
            """  # noqa: S608 - a constant
        ),
        {"pod": pod, "owner": owner, "run": run, "paths": list(paths)},
    )
    return {row[0]: Known(*row[1:]) for row in rows}


def take_lease(session: Session, pod: int, user: int, run: int, wanted: int, least: int, seconds: float) -> Lease:
    """Lease at least `least` and up to `wanted` bytes for `seconds`."""
    row = session.execute(
        text(
            "SELECT lease_id, granted, refused_by, free "
            "FROM app.take_lease(:pod, :user, :run, :wanted, :least, :seconds, now())"
        ),
        {"pod": pod, "user": user, "run": run, "wanted": wanted, "least": least, "seconds": seconds},
    ).one()
    return Lease(row.lease_id, row.granted or 0, row.refused_by, row.free or 0)


def trim_lease(session: Session, lease: int, size: int) -> None:
    """Shrink a lease to `size` bytes, which its files need."""
    session.execute(text("SELECT app.trim_lease(:lease, :size)"), {"lease": lease, "size": size})


def close_leases(session: Session, leases: Sequence[int]) -> None:
    """Close leases: charge what was used and give the rest back."""
    session.execute(
        text("SELECT app.close_lease(id) FROM unnest(CAST(:leases AS bigint[])) AS l (id) ORDER BY id"),
        {"leases": list(leases)},
    )


def intend(
    session: Session, pod: int, owner: int, run: int, lease: int, columns: dict[str, list[Any]]
) -> list[Attempt]:
    """Write rows and keys before any byte is sent; `columns` are lists of path, size, mtime_ns, key and content_type.

    Attempts are returned in the order of the columns, with the keys that the database made from the proposed ones.
    Earlier attempts that never ended are marked as failed; the next purge removes their objects.
    """
    rows = session.execute(
        text(
            f"""
            WITH wanted AS (
                SELECT * FROM unnest(
                    CAST(:path AS text[]), CAST(:size AS bigint[]), CAST(:mtime_ns AS bigint[]), CAST(:key AS text[]),
                    CAST(:content_type AS text[])
                ) WITH ORDINALITY AS w (path, size, mtime_ns, key, content_type, place)
            ), file AS (
                INSERT INTO app.files (pod_id, owner_id, run_id, path, size, mtime_ns, content_type, upload_status)
                SELECT :pod, :owner, :run, path, size, mtime_ns, content_type, 'uploading' FROM wanted ORDER BY place
                ON CONFLICT (pod_id, owner_id, path) WHERE deleted_at IS NULL
                DO UPDATE SET upload_status = 'uploading', upload_progress = 0, run_id = excluded.run_id, error = NULL
                RETURNING id, path
            ), given_up AS (
                -- OFFSET 0 forces one index lookup per file, even if the planner's statistics are outdated.
                -- Filtering by status inside would scan the index of all unfinished versions for each file.
                UPDATE app.versions SET status = 'failed' WHERE id IN (
                    SELECT earlier.id FROM file CROSS JOIN LATERAL (
                        SELECT v.id, v.status FROM app.versions AS v WHERE v.file_id = file.id OFFSET 0
                    ) AS earlier WHERE earlier.status IN {UNFINISHED}
                )
            ), attempt AS (
                INSERT INTO app.versions (file_id, lease_id, run_id, size, mtime_ns, key, content_type, status)
                SELECT file.id, :lease, :run, size, mtime_ns, key, content_type, 'uploading'
                FROM wanted JOIN file USING (path) ORDER BY place
                RETURNING id, file_id, key
            )
            SELECT attempt.file_id, attempt.id, attempt.key
            FROM attempt JOIN file ON file.id = attempt.file_id JOIN wanted USING (path) ORDER BY place
            """  # noqa: S608 - a constant
        ),
        {"pod": pod, "owner": owner, "run": run, "lease": lease, **columns},
    )
    return [Attempt(*row) for row in rows]


def record_parts(session: Session, version: int, upload_id: str, part_size: int) -> None:
    """Record a multipart upload before its first part is sent."""
    session.execute(
        text("UPDATE app.versions SET upload_id = :upload_id, part_size = :part_size WHERE id = :version"),
        {"version": version, "upload_id": upload_id, "part_size": part_size},
    )


def record_completing(session: Session, file: int, version: int) -> None:
    """Record that all parts are stored, before the upload is completed."""
    session.execute(text("UPDATE app.versions SET status = 'completing' WHERE id = :version"), {"version": version})
    session.execute(text("UPDATE app.files SET upload_status = 'completing' WHERE id = :file"), {"file": file})


def record_stored(session: Session, columns: dict[str, list[Any]]) -> None:
    """Make versions that are proven to be stored the current ones; those before them are superseded."""
    session.execute(
        text(
            """
            WITH done AS (
                SELECT * FROM unnest(
                    CAST(:file_id AS bigint[]), CAST(:version_id AS bigint[]), CAST(:size AS bigint[]),
                    CAST(:mtime_ns AS bigint[]), CAST(:sha256 AS bytea[]), CAST(:md5 AS bytea[]),
                    CAST(:etag AS text[]), CAST(:content_type AS text[])
                ) AS d (file_id, version_id, size, mtime_ns, sha256, md5, etag, content_type)
            ), superseded AS (
                UPDATE app.versions AS v SET status = 'superseded'
                FROM done JOIN app.files AS f ON f.id = done.file_id
                WHERE v.id = f.version_id AND v.id <> done.version_id
            ), stored AS (
                UPDATE app.versions AS v
                SET status = 'stored', stored_at = now(), sha256 = done.sha256, md5 = done.md5, etag = done.etag,
                    content_type = done.content_type
                FROM done WHERE v.id = done.version_id
            )
            UPDATE app.files AS f
            SET version_id = done.version_id, size = done.size, mtime_ns = done.mtime_ns, sha256 = done.sha256,
                content_type = done.content_type, upload_status = 'uploaded', upload_progress = 100,
                uploaded_at = now(), verified_at = NULL, error = NULL
            FROM done WHERE f.id = done.file_id
            """
        ),
        columns,
    )


def record_failed(session: Session, columns: dict[str, list[Any]]) -> None:
    """Mark attempts as failed: a file keeps its earlier version, or takes the status if it has none."""
    session.execute(
        text(
            """
            WITH ended AS (
                SELECT * FROM unnest(
                    CAST(:file_id AS bigint[]), CAST(:version_id AS bigint[]), CAST(:status AS text[]),
                    CAST(:error AS text[])
                ) AS e (file_id, version_id, status, error)
            ), given_up AS (
                UPDATE app.versions AS v SET status = 'failed' FROM ended WHERE v.id = ended.version_id
            )
            UPDATE app.files AS f
            SET upload_status = CASE WHEN f.version_id IS NULL THEN ended.status ELSE 'uploaded' END,
                upload_progress = CASE WHEN f.version_id IS NULL THEN 0 ELSE 100 END, error = left(ended.error, 2000)
            FROM ended WHERE f.id = ended.file_id
            """
        ),
        columns,
    )


def record_unchanged(session: Session, file_ids: Sequence[int], mtimes: Sequence[int]) -> None:
    """Record that files are unchanged: take over their mtimes (ns) and clear the error of an earlier attempt."""
    session.execute(
        text(
            """
            UPDATE app.files AS f
            SET mtime_ns = u.mtime_ns, upload_status = CASE
                    WHEN f.upload_status IN ('uploaded', 'verified') THEN f.upload_status ELSE 'uploaded' END,
                upload_progress = 100, error = NULL
            FROM unnest(CAST(:ids AS bigint[]), CAST(:mtimes AS bigint[])) AS u (id, mtime_ns) WHERE f.id = u.id
            """
        ),
        {"ids": list(file_ids), "mtimes": list(mtimes)},
    )


def record_spent(session: Session, spent: dict[int, int]) -> set[int]:
    """Charge bytes to leases, and return the leases that are still open.

    Nothing is charged to a lease that expired and was closed, because its bytes were given back.
    """
    rows = session.execute(
        text("SELECT app.spend_leases(CAST(:ids AS bigint[]), CAST(:bytes AS bigint[]))"),
        {"ids": list(spent), "bytes": list(spent.values())},
    )
    return set(rows.scalars())


def lock_unfinished(session: Session, versions: Sequence[int]) -> set[int]:
    """Lock those of these attempts that nobody has given up, and return them."""
    rows = session.execute(
        text(
            f"SELECT id FROM app.versions WHERE id = ANY (CAST(:ids AS bigint[])) AND status IN {UNFINISHED} "  # noqa: S608
            "ORDER BY id FOR NO KEY UPDATE"
        ),
        {"ids": list(versions)},
    )
    return set(rows.scalars())


def record_progress(session: Session, percents: dict[int, int]) -> None:
    """Write the progress of uploads (0 to 100) for `files show --watch`."""
    session.execute(
        text(
            "UPDATE app.files AS f SET upload_progress = p.percent "
            "FROM unnest(CAST(:ids AS bigint[]), CAST(:percents AS smallint[])) AS p (id, percent) "
            "WHERE f.id = p.id AND f.upload_progress < p.percent"
        ),
        {"ids": list(percents), "percents": list(percents.values())},
    )


def free_space(session: Session, pod: int, user: int, at: datetime) -> dict[str, int | None]:
    """Return the bytes left in the pod and in the user's storage and upload quotas; None is unlimited."""
    row = session.execute(
        text(
            """
            SELECT (SELECT capacity - used - reserved FROM app.pods WHERE id = :pod) AS pod,
                (SELECT allowed - used - reserved FROM app.quota_usage(:user, 'storage', :at)) AS storage,
                (SELECT allowed - used - reserved FROM app.quota_usage(:user, 'upload', :at)) AS upload
            """
        ),
        {"pod": pod, "user": user, "at": at},
    ).one()
    return {"pod": row.pod, "storage": row.storage, "upload": row.upload}

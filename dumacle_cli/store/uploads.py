"""Queries of the upload engine, each for a whole set of files."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

DIRECT = 0
"""Stands for the run of a file that a client is sending to the store itself."""
UNFINISHED = "('planned', 'uploading', 'completing')"


@dataclass(frozen=True, slots=True)
class Known:
    """What the database knows about a path: its current version, and who else is uploading to it.

    `busy_run` is another run that is uploading to it now, or DIRECT while a client sends it. Another process of the
    same run is uploading to it now (`held`), or has ended with it (`ended`). `lost`: the object of the current version
    was found missing or different.
    """

    file_id: int
    version_id: int | None
    size: int
    mtime_ns: int | None
    sha256: bytes | None
    upload_status: str
    busy_run: int | None
    held: bool
    ended: bool
    lost: bool


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


def known(session: Session, pod: int, owner: int, run: int, first: int, paths: Sequence[str]) -> dict[str, Known]:
    """Return what is known about these paths; `first` is the run that this `run` is part of."""
    rows = session.execute(
        text(
            f"""
            WITH ours AS (SELECT id FROM app.runs WHERE id = :first OR joined_id = :first)
            SELECT f.path, f.id, f.version_id, f.size, f.mtime_ns, f.sha256, f.upload_status,
                CASE WHEN busy.run_id NOT IN (SELECT id FROM ours) THEN busy.run_id END,
                coalesce(busy.run_id IN (SELECT id FROM ours), false),
                f.run_id <> :run AND f.upload_status NOT IN {UNFINISHED} AND f.run_id IN (SELECT id FROM ours),
                f.version_id IS NOT NULL AND f.version_id IS NOT DISTINCT FROM f.lost_version_id
            FROM app.files AS f LEFT JOIN LATERAL (
                SELECT coalesce(l.run_id, {DIRECT}) AS run_id
                FROM app.versions AS v JOIN app.leases AS l ON l.id = v.lease_id
                WHERE f.upload_status IN {UNFINISHED} AND v.file_id = f.id AND v.status IN {UNFINISHED}
                    AND l.closed_at IS NULL AND l.until > now() AND l.run_id IS DISTINCT FROM :run LIMIT 1
            ) AS busy ON true
            WHERE f.pod_id = :pod AND f.owner_id = :owner AND f.deleted_at IS NULL
                AND f.path = ANY (CAST(:paths AS text[]))
            """  # noqa: S608 - a constant
        ),
        {"pod": pod, "owner": owner, "run": run, "first": first, "paths": list(paths)},
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


@dataclass(frozen=True, slots=True)
class Present:
    """A file that is there already, locked, and its unfinished attempt, if there is one; sizes in bytes, mtime in ns.

    `lease_open` says whether the attempt's lease was not closed, `held` whether somebody still uploads under it.
    """

    file_id: int
    current: int | None
    version_id: int | None
    key: str
    upload_id: str | None
    part_size: int | None
    part_etags: str | None
    sha256: bytes | None
    size: int
    mtime_ns: int | None
    lease_id: int | None
    lease_open: bool
    held: bool


def lock_present(
    session: Session, pod: int, owner: int, run: int, leases: Sequence[int], paths: Sequence[str]
) -> dict[str, Present]:
    """Lock the files at these paths, except those that others have locked, and return each with its last attempt.

    `leases` are those that `run` uploads under. It has others only if it did not learn that its COMMIT took effect, so
    what is under those is not held. Whoever calls it holds a lease of the pod that was taken in this transaction, so
    nobody else plans for the pod.
    """
    rows = session.execute(
        text(
            f"""
            SELECT f.path, f.id, f.version_id, v.id, v.key, v.upload_id, v.part_size, v.part_etags, v.sha256, v.size,
                v.mtime_ns, v.lease_id, coalesce(l.closed_at IS NULL AND l.id IS NOT NULL, false),
                coalesce(l.closed_at IS NULL AND l.until > now()
                    AND (l.run_id IS DISTINCT FROM :run OR l.id = ANY (CAST(:leases AS bigint[]))), false)
            FROM app.files AS f LEFT JOIN LATERAL (
                SELECT * FROM (SELECT * FROM app.versions AS v WHERE v.file_id = f.id OFFSET 0) AS each
                WHERE status IN {UNFINISHED} ORDER BY id DESC LIMIT 1
            ) AS v ON true LEFT JOIN app.leases AS l ON l.id = v.lease_id
            WHERE f.pod_id = :pod AND f.owner_id = :owner AND f.deleted_at IS NULL
                AND f.path = ANY (CAST(:paths AS text[]))
            FOR NO KEY UPDATE OF f SKIP LOCKED
            """  # noqa: S608 - a constant
        ),
        {"pod": pod, "owner": owner, "run": run, "leases": list(leases), "paths": list(paths)},
    )
    return {row[0]: Present(*row[1:]) for row in rows}


def intend(
    session: Session, pod: int, owner: int, run: int, lease: int, columns: dict[str, list[Any]]
) -> dict[str, Attempt]:
    """Write rows and keys before any byte is sent, and return the attempts by path, with the keys that were made.

    `columns` are lists of path, size, mtime_ns, key, content_type, sha256 if the content is known, and of file_id and
    continued: the file that is there already and locked, and the attempt that goes on under its own key. All other
    attempts that never ended are marked as failed; the next `files reap` or purge removes their objects. A path that
    was made meanwhile is left out.
    """
    rows = session.execute(
        text(
            f"""
            WITH wanted AS (
                SELECT * FROM unnest(
                    CAST(:path AS text[]), CAST(:size AS bigint[]), CAST(:mtime_ns AS bigint[]), CAST(:key AS text[]),
                    CAST(:content_type AS text[]), CAST(:sha256 AS bytea[]), CAST(:file_id AS bigint[]),
                    CAST(:continued AS bigint[])
                ) WITH ORDINALITY AS w (path, size, mtime_ns, key, content_type, sha256, file_id, continued, place)
            ), made AS (
                INSERT INTO app.files (pod_id, owner_id, run_id, path, size, mtime_ns, content_type, upload_status)
                SELECT :pod, :owner, :run, path, size, mtime_ns, content_type, 'uploading'
                FROM wanted WHERE file_id IS NULL ORDER BY place
                ON CONFLICT (pod_id, owner_id, path) WHERE deleted_at IS NULL DO NOTHING
                RETURNING id, path
            ), taken AS (
                UPDATE app.files AS f
                SET upload_status = 'uploading', upload_progress = 0, run_id = :run, error = NULL
                FROM wanted AS w WHERE f.id = w.file_id
                RETURNING f.id, f.path, w.continued
            ), given_up AS (
                -- OFFSET 0 forces one index lookup per file, even if the planner's statistics are outdated.
                -- Filtering by status inside would scan the index of all unfinished versions for each file.
                UPDATE app.versions SET status = 'failed' WHERE id IN (
                    SELECT earlier.id FROM taken CROSS JOIN LATERAL (
                        SELECT v.id, v.status FROM app.versions AS v WHERE v.file_id = taken.id OFFSET 0
                    ) AS earlier
                    WHERE earlier.status IN {UNFINISHED} AND earlier.id IS DISTINCT FROM taken.continued
                )
            ), attempt AS (
                INSERT INTO app.versions (file_id, lease_id, run_id, size, mtime_ns, key, content_type, sha256, status)
                SELECT file.id, :lease, :run, size, mtime_ns, key, content_type, sha256, 'uploading'
                FROM wanted JOIN (
                    SELECT id, path FROM made UNION ALL SELECT id, path FROM taken
                ) AS file USING (path) WHERE continued IS NULL ORDER BY place
                RETURNING id, file_id, key
            )
            SELECT file.path, attempt.file_id, attempt.id, attempt.key
            FROM attempt JOIN (
                SELECT id, path FROM made UNION ALL SELECT id, path FROM taken
            ) AS file ON file.id = attempt.file_id
            """  # noqa: S608 - a constant
        ),
        {"pod": pod, "owner": owner, "run": run, "lease": lease, **columns},
    )
    return {row[0]: Attempt(*row[1:]) for row in rows}


def continue_attempts(session: Session, run: int, lease: int, versions: Sequence[int]) -> None:
    """Let attempts go on in another run, under another lease."""
    session.execute(
        text("UPDATE app.versions SET run_id = :run, lease_id = :lease WHERE id = ANY (CAST(:versions AS bigint[]))"),
        {"run": run, "lease": lease, "versions": list(versions)},
    )


def record_parts(session: Session, version: int, lease: int, upload_id: str, part_size: int) -> None:
    """Record a multipart upload before its first part is sent, unless another process has continued the attempt."""
    session.execute(
        text(
            f"""
            UPDATE app.versions SET upload_id = :upload_id, part_size = :part_size, part_etags = NULL
            WHERE id = :version AND lease_id = :lease AND status IN {UNFINISHED}
            """  # noqa: S608 - a constant
        ),
        {"version": version, "lease": lease, "upload_id": upload_id, "part_size": part_size},
    )


def record_completing(session: Session, version: int, lease: int, etags: Sequence[str], sha256: bytes) -> None:
    """Record that all parts are stored, with their ETags in order, before the upload is completed.

    It does nothing if another process has continued the attempt.
    """
    session.execute(
        text(
            f"""
            WITH ours AS (
                UPDATE app.versions SET status = 'completing', part_etags = :etags, sha256 = :sha256
                WHERE id = :version AND lease_id = :lease AND status IN {UNFINISHED} RETURNING file_id
            )
            UPDATE app.files AS f SET upload_status = 'completing' FROM ours WHERE f.id = ours.file_id
            """  # noqa: S608 - a constant
        ),
        {"version": version, "lease": lease, "etags": "\n".join(etags), "sha256": sha256},
    )


def record_stored(session: Session, columns: dict[str, list[Any]]) -> None:
    """Make versions that are proven to be stored the current ones; those before them are superseded.

    A version that shares an object has its facts already.
    """
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
                    content_type = done.content_type, part_etags = NULL
                FROM done WHERE v.id = done.version_id AND v.status <> 'stored'
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
    """Mark attempts as failed: a file keeps its earlier version, or takes the status if it has none.

    A cancelled upload in parts can be continued: its version stays as it is. Nothing changes where another process has
    continued the attempt.
    """
    session.execute(
        text(
            """
            WITH given AS (
                SELECT * FROM unnest(
                    CAST(:version_id AS bigint[]), CAST(:lease_id AS bigint[]), CAST(:status AS text[]),
                    CAST(:error AS text[])
                ) AS e (version_id, lease_id, status, error)
            ), ended AS (
                SELECT v.file_id, given.* FROM given
                JOIN app.versions AS v ON v.id = given.version_id AND v.lease_id = given.lease_id
                FOR NO KEY UPDATE OF v
            ), given_up AS (
                UPDATE app.versions AS v SET status = 'failed' FROM ended
                WHERE v.id = ended.version_id AND NOT (ended.status = 'cancelled' AND v.upload_id IS NOT NULL)
            )
            UPDATE app.files AS f
            SET upload_status = CASE WHEN f.version_id IS NULL THEN ended.status ELSE 'uploaded' END,
                upload_progress = CASE WHEN f.version_id IS NULL THEN 0 ELSE 100 END, error = left(ended.error, 2000)
            FROM ended WHERE f.id = ended.file_id
            """
        ),
        columns,
    )


_END = f"""
    , given_up AS (
        UPDATE app.versions AS v SET status = 'failed' FROM dead WHERE v.id = dead.id AND NOT dead.kept RETURNING v.id
    ), ended AS (
        UPDATE app.files AS f
        SET upload_status = CASE WHEN f.version_id IS NULL THEN 'cancelled' ELSE 'uploaded' END,
            upload_progress = CASE WHEN f.version_id IS NULL THEN 0 ELSE 100 END, error = 'the run was broken off'
        FROM dead WHERE f.id = dead.file_id AND f.upload_status IN {UNFINISHED}
    )
    SELECT count(*) FROM given_up
"""  # noqa: S608 - a constant


def end_attempts(session: Session, run: int, *, keep_parts: bool) -> None:
    """End the attempts of a run, and of those that joined it, whose leases are closed.

    With `keep_parts` uploads in parts can be continued: their versions stay as they are.
    """
    session.execute(
        text(
            f"""
            WITH dead AS (
                SELECT v.id, v.file_id, :keep_parts AND v.upload_id IS NOT NULL AS kept
                FROM app.leases AS l JOIN app.versions AS v ON v.lease_id = l.id
                WHERE l.run_id IN (SELECT id FROM app.runs WHERE id = :run OR joined_id = :run)
                    AND l.closed_at IS NOT NULL AND v.status IN {UNFINISHED}
                FOR UPDATE OF v SKIP LOCKED
            ) {_END}
            """  # noqa: S608 - a constant
        ),
        {"run": run, "keep_parts": keep_parts},
    )


def end_dead_attempts(session: Session, keep_seconds: float, limit: int) -> int:
    """End up to `limit` attempts whose leases are closed and return how many were given up.

    Uploads in parts can be continued until their lease was closed `keep_seconds` ago or their run was cancelled. Copies
    of a relocation have no lease, and are ended when they are that old.
    """
    given_up = session.execute(
        text(
            f"""
            WITH dead AS (
                SELECT v.id, v.file_id, false AS kept
                FROM app.versions AS v LEFT JOIN app.leases AS l ON l.id = v.lease_id
                WHERE v.status IN {UNFINISHED} AND CASE WHEN v.lease_id IS NULL
                    THEN v.created_at <= now() - make_interval(secs => :keep_seconds)
                    ELSE l.closed_at IS NOT NULL AND (v.upload_id IS NULL
                        OR l.closed_at <= now() - make_interval(secs => :keep_seconds) OR EXISTS (
                        SELECT FROM app.runs AS r JOIN app.runs AS first ON first.id = coalesce(r.joined_id, r.id)
                        WHERE r.id = l.run_id AND first.cancelled_at IS NOT NULL
                    )) END
                LIMIT :limit FOR UPDATE OF v SKIP LOCKED
            ) {_END}
            """  # noqa: S608 - a constant
        ),
        {"keep_seconds": keep_seconds, "limit": limit},
    )
    return int(given_up.scalar_one())


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


def lock_unfinished(session: Session, attempts: dict[int, int]) -> set[int]:
    """Lock those of these attempts that nobody has given up or continued, and return them; keys are versions, values
    their leases.
    """
    rows = session.execute(
        text(
            f"""
            SELECT v.id FROM app.versions AS v
            JOIN unnest(CAST(:ids AS bigint[]), CAST(:leases AS bigint[])) AS held (id, lease_id)
                ON held.id = v.id AND held.lease_id = v.lease_id
            WHERE v.status IN {UNFINISHED} ORDER BY v.id FOR NO KEY UPDATE OF v
            """  # noqa: S608 - a constant
        ),
        {"ids": list(attempts), "leases": list(attempts.values())},
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


def under_way(session: Session, keys: Sequence[str]) -> set[tuple[str, str]]:
    """Return the key and upload id of those uploads in parts of these keys that are under way or can be continued."""
    rows = session.execute(
        text(
            f"""
            SELECT key, upload_id FROM app.versions
            WHERE key = ANY (CAST(:keys AS text[])) AND upload_id IS NOT NULL AND status IN {UNFINISHED}
            """  # noqa: S608 - a constant
        ),
        {"keys": list(keys)},
    )
    return {(key, upload_id) for key, upload_id in rows}

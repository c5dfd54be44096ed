"""Queries that relocate files: their copies in another pod are planned, and later take the place of the files."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from dumacle_cli.store.models import Pod

UNFINISHED = "('planned', 'uploading', 'completing')"


@dataclass(frozen=True, slots=True)
class Source:
    """A file outside of the target pod; `taken`: its owner has another file at its path there. Size in bytes."""

    file_id: int
    version_id: int
    owner_id: int
    owner: str
    path: str
    size: int
    content_type: str
    granted: bool
    taken: bool
    busy: bool
    renditions: int


@dataclass(frozen=True, slots=True)
class Copy:
    """The version of a new file that is to hold the content of a source."""

    source_id: int
    source_version_id: int
    file_id: int
    version_id: int
    key: str


def sources(session: Session, ids: Sequence[int], pod: int) -> list[Source]:
    """Return which of these files are to be relocated into a pod."""
    rows = session.execute(
        text("""
            SELECT f.id, v.id, f.owner_id, u.email, f.path, v.size, v.content_type,
                EXISTS (SELECT FROM app.pod_grants AS g WHERE g.pod_id = :pod AND g.user_id = f.owner_id),
                EXISTS (SELECT FROM app.files AS t
                    WHERE t.pod_id = :pod AND t.owner_id = f.owner_id AND t.path = f.path AND t.deleted_at IS NULL
                        AND (t.version_id IS NOT NULL OR EXISTS (
                            SELECT FROM app.versions AS a JOIN app.leases AS l ON l.id = a.lease_id
                            WHERE a.file_id = t.id AND l.closed_at IS NULL))),
                EXISTS (SELECT FROM app.versions AS a JOIN app.leases AS l ON l.id = a.lease_id
                    WHERE a.file_id = f.id AND l.closed_at IS NULL),
                (SELECT count(*) FROM app.renditions AS r WHERE r.file_id = f.id)
            FROM app.files AS f
            JOIN app.versions AS v ON v.file_id = f.id AND v.id = f.version_id
            JOIN app.users AS u ON u.id = f.owner_id
            WHERE f.id = ANY (CAST(:ids AS bigint[])) AND f.deleted_at IS NULL AND f.pod_id <> :pod
            ORDER BY f.id
        """),
        {"ids": list(ids), "pod": pod},
    )
    return [Source(*row) for row in rows]


def begin(session: Session, pod: int, ids: Sequence[int], keys: Sequence[str]) -> list[Copy]:
    """Write the rows of copies before any byte is sent; attempts of an earlier relocation are given up.

    The database makes the keys from the proposed ones. Files whose path was taken meanwhile are left out.
    """
    rows = session.execute(
        text(f"""
            WITH wanted AS (
                SELECT f.*, w.key FROM unnest(CAST(:ids AS bigint[]), CAST(:keys AS text[])) AS w (id, key)
                JOIN app.files AS f USING (id) WHERE f.version_id IS NOT NULL AND f.deleted_at IS NULL
            ), file AS (
                INSERT INTO app.files (pod_id, owner_id, path, size, mtime_ns, content_type, upload_status)
                SELECT :pod, owner_id, path, size, mtime_ns, content_type, 'uploading' FROM wanted
                ON CONFLICT (pod_id, owner_id, path) WHERE deleted_at IS NULL
                DO UPDATE SET upload_status = 'uploading', error = NULL WHERE files.version_id IS NULL
                RETURNING id, owner_id, path
            ), given_up AS (
                UPDATE app.versions SET status = 'failed'
                WHERE file_id IN (SELECT id FROM file) AND status IN {UNFINISHED}
            ), copy AS (
                INSERT INTO app.versions (file_id, size, mtime_ns, key, content_type, status)
                SELECT file.id, v.size, wanted.mtime_ns, wanted.key, v.content_type, 'uploading'
                FROM wanted JOIN file USING (owner_id, path) JOIN app.versions AS v ON v.id = wanted.version_id
                RETURNING id, file_id, key
            )
            SELECT wanted.id, wanted.version_id, copy.file_id, copy.id, copy.key
            FROM copy JOIN file ON file.id = copy.file_id JOIN wanted USING (owner_id, path) ORDER BY wanted.id
        """),  # noqa: S608 - a constant
        {"pod": pod, "ids": list(ids), "keys": list(keys)},
    )
    return [Copy(*row) for row in rows]


def record_upload(session: Session, version: int, upload_id: str, part_size: int) -> None:
    """Record a multipart upload before its first part is sent, so that a purge ends it if nobody else does."""
    session.execute(
        text("UPDATE app.versions SET upload_id = :upload, part_size = :size WHERE id = :id"),
        {"id": version, "upload": upload_id, "size": part_size},
    )


def fail(session: Session, copies: Sequence[int], error: str) -> None:
    """Give up copies; the next purge removes their objects."""
    session.execute(
        text(f"""
            WITH given_up AS (
                UPDATE app.versions SET status = 'failed'
                WHERE id = ANY (CAST(:ids AS bigint[])) AND status IN {UNFINISHED} RETURNING file_id
            )
            UPDATE app.files SET upload_status = 'failed', error = left(:error, 2000)
            WHERE id IN (SELECT file_id FROM given_up) AND version_id IS NULL
        """),  # noqa: S608 - a constant
        {"ids": list(copies), "error": error},
    )


def lock(session: Session, pod: int, copies: Sequence[Copy]) -> None:
    """Lock the pods, then the files, as workers, uploads and purges do."""
    ids = [each.source_id for each in copies] + [each.file_id for each in copies]
    pods = text("SELECT DISTINCT pod_id FROM app.files WHERE id = ANY (CAST(:ids AS bigint[])) UNION SELECT :pod")
    found = list(session.scalars(pods, {"ids": ids, "pod": pod}))
    session.execute(select(func.app.lock_pods(found)))
    session.execute(
        text("SELECT FROM app.files WHERE id = ANY (CAST(:ids AS bigint[])) ORDER BY id FOR NO KEY UPDATE"),
        {"ids": ids},
    )


def valid(session: Session, pod: int, copies: Sequence[Copy]) -> set[int]:
    """Return the sources that are still what was copied, and whose owners still have the pod; holds their grants."""
    rows = session.execute(
        text("""
            SELECT f.id FROM unnest(CAST(:sources AS bigint[]), CAST(:contents AS bigint[]), CAST(:copies AS bigint[]))
                AS c (source, content, copy)
            JOIN app.files AS f ON f.id = c.source AND f.version_id = c.content AND f.deleted_at IS NULL
            JOIN app.versions AS v ON v.id = c.copy AND v.status = 'uploading'
            JOIN app.files AS t ON t.id = v.file_id AND t.version_id IS NULL AND t.deleted_at IS NULL
                AND t.owner_id = f.owner_id AND t.path = f.path
            JOIN app.pod_grants AS g ON g.pod_id = :pod AND g.user_id = f.owner_id
            FOR KEY SHARE OF g
        """),
        {
            "pod": pod,
            "sources": [each.source_id for each in copies],
            "contents": [each.source_version_id for each in copies],
            "copies": [each.version_id for each in copies],
        },
    )
    return set(rows.scalars())


def free(session: Session, pod: int) -> int:
    """Return the bytes left in a pod; negative if it was deleted."""
    query = select(Pod.capacity - Pod.used - Pod.reserved).where(Pod.id == pod, Pod.deleted_at.is_(None))
    left = session.scalar(query)
    return -1 if left is None else int(left)


def finish(session: Session, pod: int, copies: Sequence[Copy], etags: Sequence[str]) -> None:
    """Let copies take the place of their sources, which are deleted, and count them in the pod and for their owners."""
    values = {
        "pod": pod,
        "sources": [each.source_id for each in copies],
        "copies": [each.version_id for each in copies],
        "etags": list(etags),
    }
    session.execute(
        text("""
            WITH done AS (
                SELECT c.*, f.owner_id, v.size, v.sha256, v.md5, t.id AS file FROM unnest(
                    CAST(:sources AS bigint[]), CAST(:copies AS bigint[]), CAST(:etags AS text[])
                ) AS c (source, copy, etag)
                JOIN app.files AS f ON f.id = c.source JOIN app.versions AS v ON v.id = f.version_id
                JOIN app.versions AS made ON made.id = c.copy JOIN app.files AS t ON t.id = made.file_id
            ), stored AS (
                UPDATE app.versions AS v SET status = 'stored', stored_at = now(), sha256 = done.sha256,
                    md5 = done.md5, etag = done.etag
                FROM done WHERE v.id = done.copy
            ), present AS (
                UPDATE app.files AS f SET version_id = done.copy, size = done.size, sha256 = done.sha256,
                    upload_status = 'uploaded', upload_progress = 100, uploaded_at = now(), error = NULL
                FROM done WHERE f.id = done.file
            ), gone AS (
                UPDATE app.files SET deleted_at = now() WHERE id IN (SELECT source FROM done)
            ), counted AS (
                UPDATE app.pods SET used = used + (SELECT sum(size) FROM done) WHERE id = :pod
            )
            SELECT owner_id, sum(size)::bigint FROM done GROUP BY owner_id ORDER BY owner_id
        """),
        values,
    )
    _count(session, values)


def _count(session: Session, values: dict[str, object]) -> None:
    owned = """
        SELECT f.owner_id AS id, sum(v.size)::bigint AS size FROM unnest(CAST(:copies AS bigint[])) AS c (id)
        JOIN app.versions AS v USING (id) JOIN app.files AS f ON f.id = v.file_id GROUP BY f.owner_id
    """
    # Nothing is carried: it only opens the counters of the owners, in the order in which they are locked.
    session.execute(
        text(f"SELECT app.carry_storage('{{}}', '{{}}', '{{}}', id) FROM ({owned} ORDER BY 1) AS owned"),  # noqa: S608
        values,
    )
    session.execute(
        text(
            "UPDATE app.quota_counters AS c SET used = c.used + owned.size "  # noqa: S608
            f"FROM ({owned}) AS owned WHERE c.user_id = owned.id AND c.metric = 'storage'"
        ),
        values,
    )

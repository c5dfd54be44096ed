"""Queries of deduplication: contents that an owner has in a pod, and versions that share their objects.

LATERAL with LIMIT forces one index lookup for each size or content; as a semi-join it would read all files of an owner.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

from dumacle_cli.errors import SchemaTooOld
from dumacle_cli.store import functions, revisions
from dumacle_cli.store.uploads import UNFINISHED

Content = tuple[int, bytes | None]
"""The size (bytes) and the SHA-256 of a content, if that is known."""


@dataclass(frozen=True, slots=True)
class Shared:
    """The object that a version shares."""

    key: str
    md5: bytes | None
    etag: str


def require(session: Session) -> None:
    """Require a schema in which versions can share objects; raises SchemaTooOld."""
    if not functions.is_there(session, "app.share_objects(bigint[],bytea[])"):
        found = session.scalar(text(f"SELECT max(version_num) FROM {revisions.TABLE}"))  # noqa: S608 - a constant
        raise SchemaTooOld(found=found, needed=revisions.OWN)


def sizes(session: Session, pod: int, owner: int, wanted: Collection[int]) -> set[int]:
    """Return which of these sizes (bytes) files of this owner in this pod have, also those that are being uploaded."""
    rows = session.scalars(
        text("""
            SELECT wanted.size FROM unnest(CAST(:sizes AS bigint[])) AS wanted (size) CROSS JOIN LATERAL (
                SELECT FROM app.files AS f
                WHERE f.owner_id = :owner AND f.size = wanted.size AND f.pod_id = :pod AND f.deleted_at IS NULL LIMIT 1
            ) AS one
        """),
        {"pod": pod, "owner": owner, "sizes": list(wanted)},
    )
    return set(rows)


def under_way(session: Session, run: int, first: int, leases: Sequence[int], wanted: Collection[int]) -> set[Content]:
    """Return the contents of these sizes (bytes) that the processes of a run are uploading now.

    `first` is the run that this `run` is part of, and `leases` are those that it uploads under.
    """
    rows = session.execute(
        text(
            f"""
            SELECT DISTINCT v.size, v.sha256 FROM app.leases AS l JOIN app.versions AS v ON v.lease_id = l.id
            WHERE l.run_id IN (SELECT id FROM app.runs WHERE id = :first OR joined_id = :first)
                AND l.closed_at IS NULL AND l.until > now()
                AND (l.run_id <> :run OR l.id = ANY (CAST(:leases AS bigint[])))
                AND v.status IN {UNFINISHED} AND v.size = ANY (CAST(:sizes AS bigint[]))
            """  # noqa: S608 - a constant
        ),
        {"run": run, "first": first, "leases": list(leases), "sizes": list(wanted)},
    )
    return {(size, sha256) for size, sha256 in rows}


def known(session: Session, pod: int, owner: int, contents: Collection[Content]) -> set[Content]:
    """Return which of these contents files of this owner in this pod have, except those that were found lost."""
    rows = session.execute(
        text("""
            SELECT wanted.size, wanted.sha256
            FROM unnest(CAST(:sizes AS bigint[]), CAST(:hashes AS bytea[])) AS wanted (size, sha256)
            CROSS JOIN LATERAL (
                SELECT FROM app.files AS f
                WHERE f.owner_id = :owner AND f.sha256 = wanted.sha256 AND f.deleted_at IS NULL AND f.pod_id = :pod
                    AND f.size = wanted.size AND f.version_id IS NOT NULL
                    AND f.lost_version_id IS DISTINCT FROM f.version_id LIMIT 1
            ) AS one
        """),
        {
            "pod": pod,
            "owner": owner,
            "sizes": [size for size, _ in contents],
            "hashes": [sha256 for _, sha256 in contents],
        },
    )
    return {(size, sha256) for size, sha256 in rows}


def share(session: Session, hashes: Mapping[int, bytes]) -> dict[int, Shared]:
    """Let versions share objects that are stored, and return those that do; keys are versions, values their SHA-256.

    They are stored now, but not yet the present ones of their files.
    """
    given = {"ids": list(hashes), "hashes": list(hashes.values())}
    query = "SELECT app.share_objects(CAST(:ids AS bigint[]), CAST(:hashes AS bytea[]))"
    done = list(session.scalars(text(query), given))
    rows = session.execute(text("SELECT id, key, md5, etag FROM app.versions WHERE id = ANY (:ids)"), {"ids": done})
    return {row[0]: Shared(*row[1:]) for row in rows}

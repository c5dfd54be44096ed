"""Queries of the parts of multipart uploads: what the store answered for, until the object is complete."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

from dumacle_cli.store.uploads import UNFINISHED


@dataclass(frozen=True, slots=True)
class SentPart:
    """A part that the store took: its size (bytes), its ETag, and the SHA-256 of what was sent."""

    number: int
    size: int
    etag: str
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Holder:
    """A multipart upload of a version, under the lease of the process that sends its parts."""

    version_id: int
    lease_id: int
    upload_id: str


def record(session: Session, sent: Sequence[tuple[Holder, SentPart]]) -> None:
    """Record parts that the store took, except those of uploads that another process has continued or begun again."""
    session.execute(
        text(
            f"""
            WITH held AS (
                SELECT v.id, sent.number, sent.size, sent.etag, sent.sha256
                FROM unnest(
                    CAST(:versions AS bigint[]), CAST(:leases AS bigint[]), CAST(:uploads AS text[]),
                    CAST(:numbers AS smallint[]), CAST(:sizes AS bigint[]), CAST(:etags AS text[]),
                    CAST(:hashes AS bytea[])
                ) AS sent (version_id, lease_id, upload_id, number, size, etag, sha256)
                JOIN app.versions AS v
                    ON v.id = sent.version_id AND v.lease_id = sent.lease_id AND v.upload_id = sent.upload_id
                WHERE v.status IN {UNFINISHED} FOR SHARE OF v
            )
            INSERT INTO app.parts (version_id, number, size, etag, sha256) SELECT * FROM held
            ON CONFLICT (version_id, number) DO UPDATE
            SET size = excluded.size, etag = excluded.etag, sha256 = excluded.sha256
            """  # noqa: S608 - a constant
        ),
        {
            "versions": [holder.version_id for holder, _ in sent],
            "leases": [holder.lease_id for holder, _ in sent],
            "uploads": [holder.upload_id for holder, _ in sent],
            "numbers": [part.number for _, part in sent],
            "sizes": [part.size for _, part in sent],
            "etags": [part.etag for _, part in sent],
            "hashes": [part.sha256 for _, part in sent],
        },
    )


def sent(session: Session, holder: Holder) -> dict[int, SentPart]:
    """Return the recorded parts of a multipart upload by number; none if another process has begun it again."""
    rows = session.execute(
        text(
            "SELECT p.number, p.size, p.etag, p.sha256 "
            "FROM app.parts AS p JOIN app.versions AS v ON v.id = p.version_id "
            "WHERE v.id = :version AND v.upload_id = :upload"
        ),
        {"version": holder.version_id, "upload": holder.upload_id},
    )
    return {row[0]: SentPart(*row) for row in rows}


def begin(session: Session, holder: Holder) -> None:
    """Forget the parts of the multipart upload that this one, which is recorded, takes the place of."""
    session.execute(
        text(
            "DELETE FROM app.parts AS p USING app.versions AS v "
            "WHERE p.version_id = :version AND v.id = p.version_id AND v.upload_id = :upload"
        ),
        {"version": holder.version_id, "upload": holder.upload_id},
    )


def forget(session: Session, versions: Sequence[int]) -> None:
    """Forget the parts of versions whose objects are complete."""
    session.execute(
        text("DELETE FROM app.parts WHERE version_id = ANY (CAST(:versions AS bigint[]))"), {"versions": list(versions)}
    )

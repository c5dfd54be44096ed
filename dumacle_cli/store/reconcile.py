"""Queries of reconciliation: what must be at a place of a pod, and whose a key is."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

from dumacle_cli.store.copies import Kind
from dumacle_cli.store.models import Pod
from dumacle_cli.store.transcodes import LIVE


@dataclass(frozen=True, slots=True)
class Expected:
    """What must be at a place: an object, or below `key` those of a rendition. Size in bytes."""

    key: str
    kind: Kind
    id: int
    size: int
    etag: str | None
    md5: bytes | None
    path: str


_EXPECTED = text("""
    SELECT v.key, 'version', v.id, v.size, coalesce(c.etag, v.etag), v.md5, f.path
    FROM app.versions AS v JOIN app.files AS f ON f.id = v.file_id
    LEFT JOIN app.copies AS c ON c.version_id = v.id AND c.provider = :provider
    WHERE f.pod_id = :pod AND v.status IN ('stored', 'superseded') AND coalesce(c.status, :otherwise) = 'stored'
        AND (v.key, v.id) > (:after, :after_id)
    UNION ALL
    SELECT r.prefix, 'rendition', r.id, r.size, NULL, NULL, f.path
    FROM app.renditions AS r JOIN app.files AS f ON f.id = r.file_id
    LEFT JOIN app.rendition_copies AS c ON c.rendition_id = r.id AND c.provider = :provider
    WHERE f.pod_id = :pod AND coalesce(c.status, :otherwise) = 'stored' AND (r.prefix, r.id) > (:after, :after_id)
    ORDER BY 1, 3 LIMIT :limit
""")


def expected(session: Session, pod: Pod, provider: str, after: tuple[str, int], limit: int) -> list[Expected]:
    """Return what must be at this provider of a pod after this key and id, by both; versions may share a key."""
    otherwise = "stored" if provider == pod.primary_provider else "pending"
    given = {"pod": pod.id, "provider": provider, "otherwise": otherwise, "limit": limit}
    given |= {"after": after[0], "after_id": after[1]}
    return [Expected(*row) for row in session.execute(_EXPECTED, given)]


def known_keys(session: Session, keys: Sequence[str]) -> set[str]:
    """Return which of these keys belong to a version, whatever its status."""
    query = text("SELECT key FROM app.versions WHERE key = ANY (CAST(:keys AS text[]))")
    return set(session.scalars(query, {"keys": list(keys)}))


def known_transcodes(session: Session, ids: Collection[int]) -> set[int]:
    """Return which of these transcodes may still write renditions."""
    query = text("SELECT id FROM app.transcodes WHERE id = ANY (:ids) AND status = ANY (CAST(:live AS text[]))")
    return set(session.scalars(query, {"ids": list(ids), "live": list(LIVE)}))


def known_prefixes(session: Session, prefixes: Sequence[str]) -> set[str]:
    """Return which of these are the prefixes of renditions."""
    query = text("SELECT prefix FROM app.renditions WHERE prefix = ANY (CAST(:prefixes AS text[]))")
    return set(session.scalars(query, {"prefixes": list(prefixes)}))


def stored_at(session: Session, kind: Kind, ids: Sequence[int], provider: str, *, primary: bool) -> set[int]:
    """Return which of these versions or renditions are stored at a provider, as far as is known."""
    table, column = ("app.copies", "version_id") if kind == "version" else ("app.rendition_copies", "rendition_id")
    query = f"""
        SELECT wanted.id FROM unnest(CAST(:ids AS bigint[])) AS wanted (id)
        LEFT JOIN {table} AS c ON c.{column} = wanted.id AND c.provider = :provider
        WHERE coalesce(c.status, :otherwise) = 'stored'
    """  # noqa: S608 - constants
    given = {"ids": list(ids), "provider": provider, "otherwise": "stored" if primary else "pending"}
    return set(session.scalars(text(query), given))


def mark_missing(session: Session, kind: Kind, ids: Sequence[int], provider: str) -> None:
    """Record that these versions or renditions are missing at a provider, so that they are copied there."""
    statement = """
        INSERT INTO app.copies AS c (version_id, provider, status, checked_at)
        SELECT id, :provider, 'missing', now() FROM app.versions
        WHERE id = ANY (CAST(:ids AS bigint[])) AND status IN ('stored', 'superseded')
        ON CONFLICT (version_id, provider) DO UPDATE SET status = 'missing', checked_at = now(), due_at = now()
    """
    if kind == "rendition":
        statement = """
            INSERT INTO app.rendition_copies AS c (rendition_id, provider, status, checked_at)
            SELECT id, :provider, 'missing', now() FROM app.renditions WHERE id = ANY (CAST(:ids AS bigint[]))
            ON CONFLICT (rendition_id, provider) DO UPDATE SET status = 'missing', checked_at = now(), due_at = now()
        """
    session.execute(text(statement), {"ids": list(ids), "provider": provider})

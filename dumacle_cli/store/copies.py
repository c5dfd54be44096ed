"""Queries about copies: objects of pods with a secondary provider, and which of its two places has them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Row, func, select, text
from sqlalchemy.orm import Session

from dumacle_cli.store import functions, models, places
from dumacle_cli.store.places import Place

Kind = Literal["version", "rendition"]
LOOK_AGAIN_SECONDS = 30
"""How long a provider that did not answer is left alone."""

_TABLES: dict[Kind, dict[str, str]] = {
    "version": {
        "copies": "app.copies",
        "id": "version_id",
        "objects": "app.versions",
        "stored": "o.status IN ('stored', 'superseded')",
        "facts": "o.key, o.size, o.sha256, o.content_type",
        # Versions that share an object: only the first is copied, which then counts for all of them.
        "alone": """NOT EXISTS (
                SELECT FROM app.versions AS first JOIN app.copies AS same
                    ON same.version_id = first.id AND same.provider = c.provider AND same.status <> 'stored'
                WHERE first.key = o.key AND first.id < o.id AND first.status IN ('stored', 'superseded'))""",
    },
    "rendition": {
        "copies": "app.rendition_copies",
        "id": "rendition_id",
        "objects": "app.renditions",
        "stored": "true",
        "facts": "o.prefix, o.size, o.inventory, ''",
        "alone": "true",
    },
}


@dataclass(frozen=True, slots=True)
class Claimed:
    """A copy that this process makes; `key` is that of a version, or the prefix of a rendition. Size in bytes.

    `sha256` is the hash of a version's object, or of the inventory of a rendition, which older ones lack.
    """

    kind: Kind
    id: int
    provider: str
    key: str
    size: int
    sha256: bytes | None
    content_type: str


@dataclass(frozen=True, slots=True)
class Ended:
    """How an attempt ended: the ETag of the copy (empty for a rendition), or the error."""

    copy: Claimed
    etag: str = ""
    error: str | None = None


@dataclass(frozen=True, slots=True)
class State:
    """The copies of a pod that are not made yet, those of them that failed, and since when the oldest waits."""

    waiting: int
    failed: int
    bytes: int
    since: datetime | None
    error: str | None


def are_known(session: Session) -> bool:
    """Return whether the schema has secondary places, which that of the previous release lacks."""
    return functions.is_there(session, "app.promote_pod(bigint)")


# Places


def set_secondary(session: Session, pod: "models.Pod", provider: str | None, bucket: str | None) -> None:
    """Give a pod a secondary place, or take it away and forget the state of its copies."""
    session.execute(select(func.app.set_secondary(pod.id, provider, bucket)))
    session.refresh(pod)


def promote(session: Session, pod: "models.Pod") -> tuple[int, bool]:
    """Swap the places of a pod, unless copies are missing or work is in progress; returns their number, and whether."""
    missing, busy = session.execute(text("SELECT * FROM app.promote_pod(:pod)"), {"pod": pod.id}).one()
    session.refresh(pod)
    return missing, busy


def missing_at_primary(session: Session, pod: "models.Pod") -> int:
    """Return how many versions and renditions of a pod are stored at its secondary provider only."""
    parts = " UNION ALL ".join(
        """
        SELECT FROM {copies} AS c JOIN {objects} AS o ON o.id = c.{id} JOIN app.files AS f ON f.id = o.file_id
        WHERE f.pod_id = :pod AND c.provider = :provider AND c.status <> 'stored' AND {stored}
        """.format(**table)
        for table in _TABLES.values()
    )
    query = text(f"SELECT count(*) FROM ({parts}) AS absent")  # noqa: S608 - constants
    return int(session.scalars(query, {"pod": pod.id, "provider": pod.primary_provider}).one())


_ELSEWHERE = text("""
    SELECT p.id FROM app.versions AS v JOIN app.files AS f ON f.id = v.file_id JOIN app.pods AS p ON p.id = f.pod_id
    JOIN app.copies AS c ON c.version_id = v.id AND c.provider = p.secondary_provider AND c.status = 'stored'
    WHERE v.key = :key
    UNION ALL
    SELECT p.id FROM app.renditions AS r JOIN app.files AS f ON f.id = r.file_id JOIN app.pods AS p ON p.id = f.pod_id
    JOIN app.rendition_copies AS c
        ON c.rendition_id = r.id AND c.provider = p.secondary_provider AND c.status = 'stored'
    WHERE r.file_id = CAST(substring(:key FROM '(?:^|/)renditions/([0-9]{1,18})/') AS bigint)
        AND starts_with(:key, r.prefix)
    LIMIT 1
""")


def elsewhere(session: Session, key: str) -> Place | None:
    """Return the secondary place of the object with this key if it is stored there, or None."""
    if not are_known(session):
        return None
    pod_id = session.scalars(_ELSEWHERE, {"key": key}).one_or_none()
    return None if pod_id is None else places.second(session.get_one(models.Pod, pod_id))


def etags(session: Session, version_ids: Sequence[int]) -> dict[int, set[str]]:
    """Return the ETags of the copies of these versions."""
    found: dict[int, set[str]] = {}
    if are_known(session):
        query = text("SELECT version_id, etag FROM app.copies WHERE version_id = ANY (:ids) AND etag IS NOT NULL")
        for version_id, etag in session.execute(query, {"ids": list(version_ids)}):
            found.setdefault(version_id, set()).add(etag)
    return found


@dataclass(frozen=True, slots=True)
class Standby:
    """The copy of a version at the secondary place of its pod; `awaited`: it is not at the primary one yet."""

    place: Place
    pod: str
    awaited: bool


def standbys(session: Session, version_ids: Sequence[int]) -> dict[int, Standby]:
    """Return the copies of these versions that are stored at their secondary places."""
    if not are_known(session):
        return {}
    rows = session.execute(
        text("""
            SELECT c.version_id, p.id, EXISTS (
                SELECT FROM app.copies AS first
                WHERE first.version_id = v.id AND first.provider = p.primary_provider AND first.status <> 'stored')
            FROM app.copies AS c JOIN app.versions AS v ON v.id = c.version_id JOIN app.files AS f ON f.id = v.file_id
            JOIN app.pods AS p ON p.id = f.pod_id AND p.secondary_provider = c.provider
            WHERE c.version_id = ANY (CAST(:ids AS bigint[])) AND c.status = 'stored'
        """),
        {"ids": list(version_ids)},
    ).all()
    pods = {pod_id: session.get_one(models.Pod, pod_id) for pod_id in {row[1] for row in rows}}
    seconds = {pod_id: places.second(pod) for pod_id, pod in pods.items()}
    return {
        version_id: Standby(place, pods[pod_id].name, awaited)
        for version_id, pod_id, awaited in rows
        if (place := seconds[pod_id])
    }


def second_places(session: Session, version_ids: Sequence[int]) -> dict[int, Place]:
    """Return the secondary places of these versions, of those whose pod has one."""
    if not are_known(session):
        return {}
    rows = session.execute(
        text("""
            SELECT v.id, p.id FROM app.versions AS v JOIN app.files AS f ON f.id = v.file_id
            JOIN app.pods AS p ON p.id = f.pod_id
            WHERE v.id = ANY (CAST(:ids AS bigint[])) AND p.secondary_provider IS NOT NULL
        """),
        {"ids": list(version_ids)},
    ).all()
    found = {pod_id: places.second(session.get_one(models.Pod, pod_id)) for pod_id in {pod_id for _, pod_id in rows}}
    return {version_id: place for version_id, pod_id in rows if (place := found[pod_id])}


# Copying


_ENQUEUE = """
    INSERT INTO {copies} ({id}, provider)
    SELECT o.id, :provider FROM {objects} AS o JOIN app.files AS f ON f.id = o.file_id
    WHERE f.pod_id = :pod AND {stored}
        AND NOT EXISTS (SELECT FROM {copies} AS c WHERE c.{id} = o.id AND c.provider = :provider)
    ORDER BY o.id LIMIT :limit
    ON CONFLICT DO NOTHING RETURNING 1
"""


def enqueue(session: Session, pod: "models.Pod", limit: int) -> int:
    """Add rows for at most `limit` versions and as many renditions of a pod that have none at its secondary provider.

    Returns how many were added.
    """
    given = {"pod": pod.id, "provider": pod.secondary_provider, "limit": limit}
    return sum(len(session.execute(text(_ENQUEUE.format(**table)), given).all()) for table in _TABLES.values())


_CLAIM = """
    WITH next AS (
        SELECT c.{id} AS id, c.provider
        FROM {copies} AS c JOIN {objects} AS o ON o.id = c.{id} JOIN app.files AS f ON f.id = o.file_id
        JOIN app.pods AS p ON p.id = f.pod_id AND c.provider IN (p.primary_provider, p.secondary_provider)
        WHERE f.pod_id = :pod AND c.status <> 'stored' AND {stored}
            AND (c.due_at <= now() OR (c.status = 'failed' AND c.checked_at < CAST(:since AS timestamptz)))
            AND NOT EXISTS (
                SELECT FROM {copies} AS other
                WHERE other.{id} = c.{id} AND other.provider <> c.provider AND other.status <> 'stored')
            AND {alone}
        ORDER BY c.due_at, c.{id} LIMIT :limit FOR UPDATE OF c SKIP LOCKED
    ), taken AS (
        UPDATE {copies} AS c
        SET status = 'pending', attempts = least(c.attempts + 1, 1000), due_at = now() + make_interval(secs => :seconds)
        FROM next WHERE c.{id} = next.id AND c.provider = next.provider RETURNING c.{id} AS id, c.provider
    )
    SELECT '{kind}', taken.id, taken.provider, {facts} FROM taken JOIN {objects} AS o ON o.id = taken.id
"""


def claim(session: Session, pod_id: int, limit: int, seconds: float, since: datetime | None = None) -> list[Claimed]:
    """Claim at most `limit` copies of a pod that are due, for so many seconds.

    With `since`, also those whose last failed attempt was before it, even if they are not due yet.
    """
    found: list[Claimed] = []
    for kind, table in _TABLES.items():
        given = {"pod": pod_id, "limit": limit - len(found), "seconds": seconds, "since": since}
        found += [Claimed(*row) for row in session.execute(text(_CLAIM.format(kind=kind, **table)), given)]
    return found


def renew(session: Session, claimed: Sequence[Claimed], seconds: float) -> None:
    """Hold these claims for so many seconds from now."""
    _each(
        session,
        [Ended(copy) for copy in claimed],
        "due_at = now() + make_interval(secs => :seconds)",
        seconds=seconds,
    )


def give_back(session: Session, claimed: Sequence[Claimed]) -> None:
    """Give these claims back, as if they had not been tried."""
    _each(session, [Ended(copy) for copy in claimed], "due_at = now(), attempts = greatest(c.attempts - 1, 0)")


def record(session: Session, ended: Sequence[Ended], longest: float) -> None:
    """Record how attempts ended; the next one after a failure is later each time, at most `longest` seconds."""
    _each(
        session,
        ended,
        """
        status = CASE WHEN e.error IS NULL THEN 'stored' ELSE 'failed' END, checked_at = now(),
        etag = coalesce(nullif(e.etag, ''), c.etag), error = left(e.error, 2000),
        due_at = now() + make_interval(secs => least(:longest, 5 * 2 ^ least(c.attempts, 20)))
        """,
        longest=longest,
    )
    if made := [each for each in ended if each.error is None and each.copy.kind == "version"]:
        _record_shared(session, made)


def _record_shared(session: Session, made: Sequence[Ended]) -> None:
    """Record that the other versions that share these objects are stored there as well."""
    session.execute(
        text("""
            UPDATE app.copies AS c
            SET status = 'stored', checked_at = now(), etag = coalesce(nullif(e.etag, ''), c.etag), error = NULL
            FROM unnest(CAST(:ids AS bigint[]), CAST(:providers AS text[]), CAST(:etags AS text[]))
                AS e (id, provider, etag)
            JOIN app.versions AS v ON v.id = e.id
            JOIN app.versions AS other ON other.key = v.key AND other.id <> v.id
            WHERE c.version_id = other.id AND c.provider = e.provider AND c.status <> 'stored'
        """),
        {
            "ids": [each.copy.id for each in made],
            "providers": [each.copy.provider for each in made],
            "etags": [each.etag for each in made],
        },
    )


_CHANGE = """
    UPDATE {copies} AS c SET {changes} FROM unnest(
        CAST(:ids AS bigint[]), CAST(:providers AS text[]), CAST(:etags AS text[]), CAST(:errors AS text[])
    ) AS e (id, provider, etag, error)
    WHERE c.{id} = e.id AND c.provider = e.provider AND c.status <> 'stored'
"""


def _each(session: Session, ended: Sequence[Ended], changes: str, **given: float) -> None:
    for kind, table in _TABLES.items():
        of_kind = [each for each in ended if each.copy.kind == kind]
        if of_kind:
            statement = _CHANGE.format(changes=changes, **table)
            columns: dict[str, Any] = {
                "ids": [each.copy.id for each in of_kind],
                "providers": [each.copy.provider for each in of_kind],
                "etags": [each.etag for each in of_kind],
                "errors": [each.error for each in of_kind],
            }
            session.execute(text(statement), {**columns, **given})


def record_there(session: Session, provider: str, etags: Mapping[int, str]) -> None:
    """Record that versions are stored at a provider; keys are versions, values their ETags there."""
    session.execute(
        text("""
            INSERT INTO app.copies (version_id, provider, status, etag, checked_at)
            SELECT id, :provider, 'stored', etag, now()
            FROM unnest(CAST(:ids AS bigint[]), CAST(:etags AS text[])) AS stored (id, etag) ORDER BY id
        """),
        {"provider": provider, "ids": list(etags), "etags": list(etags.values())},
    )


def await_primary(session: Session, provider: str, version_ids: Sequence[int]) -> None:
    """Record that these versions are not stored at the primary provider, so that workers copy them there."""
    session.execute(
        text("""
            INSERT INTO app.copies (version_id, provider)
            SELECT id, :provider FROM unnest(CAST(:ids AS bigint[])) AS missing (id) ORDER BY id
        """),
        {"provider": provider, "ids": list(version_ids)},
    )


def held(session: Session, pod_id: int) -> bool:
    """Return whether some copy of a pod is claimed at present."""
    parts = " UNION ALL ".join(
        """
        SELECT FROM {copies} AS c JOIN {objects} AS o ON o.id = c.{id} JOIN app.files AS f ON f.id = o.file_id
        JOIN app.pods AS p ON p.id = f.pod_id AND c.provider IN (p.primary_provider, p.secondary_provider)
        WHERE f.pod_id = :pod AND c.status = 'pending' AND c.due_at > now() AND {stored}
        """.format(**table)
        for table in _TABLES.values()
    )
    return bool(session.scalar(text(f"SELECT EXISTS ({parts})"), {"pod": pod_id}))


_DUE = text("""
    SELECT p.id FROM app.pods AS p
    WHERE p.secondary_provider IS NOT NULL AND NOT EXISTS (
        SELECT FROM app.outages AS o WHERE o.pod_id = p.id AND o.seen_at > now() - make_interval(secs => :seconds)
    ) AND (EXISTS (
        SELECT FROM app.copies AS c JOIN app.versions AS v ON v.id = c.version_id
        JOIN app.files AS f ON f.id = v.file_id
        WHERE f.pod_id = p.id AND c.status <> 'stored' AND c.due_at <= now() AND v.status IN ('stored', 'superseded')
            AND c.provider IN (p.primary_provider, p.secondary_provider)
    ) OR EXISTS (
        SELECT FROM app.rendition_copies AS c JOIN app.renditions AS r ON r.id = c.rendition_id
        JOIN app.files AS f ON f.id = r.file_id
        WHERE f.pod_id = p.id AND c.status <> 'stored' AND c.due_at <= now()
            AND c.provider IN (p.primary_provider, p.secondary_provider)
    ) OR EXISTS (SELECT FROM app.outages AS o WHERE o.pod_id = p.id))
""")


def due_pods(session: Session) -> list[int]:
    """Return the pods with copies to be made now or a provider to ask again, except where one just did not answer."""
    return list(session.scalars(_DUE, {"seconds": LOOK_AGAIN_SECONDS})) if are_known(session) else []


_STATE = """
    SELECT o.size, coalesce(c.status, 'pending') AS status, coalesce(c.created_at, {since}) AS since, c.error
    FROM {objects} AS o JOIN app.files AS f ON f.id = o.file_id
    LEFT JOIN {copies} AS c ON c.{id} = o.id AND c.provider = :provider
    WHERE f.pod_id = :pod AND {stored} AND c.status IS DISTINCT FROM 'stored'
"""


_STATE_OF_PRIMARY = """
    UNION ALL
    SELECT o.size, c.status, c.created_at, c.error
    FROM {objects} AS o JOIN app.files AS f ON f.id = o.file_id
    JOIN {copies} AS c ON c.{id} = o.id AND c.provider = :primary AND c.status <> 'stored'
    WHERE f.pod_id = :pod AND {stored}
"""


def state(session: Session, pod: "models.Pod") -> State:
    """Return what of a pod is not stored at both of its providers, whether it was queued or not."""
    since: dict[Kind, str] = {"version": "o.stored_at", "rendition": "o.created_at"}
    parts = " UNION ALL ".join(
        (_STATE + _STATE_OF_PRIMARY).format(since=since[kind], **table) for kind, table in _TABLES.items()
    )
    row = session.execute(
        text(f"""
            SELECT count(*), count(*) FILTER (WHERE status = 'failed'), coalesce(sum(size), 0)::bigint, min(since),
                min(error) FILTER (WHERE status = 'failed')
            FROM ({parts}) AS unstored
        """),  # noqa: S608 - constants
        {"pod": pod.id, "provider": pod.secondary_provider, "primary": pod.primary_provider},
    ).one()
    return State(*row)


def with_secondary(session: Session) -> "Sequence[models.Pod]":
    """Return the live pods that have a secondary provider."""
    pod = models.Pod
    query = select(pod).where(pod.secondary_provider.is_not(None), pod.deleted_at.is_(None)).order_by(pod.id)
    return session.scalars(query).all()


# Outages


def note_outage(session: Session, pod_id: int, provider: str, error: str) -> None:
    """Record that a provider of a pod did not answer just now."""
    session.execute(
        text("""
            INSERT INTO app.outages (pod_id, provider, error) VALUES (:pod, :provider, left(:error, 2000))
            ON CONFLICT (pod_id, provider) DO UPDATE SET seen_at = now(), error = excluded.error
        """),
        {"pod": pod_id, "provider": provider, "error": error},
    )


def note_outage_of(session: Session, key: str, error: str) -> None:
    """Record that the primary provider of the object with this key did not answer just now."""
    if pod_id := session.scalars(_ELSEWHERE, {"key": key}).one_or_none():
        pod = session.get_one(models.Pod, pod_id)
        note_outage(session, pod.id, pod.primary_provider, error)


def is_away(session: Session, place: Place) -> bool:
    """Return whether a primary place did not answer just now, to some process."""
    if not are_known(session):
        return False
    query = text("""
        SELECT EXISTS (
            SELECT FROM app.outages AS o JOIN app.pods AS p ON p.id = o.pod_id AND p.primary_provider = o.provider
            WHERE o.provider = :provider AND p.bucket = :bucket AND o.seen_at > now() - make_interval(secs => :seconds))
    """)
    given = {"provider": place.provider, "bucket": place.bucket, "seconds": LOOK_AGAIN_SECONDS}
    return bool(session.scalar(query, given))


def end_outages(session: Session, pod_id: int, providers: Sequence[str]) -> None:
    """Record that these providers of a pod answer."""
    session.execute(
        text("DELETE FROM app.outages WHERE pod_id = :pod AND provider = ANY (CAST(:providers AS text[]))"),
        {"pod": pod_id, "providers": list(providers)},
    )


def outages(session: Session, pod_id: int) -> Sequence[Row[Any]]:
    """Return the providers of a pod that do not answer: provider, since, error."""
    if not are_known(session):
        return []
    query = "SELECT provider, since, error FROM app.outages WHERE pod_id = :pod ORDER BY provider"
    return session.execute(text(query), {"pod": pod_id}).all()

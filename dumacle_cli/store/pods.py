"""Queries about pods, their grants, and their contents."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy
from sqlalchemy import BigInteger, Row, Select, cast, exists, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from dumacle_cli.ids import parse_id
from dumacle_cli.store import copies, functions, models, paging, storage
from dumacle_cli.store.models import Pod, PodGrant, User
from dumacle_cli.store.place_columns import PLACE
from dumacle_cli.store.places import Place, second


def find(session: Session, reference: str, *, lock: bool = False, deleting: bool = False) -> Pod | None:
    """Return the pod with this id or name that is not deleted, or None.

    `lock` prevents changes until the transaction ends; `deleting` also prevents new references to the pod.
    """
    query = _named(reference).where(Pod.deleted_at.is_(None))
    return session.scalars(query.with_for_update(key_share=not deleting) if lock or deleting else query).one_or_none()


def find_deleted(session: Session, reference: str) -> Pod | None:
    """Return the pod with this id or name that was deleted last, or None."""
    query = _named(reference).where(Pod.deleted_at.is_not(None)).order_by(Pod.deleted_at.desc(), Pod.id.desc())
    return session.scalars(query.limit(1)).one_or_none()


def _named(reference: str) -> Select[Pod]:
    if (pod_id := parse_id(reference)) is not None:
        return select(Pod).where(Pod.id == pod_id)
    return select(Pod).where(Pod.name == reference)


def create(session: Session, **values: Any) -> Pod | None:
    """Insert a pod and return it, or None if the name is taken."""
    return session.scalars(insert(Pod).values(**values).on_conflict_do_nothing().returning(Pod)).one_or_none()


def change(session: Session, pod: Pod, **values: Any) -> bool:
    """Set columns of a pod; False if another has the name."""
    try:
        with session.begin_nested():
            session.execute(update(Pod).where(Pod.id == pod.id).values(**values))
    except IntegrityError:
        return False
    session.refresh(pod)
    return True


def delete(session: Session, pod: Pod) -> None:
    """Mark a pod as deleted now."""
    session.execute(update(Pod).where(Pod.id == pod.id).values(deleted_at=func.now()))
    session.refresh(pod)


def prefixes(session: Session, provider: str, bucket: str, *, but: int | None = None) -> set[str]:
    """Return the prefixes of all pods in a bucket but one, including deleted pods, whose bytes are still there.

    No other transaction chooses one until this one ends.
    """
    lock_installation(session)
    there = (Pod.primary_provider == provider) & (Pod.bucket == bucket)
    if copies.are_known(session):
        there |= (Pod.secondary_provider == provider) & (Pod.secondary_bucket == bucket)
    return set(session.scalars(select(Pod.prefix).where(there, Pod.id.is_distinct_from(but))))


def folders(session: Session) -> list[tuple[Place, str]]:
    """Return the buckets and the prefix of every pod that is not deleted."""
    found = [(row[0], row[1]) for row in session.execute(select(PLACE, Pod.prefix).where(Pod.deleted_at.is_(None)))]
    seconds = [(second(pod), pod.prefix) for pod in copies.with_secondary(session)] if copies.are_known(session) else []
    return found + [(place, prefix) for place, prefix in seconds if place]


def page(
    session: Session, *, provider: str | None, deleted: bool, sort: str, after: str | None, limit: int
) -> paging.Page[Pod]:
    """Return a page of live or deleted pods, by id or by name."""
    query = select(Pod).where(Pod.deleted_at.is_not(None) if deleted else Pod.deleted_at.is_(None))
    if provider:
        query = query.where(Pod.primary_provider == provider)
    keys = [Pod.name, Pod.id] if sort == "name" else [Pod.id]
    found = session.scalars(paging.keyset(query, keys, after, limit)).all()
    return paging.page(found, limit, lambda pod: [pod.name, pod.id] if sort == "name" else [pod.id])


# Grants


def grant(session: Session, pod_id: int, user_id: int, *, default: bool) -> bool:
    """Grant a pod to a user, as their default if asked or if they have none; returns whether anything changed."""
    session.execute(select(User.id).where(User.id == user_id).with_for_update(key_share=True))
    others = (PodGrant.user_id == user_id, PodGrant.pod_id != pod_id, PodGrant.is_default)
    if default:
        session.execute(update(PodGrant).where(*others).values(is_default=False))
    wanted = insert(PodGrant).values(pod_id=pod_id, user_id=user_id, is_default=~exists().where(*others))
    raised = wanted.on_conflict_do_update(
        index_elements=[PodGrant.pod_id, PodGrant.user_id],
        set_={"is_default": True},
        where=wanted.excluded.is_default & ~PodGrant.is_default,
    )
    return session.execute(raised.returning(PodGrant.pod_id)).first() is not None


def revoke(session: Session, pod_id: int, user_id: int) -> bool:
    """Revoke a grant; returns whether there was one."""
    gone = (
        sqlalchemy.delete(PodGrant)
        .where(PodGrant.pod_id == pod_id, PodGrant.user_id == user_id)
        .returning(PodGrant.pod_id)
    )
    return session.execute(gone).first() is not None


def find_grant(session: Session, pod_id: int, user_id: int) -> PodGrant | None:
    """Return a user's grant on a pod, or None."""
    return session.get(PodGrant, (pod_id, user_id), populate_existing=True)


def granted(session: Session, user_id: int) -> list[tuple[Pod, bool]]:
    """Return the pods granted to a user, each with whether it is the default."""
    query = select(Pod, PodGrant.is_default).join(PodGrant, PodGrant.pod_id == Pod.id)
    found = session.execute(query.where(PodGrant.user_id == user_id, Pod.deleted_at.is_(None)).order_by(Pod.name))
    return [(pod, is_default) for pod, is_default in found]


def granted_before(session: Session, user_id: int) -> Sequence[Pod]:
    """Return the pods granted to a user that were deleted since."""
    query = select(Pod).join(PodGrant, PodGrant.pod_id == Pod.id)
    return session.scalars(query.where(PodGrant.user_id == user_id, Pod.deleted_at.is_not(None))).all()


def granted_to(session: Session, pod_id: int, limit: int) -> list[str]:
    """Return the e-mails of the first users that a pod is granted to."""
    query = select(User.email).join(PodGrant, PodGrant.user_id == User.id).where(PodGrant.pod_id == pod_id)
    return list(session.scalars(query.where(User.deleted_at.is_(None)).order_by(User.id).limit(limit)))


# Contents of a pod


def has_files(session: Session, pod_id: int) -> bool:
    """Return whether a pod has live files."""
    return bool(session.scalar(select(exists().where(models.File.pod_id == pod_id, models.File.deleted_at.is_(None)))))


def count_files(session: Session, pod_ids: Sequence[int]) -> dict[int, int]:
    """Return the number of live files in each of these pods that has any."""
    query = select(models.File.pod_id, func.count()).where(
        models.File.pod_id.in_(pod_ids), models.File.deleted_at.is_(None)
    )
    return dict(session.execute(query.group_by(models.File.pod_id)).all())


def owners(session: Session, pod_id: int, *, after: str | None, limit: int) -> paging.Page[Row[Any]]:
    """Return a page of a pod's owners by id: e-mail, live files, and stored bytes that are not purged."""
    counted = storage.counted()
    stored = (
        select(models.File.owner_id, func.sum(counted.c.used).label("used"))
        .join(counted, counted.c.file_id == models.File.id)
        .where(models.File.pod_id == pod_id)
        .group_by(models.File.owner_id)
        .subquery()
    )
    living = select(func.count()).where(
        models.File.owner_id == User.id, models.File.pod_id == pod_id, models.File.deleted_at.is_(None)
    )
    query = select(
        User.id, User.email, cast(stored.c.used, BigInteger).label("used"), living.scalar_subquery().label("files")
    ).join(stored, stored.c.owner_id == User.id)
    found = session.execute(paging.keyset(query, [User.id], after, limit)).all()
    return paging.page(found, limit, lambda row: [row.id])


# Counters compared with rows

_DRIFT = text("""
    WITH stored AS (
        SELECT pod_id, owner_id, sum(kept.size) AS size
        FROM (SELECT file_id, size FROM app.versions WHERE stored_at IS NOT NULL
              UNION ALL SELECT file_id, size FROM app.renditions) AS kept
        JOIN app.files ON files.id = kept.file_id GROUP BY pod_id, owner_id
    ), encoding AS (
        SELECT pod_id, owner_id, sum(units.reserved) AS size
        FROM app.units JOIN app.transcodes ON transcodes.id = units.transcode_id
        JOIN app.files ON files.id = transcodes.file_id
        WHERE units.reserved > 0 GROUP BY pod_id, owner_id
    ), open AS (
        SELECT pod_id, user_id, period_start, granted, spent FROM app.leases WHERE closed_at IS NULL
    ), storage AS (
        SELECT user_id, used, reserved FROM app.quota_counters WHERE metric = 'storage'
    ), compared (pod_id, user_id, counter, period_start, recorded, actual) AS (
        SELECT id, NULL::bigint, 'pod used', NULL::timestamptz, used, 0 FROM app.pods
        UNION ALL SELECT pod_id, NULL, 'pod used', NULL, 0, size FROM stored
        UNION ALL SELECT pod_id, NULL, 'pod used', NULL, 0, -spent FROM open
        UNION ALL SELECT id, NULL, 'pod reserved', NULL, reserved, 0 FROM app.pods
        UNION ALL SELECT pod_id, NULL, 'pod reserved', NULL, 0, granted FROM open
        UNION ALL SELECT pod_id, NULL, 'pod reserved', NULL, 0, size FROM encoding
        UNION ALL SELECT NULL, user_id, 'storage used', NULL, used, 0 FROM storage
        UNION ALL SELECT NULL, owner_id, 'storage used', NULL, 0, size FROM stored
        UNION ALL SELECT NULL, user_id, 'storage used', NULL, 0, -spent FROM open
        UNION ALL SELECT NULL, user_id, 'storage reserved', NULL, reserved, 0 FROM storage
        UNION ALL SELECT NULL, user_id, 'storage reserved', NULL, 0, granted FROM open
        UNION ALL SELECT NULL, owner_id, 'storage reserved', NULL, 0, size FROM encoding
        UNION ALL SELECT NULL, user_id, 'upload reserved', period_start, reserved, 0
            FROM app.quota_counters WHERE metric = 'upload' AND closed_at IS NULL
        UNION ALL SELECT NULL, user_id, 'upload reserved', period_start, 0, granted FROM open
    ), drifted AS (
        SELECT pod_id, user_id, counter, period_start,
            sum(recorded)::bigint AS recorded, sum(actual)::bigint AS actual
        FROM compared GROUP BY pod_id, user_id, counter, period_start HAVING sum(recorded) <> sum(actual)
    )
    SELECT drifted.*, pods.name AS pod, users.email AS "user"
    FROM drifted LEFT JOIN app.pods ON pods.id = drifted.pod_id LEFT JOIN app.users ON users.id = drifted.user_id
    ORDER BY pods.id, users.id, counter, period_start
""")


def drift(session: Session) -> Sequence[Row[Any]]:
    """Return each counter of a pod or a user's level that differs from the rows, in one snapshot (bytes)."""
    return session.execute(_DRIFT).all()


def lock_installation(session: Session) -> None:
    """Wait for other transactions that repair counters or place a pod, and block new ones until this one ends."""
    if functions.is_there(session, "app.lock_installation()"):
        session.execute(text("SELECT app.lock_installation()"))


_REPAIRS = (
    """
    INSERT INTO app.quota_counters (user_id, metric, period_start)
    SELECT DISTINCT user_id, 'storage', timestamptz '1970-01-01 00:00:00+00' FROM {drift}
    WHERE counter LIKE 'storage%' ON CONFLICT DO NOTHING
    """,
    """
    UPDATE app.pods SET used = pods.used + off.used, reserved = pods.reserved + off.reserved
    FROM (SELECT pod_id, coalesce(sum(delta) FILTER (WHERE counter = 'pod used'), 0) AS used,
                 coalesce(sum(delta) FILTER (WHERE counter = 'pod reserved'), 0) AS reserved
          FROM {drift} WHERE pod_id IS NOT NULL GROUP BY pod_id) AS off
    WHERE pods.id = off.pod_id
    """,
    """
    UPDATE app.quota_counters AS c SET used = c.used + off.used, reserved = c.reserved + off.reserved
    FROM (SELECT user_id, split_part(counter, ' ', 1) AS metric, period_start,
                 coalesce(sum(delta) FILTER (WHERE counter LIKE '%used'), 0) AS used,
                 coalesce(sum(delta) FILTER (WHERE counter LIKE '%reserved'), 0) AS reserved
          FROM {drift} WHERE user_id IS NOT NULL GROUP BY 1, 2, 3) AS off
    WHERE c.user_id = off.user_id AND c.metric = off.metric
        AND (c.metric = 'storage' OR c.period_start = off.period_start)
    """,
)


def repair(session: Session, found: Sequence[Row[Any]]) -> bool:
    """Add to each counter what it is off by; False if that would fill a pod beyond its capacity.

    It adds differences and does not set totals, because concurrent uploads change both sides alike.
    """
    columns = {name: [getattr(row, name) for row in found] for name in ("pod_id", "user_id", "counter", "period_start")}
    columns["delta"] = [row.actual - row.recorded for row in found]
    rows = (
        "unnest(CAST(:pod_id AS bigint[]), CAST(:user_id AS bigint[]), CAST(:counter AS text[]), "
        "CAST(:period_start AS timestamptz[]), CAST(:delta AS bigint[])) "
        "AS drift (pod_id, user_id, counter, period_start, delta)"
    )
    try:
        with session.begin_nested():
            for statement in _REPAIRS:
                session.execute(text(statement.format(drift=rows)), columns)
    except IntegrityError:
        return False
    return True

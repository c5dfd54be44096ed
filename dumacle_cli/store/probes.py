"""Queries about probes: what the stores of pods were found to keep and to enforce."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, or_, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from dumacle_cli.store import models


def exists(connection: Session | Connection) -> bool:
    """Return whether the schema has the table; that of the previous release has not."""
    return bool(connection.execute(text("SELECT to_regclass('app.probes') IS NOT NULL")).scalar())


def of(session: Session, pod_id: int, provider: str) -> "models.Probe | None":
    """Return the latest probe of a pod at a provider, or None."""
    return session.get(models.Probe, (pod_id, provider), populate_existing=True) if exists(session) else None


def save(session: Session, **values: Any) -> "models.Probe":
    """Store a probe in place of the pod's last one at that provider, and return it."""
    probe = models.Probe
    wanted = insert(probe).values(**values)
    others = {name: wanted.excluded[name] for name in values if name not in ("pod_id", "provider")}
    saved = wanted.on_conflict_do_update(
        index_elements=[probe.pod_id, probe.provider], set_={**others, "probed_at": func.now()}
    )
    return session.scalars(saved.returning(probe), execution_options={"populate_existing": True}).one()


_PROOF = text("""
    SELECT proof FROM app.probes WHERE provider = :provider AND endpoint = :endpoint AND bucket = :bucket
    ORDER BY probed_at DESC LIMIT 1
""")


def proof(session: Session, provider: str, endpoint: str, bucket: str) -> Any:
    """Return what proves an upload into a bucket by its latest probe, or None if it was never probed."""
    if not exists(session):
        return None
    given = {"provider": provider, "endpoint": endpoint, "bucket": bucket}
    return session.scalars(_PROOF, given).one_or_none()


def doubtful(connection: Connection, since: datetime, limit: int) -> Sequence[Row[Any]]:
    """Return live pods that were not probed since then, or lost what an earlier probe found."""
    if not exists(connection):
        return []
    pod, probe = models.Pod, models.Probe
    probed = (probe.pod_id == pod.id) & (probe.provider == pod.primary_provider)
    stale = or_(probe.probed_at.is_(None), probe.probed_at < since, probe.lost != {})
    query = select(pod.name, probe.probed_at, probe.lost).join_from(pod, probe, probed, isouter=True)
    return connection.execute(query.where(pod.deleted_at.is_(None), stale).order_by(pod.name).limit(limit)).all()

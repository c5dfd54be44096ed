"""Queries about probes: what the stores of pods were found to keep and to enforce."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, or_, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from dumacle_cli.store.models import Pod, Probe


def exists(connection: Session | Connection) -> bool:
    """Return whether the schema has the table; that of the previous release has not."""
    return bool(connection.execute(text("SELECT to_regclass('app.probes') IS NOT NULL")).scalar())


def of(session: Session, pod_id: int, provider: str) -> Probe | None:
    """Return the latest probe of a pod at a provider, or None."""
    return session.get(Probe, (pod_id, provider), populate_existing=True) if exists(session) else None


def save(session: Session, **values: Any) -> Probe:
    """Store a probe in place of the pod's last one at that provider, and return it."""
    wanted = insert(Probe).values(**values)
    others = {name: wanted.excluded[name] for name in values if name not in ("pod_id", "provider")}
    saved = wanted.on_conflict_do_update(
        index_elements=[Probe.pod_id, Probe.provider], set_={**others, "probed_at": func.now()}
    )
    return session.scalars(saved.returning(Probe), execution_options={"populate_existing": True}).one()


def proof(session: Session, provider: str, endpoint: str, bucket: str) -> Any:
    """Return what proves an upload into a bucket by its latest probe, or None if it was never probed."""
    if not exists(session):
        return None
    query = select(Probe.proof).where(Probe.provider == provider, Probe.endpoint == endpoint, Probe.bucket == bucket)
    return session.scalars(query.order_by(Probe.probed_at.desc()).limit(1)).one_or_none()


def doubtful(connection: Connection, since: datetime, limit: int) -> Sequence[Row[Any]]:
    """Return live pods that were not probed since then, or lost what an earlier probe found."""
    if not exists(connection):
        return []
    probed = (Probe.pod_id == Pod.id) & (Probe.provider == Pod.primary_provider)
    stale = or_(Probe.probed_at.is_(None), Probe.probed_at < since, Probe.lost != {})
    query = select(Pod.name, Probe.probed_at, Probe.lost).join_from(Pod, Probe, probed, isouter=True)
    return connection.execute(query.where(Pod.deleted_at.is_(None), stale).order_by(Pod.name).limit(limit)).all()

"""Queries about credentials: encrypted keys of pods, and of the system if `pod_id` is None."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from dumacle_cli.store.models import Credential, File, Pod, Version


def find(session: Session, pod_id: int | None, provider: str) -> Credential | None:
    """Return the credential of a pod, or of the system, for a provider, or None."""
    query = select(Credential).where(Credential.pod_id.is_not_distinct_from(pod_id), Credential.provider == provider)
    return session.scalars(query).one_or_none()


def readable(session: Session) -> bool:
    """Return whether the actor may read credentials; admins and endusers may not."""
    return bool(session.scalars(select(func.has_table_privilege("app.credentials", "SELECT"))).one())


def of(session: Session, pod_id: int | None) -> Sequence[Credential]:
    """Return all credentials of a pod, or of the system."""
    query = select(Credential).where(Credential.pod_id.is_not_distinct_from(pod_id))
    return session.scalars(query.order_by(Credential.provider)).all()


def put(session: Session, pod_id: int | None, provider: str, **values: Any) -> Credential:
    """Insert a credential, or replace the one of the same pod and provider; returns it."""
    made = insert(Credential).values(pod_id=pod_id, provider=provider, **values)
    replaced = made.on_conflict_do_update(
        index_elements=[Credential.pod_id, Credential.provider],
        set_={**values, "updated_at": func.now()},
    )
    found = session.scalars(replaced.returning(Credential), execution_options={"populate_existing": True})
    return found.one()


def prove(session: Session, credential_id: int, ciphertext: bytes) -> bool:
    """Record that a credential was verified now; False if it was replaced or removed meanwhile."""
    same = (Credential.id == credential_id, Credential.ciphertext == ciphertext)
    values = {"proven_at": func.now(), "updated_at": Credential.updated_at}
    return session.execute(update(Credential).where(*same).values(values).returning(Credential.id)).first() is not None


def remove(session: Session, pod_id: int | None, provider: str) -> bool:
    """Delete a credential; returns whether there was one."""
    mine = (Credential.pod_id.is_not_distinct_from(pod_id), Credential.provider == provider)
    return session.execute(delete(Credential).where(*mine).returning(Credential.id)).first() is not None


def page(session: Session, after: int, limit: int) -> Sequence[Row[Any]]:
    """Return the next credentials after an id, each with its pod's name."""
    columns: list[Any] = [Credential, Pod.name.label("pod")]
    query = select(*columns).join_from(Credential, Pod, isouter=True).where(Credential.id > after)
    return session.execute(query.order_by(Credential.id).limit(limit)).all()


def count(session: Session, key_id: str | None = None) -> int:
    """Return how many credentials there are in all, or with this key."""
    query = select(func.count()).select_from(Credential)
    return session.scalars(query.where(Credential.key_id == key_id) if key_id else query).one()


def lock_batch(session: Session, key_id: str, limit: int) -> Sequence[Credential]:
    """Return the next credentials that are encrypted with a key, locked until the transaction ends."""
    query = select(Credential).where(Credential.key_id == key_id).order_by(Credential.id).limit(limit)
    return session.scalars(query.with_for_update()).all()


def rewrap(session: Session, ids: Sequence[int], wrapped: Sequence[bytes], key_id: str) -> None:
    """Replace the wrapped data keys of these credentials."""
    session.execute(
        text("""
            UPDATE app.credentials SET wrapped_key = fresh.wrapped_key, key_id = :key_id
            FROM unnest(CAST(:ids AS bigint[]), CAST(:wrapped AS bytea[])) AS fresh (id, wrapped_key)
            WHERE credentials.id = fresh.id
        """),
        {"ids": list(ids), "wrapped": list(wrapped), "key_id": key_id},
    )


def witness(session: Session, pod_id: int, provider: str) -> str | None:
    """Return the key of an object that must be in a pod's bucket: of its latest file, or None without files."""
    query = select(Version.key).join(File, File.version_id == Version.id).join(Pod, Pod.id == File.pod_id)
    query = query.where(File.pod_id == pod_id, File.deleted_at.is_(None), Pod.primary_provider == provider)
    return session.scalars(query.order_by(File.id.desc()).limit(1)).one_or_none()

"""The owner and the pod of an upload, read without mapping their tables, which would take 70 ms of its start."""

from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from dumacle_cli.ids import parse_id

_OWNER = """
    SELECT u.id, u.email, u.status, (
        SELECT g.pod_id FROM app.pod_grants AS g JOIN app.pods AS p ON p.id = g.pod_id
        WHERE g.user_id = u.id AND g.is_default AND p.deleted_at IS NULL
    ) AS default_pod
    FROM app.users AS u WHERE u.deleted_at IS NULL AND
"""
_POD = """
    SELECT p.id, p.name, p.prefix, p.primary_provider, p.bucket, p.secondary_provider, p.secondary_bucket,
        p.copies_during_uploads, p.use_custom_s3, p.use_custom_wasabi, p.use_custom_oracle,
        EXISTS (SELECT FROM app.pod_grants AS g WHERE g.pod_id = p.id AND g.user_id = :owner) AS is_granted
    FROM app.pods AS p WHERE p.deleted_at IS NULL AND
"""


def owner(session: Session, reference: str) -> Row[Any] | None:
    """Return id, email, status and default_pod (an id) of the user with this id or e-mail who is not deleted."""
    if (user_id := parse_id(reference)) is not None:
        return session.execute(text(f"{_OWNER} u.id = :id"), {"id": user_id}).one_or_none()
    return session.execute(text(f"{_OWNER} u.email = :email"), {"email": reference.lower()}).one_or_none()


def pod(session: Session, owner_id: int, reference: str) -> Row[Any] | None:
    """Return the pod with this id or name that is not deleted: its places, and whether it is granted to the owner."""
    given = {"owner": owner_id}
    if (pod_id := parse_id(reference)) is not None:
        return session.execute(text(f"{_POD} p.id = :id"), {**given, "id": pod_id}).one_or_none()
    return session.execute(text(f"{_POD} p.name = :name"), {**given, "name": reference}).one_or_none()

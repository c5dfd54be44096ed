"""Queries about which files pods and plans accept; the schema of the previous release has no such limits."""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session


@dataclass(frozen=True, slots=True)
class Accepted:
    """Which files are accepted: media types such as video/* (None: any), and a size in bytes (None: any)."""

    allowed_types: list[str] | None = None
    max_file_size: int | None = None


def of_pod(session: Session, pod_id: int) -> Accepted:
    """Return which files a pod accepts."""
    return _one(session, "FROM app.pods WHERE id = :id", pod_id)


def of_plan(session: Session, plan_id: int) -> Accepted:
    """Return which files a plan accepts."""
    return _one(session, "FROM app.plans WHERE id = :id", plan_id)


def of_user(session: Session, user_id: int) -> tuple[str, Accepted] | None:
    """Return the name of a user's plan and which files it accepts, or None without a plan."""
    where = (
        "FROM app.plans WHERE id = (SELECT plan_id FROM app.subscriptions WHERE user_id = :id AND ended_at IS NULL "
        "AND status IN ('active', 'trialing', 'past_due'))"
    )
    name = session.scalars(text(f"SELECT name {where}"), {"id": user_id}).one_or_none()
    return (name, _one(session, where, user_id)) if name is not None else None


def _one(session: Session, where: str, row_id: int) -> Accepted:
    there = (
        "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'app.pods'::regclass AND attname = 'max_file_size')"
    )
    if not session.scalar(text(there)):
        return Accepted()
    query = text(f"SELECT allowed_types, max_file_size {where}")
    return Accepted(*session.execute(query, {"id": row_id}).one())

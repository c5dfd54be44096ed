"""Queries about which files pods and plans accept; the schema of the previous release has no such limits."""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session


@dataclass(frozen=True, slots=True)
class Accepted:
    """Which files are accepted: media types such as video/* (None: any), and a size in bytes (None: any)."""

    allowed_types: list[str] | None = None
    max_file_size: int | None = None


_ACCEPTED = "SELECT name, to_jsonb(row) -> 'allowed_types', CAST(to_jsonb(row) ->> 'max_file_size' AS bigint) FROM"
_OF_POD = text(f"{_ACCEPTED} app.pods AS row WHERE id = :id")
_OF_PLAN = text(f"{_ACCEPTED} app.plans AS row WHERE id = :id")
_OF_USER = text(
    f"{_ACCEPTED} app.plans AS row JOIN app.subscriptions AS s ON s.plan_id = row.id "
    "WHERE s.user_id = :id AND s.ended_at IS NULL AND s.status IN ('active', 'trialing', 'past_due')"
)


def of_pod(session: Session, pod_id: int) -> tuple[str, Accepted]:
    """Return the name of a pod and which files it accepts."""
    name, *accepted = session.execute(_OF_POD, {"id": pod_id}).one()
    return name, Accepted(*accepted)


def of_plan(session: Session, plan_id: int) -> Accepted:
    """Return which files a plan accepts."""
    _, *accepted = session.execute(_OF_PLAN, {"id": plan_id}).one()
    return Accepted(*accepted)


def of_user(session: Session, user_id: int) -> tuple[str, Accepted] | None:
    """Return the name of a user's plan and which files it accepts, or None without a plan."""
    row = session.execute(_OF_USER, {"id": user_id}).one_or_none()
    return (row[0], Accepted(*row[1:])) if row else None

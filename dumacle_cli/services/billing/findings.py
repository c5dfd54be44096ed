"""Findings: what is wrong with billing, kept until it is put right, so that every command can tell of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from dumacle_cli.errors import DumacleError, Exit, NotApplied
from dumacle_cli.store import findings as store
from dumacle_cli.store.findings import Found

__all__ = ["ACCOUNT", "Finding", "Found", "list_", "not_applied", "other_customer", "plan_object"]

ACCOUNT = "account"
"""The object of findings about the whole account."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong with billing, and the command that puts it right."""

    kind: str
    object: str
    severity: str
    finding: str
    fix: str
    first_seen_at: datetime
    last_seen_at: datetime


def list_(session: Session, *, user_id: int | None = None, object_ids: Sequence[str] | None = None) -> list[Finding]:
    """Return findings, the worst and oldest first: all, those of one user, or those about some objects."""
    return [
        Finding(
            kind=row.kind,
            object=row.object_id,
            severity=row.severity,
            finding=row.sentence,
            fix=row.fix,
            first_seen_at=row.first_seen_at,
            last_seen_at=row.last_seen_at,
        )
        for row in store.page(session, user_id=user_id, object_ids=object_ids)
    ]


def plan_object(plan_id: int) -> str:
    """Return the object of findings about a plan."""
    return f"plan:{plan_id}"


def other_customer(user_id: int, saved: str) -> Found:
    """Return the finding about a customer of a user who has another one."""
    sentence = f"user {user_id} is already customer {saved}"
    return Found("other-customer", sentence, "at Stripe, delete the customer that is not used")


def is_own_fault(error: DumacleError) -> bool:
    """Return whether an error is the object's, and not that Stripe, the database, the key or a login fails all."""
    return error.exit not in (Exit.TEMPORARY, Exit.LOGIN, Exit.FORBIDDEN, Exit.CONFLICT)


def not_applied(object_id: str, error: DumacleError, *, given_up: bool) -> list[Found]:
    """Return the finding about an object that could not be applied; none if it is not the object's fault."""
    if not is_own_fault(error):
        return []
    fix = error.remedy if isinstance(error, NotApplied) else NotApplied.fix
    return [Found("not-applied", f"{object_id}: {error}", fix, "error" if given_up else "warning")]

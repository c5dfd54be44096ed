"""Review: what is wrong with the subscriptions of a user, or of all, as the last answers of Stripe say.

A finding is plain data, with the command that ends it; it is computed from the rows, so it is gone once they are right.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row
from sqlalchemy.orm import Session

from dumacle_cli.escapes import quoted
from dumacle_cli.store import subscriptions

MOST = 1000


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that costs somebody money or access until a person acts: its kind, a sentence, and the command."""

    kind: str
    sentence: str
    fix: str
    subscription: str


def findings(session: Session, user_id: int | None = None) -> list[Finding]:
    """Return what has to be looked at, of one user or of all, at most 1,000."""
    rows = subscriptions.questionable(session, user_id, MOST)
    return [found for row in rows for found in _findings(row, row.email)]


def kept(session: Session, user_id: int, subscription: str) -> str | None:
    """Return what has to be looked at of a subscription in words that may outlive its user, or None."""
    rows = subscriptions.questionable(session, user_id, MOST)
    found = [each for row in rows if row.id == subscription for each in _findings(row, f"user {user_id}")]
    return "; ".join(each.sentence for each in found) or None


def double(who: str, keep: str, other: str) -> Finding:
    """Return the finding that a user pays for two subscriptions."""
    sentence = f"{who} pays for {keep} and {other}"
    return Finding("double-subscription", sentence, f"dumacle plans cancel {other} --now --refund full", other)


def _findings(row: Row[Any], who: str) -> list[Finding]:
    found = []
    if row.beside:
        found.append(double(who, row.beside, row.id))
    elif row.unknown_status:
        sentence = f"Stripe says that {row.id} of {who} is {row.unknown_status!r}, which is not known here"
        found.append(Finding("unknown-status", f"{sentence}; {row.status} holds until then", "upgrade Dumacle", row.id))
    elif row.plan_items != 1:
        sentence = f"{row.id} of {who} has {row.plan_items} items that are plans"
        found.append(
            Finding("several-plans", sentence, f"remove all but one of the items of {row.id} at Stripe", row.id)
        )
    if not row.beside and (row.is_deleted or row.is_disabled):
        state = "deleted" if row.is_deleted else "disabled"
        sentence = f"Stripe goes on charging {who}, who is {state}, for {row.id}"
        found.append(Finding("inactive-user", sentence, f"dumacle plans cancel {quoted(row.id)}", row.id))
    return found

"""Review: what is wrong with the subscriptions of a user, or of all, as the last answers of Stripe say.

It is computed from the rows, and saved as findings about the subscriptions until the rows are right.
"""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Row
from sqlalchemy.orm import Session

from dumacle_cli.escapes import quoted
from dumacle_cli.store import findings, subscriptions
from dumacle_cli.store.findings import Found
from dumacle_cli.units import show_instant

KINDS = ("paid-twice", "unknown-status", "several-plans", "inactive-user", "overdue-end")
MOST = 1000
"""How many subscriptions are reviewed at most."""


def save(session: Session, user_id: int | None = None) -> dict[str, list[Found]]:
    """Save what is wrong with the subscriptions of a user or of all, and return it by subscription; settle the rest."""
    rows = subscriptions.questionable(session, user_id, MOST)
    found: dict[str, list[Found]] = {}
    for row in rows:
        found.setdefault(row.id, []).extend(_faults(row))
    if len(rows) < MOST:
        findings.keep_only_pairs(session, KINDS, user_id, found)
    for id_, faults in found.items():
        findings.add(session, id_, faults)
    return found


def double(who: str, keep: str, other: str) -> Found:
    """Return the finding that a user pays for two subscriptions."""
    fix = f"dumacle plans cancel {other} --now --refund full"
    return Found("paid-twice", f"{who} pays for {keep} and {other}", fix)


def _faults(row: Row[Any]) -> Iterator[Found]:
    """Yield what is wrong with a subscription, in words that may outlive its user."""
    who = f"user {row.user_id}"
    if row.beside:
        yield double(who, row.beside, row.id)
    elif row.unknown_status:
        says = f"Stripe says that {row.id} of {who} is {row.unknown_status!r}, which is not known here"
        yield Found("unknown-status", f"{says}; {row.status} holds until then", "upgrade Dumacle", "warning")
    elif row.plan_items != 1:
        fix = f"remove all but one of the items of {row.id} at Stripe"
        yield Found("several-plans", f"{row.id} of {who} has {row.plan_items} items that are plans", fix, "warning")
    if not row.beside and row.is_overdue:
        sentence = f"{row.id} of {who} was to end at {show_instant(row.end_due_at)}, and Stripe goes on charging for it"
        yield Found("overdue-end", sentence, "dumacle quotas reset")
    if not row.beside and (row.is_deleted or row.is_disabled):
        state = "deleted" if row.is_deleted else "disabled"
        sentence = f"Stripe goes on charging {who}, who is {state}, for {row.id}"
        yield Found("inactive-user", sentence, f"dumacle plans cancel {quoted(row.id)}", "warning")

"""Queries about the calls of the hook; the row of a call is written in the transaction that ends its transcode."""

from collections.abc import Sequence

from sqlalchemy import delete, exists, func, select, text, update
from sqlalchemy.orm import Session

from dumacle_cli.store.files import one_of
from dumacle_cli.store.models import HookCall

GIVE_UP = "3 days"
"""How long the hook is tried, and how long is kept what no worker has a hook for."""
_CLAIM = text("""
    UPDATE app.hook_calls SET due_at = now() + make_interval(secs => :seconds), attempts = attempts + 1
    WHERE transcode_id IN (
        SELECT transcode_id FROM app.hook_calls WHERE due_at <= now()
        ORDER BY due_at, transcode_id LIMIT :limit FOR UPDATE SKIP LOCKED
    ) RETURNING transcode_id
""")
_POSTPONE = text("""
    UPDATE app.hook_calls SET error = left(:error, 2000), due_at = now() + make_interval(secs => least(
        3600, 5 * 2 ^ least(attempts, 20)))
    WHERE transcode_id = :id
""")


def claim(session: Session, limit: int, seconds: float) -> list[int]:
    """Claim calls that are due for so many seconds, and return their transcodes."""
    return sorted(session.scalars(_CLAIM, {"limit": limit, "seconds": seconds}))


def done(session: Session, transcode_id: int) -> None:
    """Forget a call that the hook took."""
    session.execute(delete(HookCall).where(HookCall.transcode_id == transcode_id))


def postpone(session: Session, transcode_id: int, error: str) -> None:
    """Try a call again, later each time, up to an hour."""
    session.execute(_POSTPONE, {"id": transcode_id, "error": error})


def give_back(session: Session, transcode_ids: Sequence[int]) -> None:
    """Give claims back that were not tried."""
    changed = {"due_at": func.now(), "attempts": func.greatest(HookCall.attempts - 1, 0)}
    session.execute(update(HookCall).where(one_of(HookCall.transcode_id, transcode_ids)).values(changed))


def are_due(session: Session) -> bool:
    """Return whether a call is due."""
    return bool(session.scalar(select(exists().where(HookCall.due_at <= func.now()))))


def forget_old(session: Session) -> None:
    """Forget the calls that were tried for days, or that no worker has a hook for."""
    session.execute(text(f"DELETE FROM app.hook_calls WHERE created_at < now() - interval '{GIVE_UP}'"))  # noqa: S608

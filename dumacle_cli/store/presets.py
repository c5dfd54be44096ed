"""Queries about presets and their versions."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from dumacle_cli.store.models import Preset


def present(session: Session, name: str, *, lock: bool = False) -> Preset | None:
    """Return the present version of a preset, or None."""
    query = select(Preset).where(Preset.name == name, Preset.ended_at.is_(None))
    return session.scalars(query.with_for_update(key_share=True) if lock else query).one_or_none()


def version(session: Session, given: str) -> Preset | None:
    """Return the version with a hash, whether it is the present one or not, or None."""
    return session.get(Preset, given)


def all_present(session: Session) -> Sequence[Preset]:
    """Return the present versions of all presets by name."""
    return session.scalars(select(Preset).where(Preset.ended_at.is_(None)).order_by(Preset.name)).all()


def end(session: Session, given: str) -> None:
    """End a version: nothing is submitted with it any more."""
    session.execute(update(Preset).where(Preset.hash == given).values(ended_at=func.now()))


def begin(session: Session, given: str, definition: dict[str, Any]) -> bool:
    """Make this version the present one of its preset; False if another one is meanwhile."""
    row = {"hash": given, "name": definition["name"], "definition": definition}
    made = session.scalars(insert(Preset).values(row).on_conflict_do_nothing().returning(Preset.hash)).one_or_none()
    if made is None:
        again = update(Preset).where(Preset.hash == given, Preset.ended_at.is_not(None)).values(ended_at=None)
        made = session.scalars(again.returning(Preset.hash)).one_or_none()
    return made is not None

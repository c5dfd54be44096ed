"""Queries about what transcodes may have left at the stores: attempts whose objects were not published."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, exists, func, or_, select, text
from sqlalchemy.orm import Session, aliased

from dumacle_cli.store.models import File, Pod, Rendition, Transcode, Unit
from dumacle_cli.store.place_columns import PLACE
from dumacle_cli.store.places import Place
from dumacle_cli.store.transcodes import LIVE


@dataclass(frozen=True, slots=True)
class Suspect:
    """A transcode of which an attempt may have left objects."""

    transcode_id: int
    file_id: int
    version_id: int
    place: Place
    pod_prefix: str


def suspects(session: Session, days: int, after: int, limit: int) -> list[Suspect]:
    """Return the next transcodes after an id that ended unpublished, were superseded, or took more than one attempt.

    Of those that have ended, only within so many days.
    """
    since, later = func.now() - func.make_interval(0, 0, 0, days), aliased(Transcode)
    again = or_(Unit.attempt > 1, Unit.crashes > 0, Unit.setbacks > 0)
    repeated = exists().where(Unit.transcode_id == Transcode.id, again)
    same = and_(later.file_id == Transcode.file_id, later.version_id == Transcode.version_id)
    newer = and_(same, later.preset == Transcode.preset, later.id > Transcode.id, later.ended_at > since)
    superseded = and_(exists().where(newer), ~exists().where(Rendition.transcode_id == Transcode.id))
    columns: list[Any] = [Transcode.id, Transcode.file_id, Transcode.version_id, PLACE, Pod.prefix]
    query = (
        select(*columns)
        .join(File, File.id == Transcode.file_id)
        .join(Pod, Pod.id == File.pod_id)
        .where(Transcode.id > after, Transcode.started_at.is_not(None))
        .where(
            or_(
                and_(Transcode.ended_at > since, or_(Transcode.status != "done", repeated)),
                and_(Transcode.status.in_(LIVE), repeated),
                and_(Transcode.status == "done", superseded),
            )
        )
        .order_by(Transcode.id)
        .limit(limit)
    )
    return [Suspect(*row) for row in session.execute(query)]


_KEPT = text("""
    SELECT lease_token::text FROM app.units WHERE transcode_id = :transcode AND lease_token IS NOT NULL
    UNION ALL
    SELECT split_part(rtrim(prefix, '/'), '/', -1) FROM app.renditions WHERE transcode_id = :transcode
""")


def kept(session: Session, transcode_id: int) -> set[str]:
    """Return the tokens of the attempt that is at work on a transcode, and of those that published."""
    # One statement: between two, an attempt could publish and be neither.
    return set(session.scalars(_KEPT, {"transcode": transcode_id}))

"""Films in chunks: dividing them, and the pieces that are stored until they are put together; see sql/chunks.sql."""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from dumacle_cli.store import queue
from dumacle_cli.store.models import File, Pod, Rendition, Transcode, Unit
from dumacle_cli.store.place_columns import PLACE
from dumacle_cli.store.places import Place
from dumacle_cli.store.transcodes import LIVE
from dumacle_cli.store.work_units import Claimed

AT_ONCE = 20


@dataclass(frozen=True, slots=True)
class Piece:
    """What a unit stored under the prefix of its token: a chunk with these pictures, or the sound.

    `inventory` is the SHA-256 of what lists its objects.
    """

    token: uuid.UUID
    inventory: bytes
    first: int | None
    last: int | None


@dataclass(frozen=True, slots=True)
class Ended:
    """A transcode that has ended with pieces at the store; what was published is under `prefix`, if anything was."""

    transcode_id: int
    file_id: int
    pod_prefix: str
    prefix: str | None
    place: Place


def divide(session: Session, unit: Claimed, cuts: Sequence[int], *, sound: bool) -> bool:
    """Divide the film of a unit, which becomes its first chunk, and wake workers for the others; False if it is lost.

    `cuts` are the numbers of the first picture of each chunk, and the one after the last.
    """
    held = session.scalars(select(func.app.divide_unit(unit.id, unit.token, list(cuts), sound))).one()
    _wake(session, unit)
    return bool(held)


def complete(session: Session, unit: Claimed, inventory: str) -> bool:
    """Complete a unit whose piece is stored; False if it is lost. After the last one they are put together."""
    done = session.scalars(select(func.app.complete_unit(unit.id, unit.token, bytes.fromhex(inventory)))).one()
    _wake(session, unit)
    return bool(done)


def make_whole(session: Session, unit: Claimed, error: str) -> bool:
    """Let a film be made as a whole after all; False if the unit is lost."""
    held = session.scalars(select(func.app.make_whole(unit.id, unit.token, error))).one()
    _wake(session, unit)
    return bool(held)


def _wake(session: Session, unit: Claimed) -> None:
    waiting = select(Unit.id).where(Unit.transcode_id == unit.transcode_id, Unit.status == "queued")
    queue.wake_transcode(session, session.scalars(waiting).all())


def of(session: Session, unit: Claimed) -> list[Piece]:
    """Return the pieces of the film of a unit that puts them together: its chunks in order, then its sound."""
    columns: list[Any] = [Unit.lease_token, Unit.inventory, Unit.first_frame, Unit.last_frame]
    query = select(*columns).where(Unit.transcode_id == unit.transcode_id, Unit.inventory.is_not(None))
    return [Piece(*row) for row in session.execute(query.order_by(Unit.number))]


def ended(session: Session) -> list[Ended]:
    """Return some transcodes that have ended, and whose pieces are still at the store."""
    published = select(func.min(Rendition.prefix)).where(Rendition.transcode_id == Transcode.id).scalar_subquery()
    columns: list[Any] = [Transcode.id, File.id, Pod.prefix, published, PLACE]
    left = select(Unit.transcode_id).where(Unit.inventory.is_not(None))
    query = select(*columns).join(File, File.id == Transcode.file_id).join(Pod, Pod.id == File.pod_id)
    query = query.where(Transcode.id.in_(left), Transcode.status.not_in(LIVE)).order_by(Transcode.id).limit(AT_ONCE)
    return [Ended(*row) for row in session.execute(query)]


def forget(session: Session, transcode_ids: Collection[int]) -> None:
    """Forget the pieces of transcodes that have ended, which were removed from the store."""
    session.execute(select(func.app.forget_pieces(list(transcode_ids))))

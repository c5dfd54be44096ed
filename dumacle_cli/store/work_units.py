"""Units of work: claim, renew, charge, publish and release them; the rules are in sql/units.sql."""

import json
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Row, and_, exists, func, or_, select, text
from sqlalchemy.orm import Session

from dumacle_cli.errors import PodFull, QuotaExceeded
from dumacle_cli.store.files import Content
from dumacle_cli.store.models import File, Pause, Pod, Preset, Rendition, Transcode, Unit, User, Version
from dumacle_cli.store.place_columns import PLACE
from dumacle_cli.store.transcodes import LIVE
from dumacle_cli.units import show_size

ATTEMPTS = 3
CRASHES = 2
"""After this many crashes of FFmpeg or of workers over it, a unit is quarantined."""
NO_VIDEO = ("none",)
"""The codecs of who takes only units that encode no video; with an empty list, SQL would leave out those as well."""
RETRY_SECONDS = 30.0
"""How long a unit waits after its first failed attempt; ten times as long after the second."""


class Lost(Exception):
    """The unit is now held under another token, or was cancelled."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A unit held under `token`: its content, preset, owner and pod; `paused` if the pod's store was away.

    `definition` is that of the version of the preset, and None if there is none. Of a chunk `first` and `last` are the
    numbers of its pictures; without them it may be divided, unless it is of the kind `whole`.
    """

    id: int
    token: uuid.UUID
    content: Content
    transcode_id: int
    attempt: int
    crashes: int
    setbacks: int
    paused: bool
    preset: str
    damage: str
    number: int
    kind: str
    first: int | None
    last: int | None
    definition: dict[str, Any] | None
    owner: str
    pod: str
    pod_prefix: str

    @property
    def is_light(self) -> bool:
        """Whether it encodes no video."""
        return self.definition is not None and not self.definition.get("video")

    @property
    def is_piece(self) -> bool:
        """Whether its output is only a piece of what is published."""
        return self.kind == "audio" or self.first is not None

    @property
    def is_charged(self) -> bool:
        """Whether it is charged for the transcode, of which it is the first unit."""
        return not self.first and self.kind in ("chunk", "whole")


@dataclass(frozen=True, slots=True)
class Output:
    """One rendition: its objects are under `prefix`, and players open `entry` there; size in bytes.

    `inventory` is the SHA-256 of its inventory, in hexadecimal digits.
    """

    name: str
    kind: str
    prefix: str
    entry: str
    size: int
    width: int | None = None
    height: int | None = None
    bitrate: int | None = None
    duration_ms: int | None = None
    frames: int | None = None
    rungs: list[dict[str, Any]] | None = None
    damaged: float = 0
    inventory: str | None = None


def claim(
    session: Session, unit_id: int, worker: str, seconds: float, token: uuid.UUID | None = None
) -> Claimed | None:
    """Claim a waiting unit, or one whose lease lapsed, for `seconds`; None if it cannot be claimed.

    The token of an earlier try whose answer was lost makes it the same claim.
    """
    token = token or uuid.uuid4()
    held = session.scalars(select(func.app.claim_unit(unit_id, token, worker, seconds))).one()
    return _claimed(session, unit_id, token) if held else None


class Raced(Exception):
    """Another worker claimed the next unit first."""


def claim_next(
    session: Session, worker: str, seconds: float, token: uuid.UUID, codecs: Sequence[str]
) -> Claimed | None:
    """Claim the waiting unit that is next for `seconds` and needs none but these codecs; None if there is none now.

    The token of an earlier try whose answer was lost makes it the same claim. Raises Raced: ask again.
    """
    unit_id = session.scalars(select(func.app.claim_next(token, worker, seconds, list(codecs), True))).one()
    if unit_id == 0:
        raise Raced
    return None if unit_id is None else _claimed(session, unit_id, token)


def _claimed(session: Session, unit_id: int, token: uuid.UUID) -> Claimed:
    paused = exists().where(Pause.pod_id == Pod.id)
    work = (Unit.transcode_id, Unit.attempt, Unit.crashes, Unit.setbacks, paused, Transcode.preset)
    kind = (Transcode.damage, Unit.number, Unit.kind, Unit.first_frame, Unit.last_frame)
    made_as = or_(
        Preset.hash == Transcode.preset_hash,
        # Of transcodes that were submitted before presets had versions.
        and_(Transcode.preset_hash.is_(None), Preset.name == Transcode.preset, Preset.ended_at.is_(None)),
    )
    whose = (User.email, Pod.name, Pod.prefix)
    place = (File.id, Version.id, File.path, PLACE)
    content = (Version.key, Version.size, Version.sha256, Version.md5, Version.etag, Version.content_type)
    columns: list[Any] = [*work, *kind, Preset.definition, *whose, *place, *content, File.mtime_ns, Pod.prefix]
    query = (
        select(*columns)
        .join(Transcode, Transcode.id == Unit.transcode_id)
        .join(File, File.id == Transcode.file_id)
        .join(Version, Version.id == Transcode.version_id)
        .join(User, User.id == File.owner_id)
        .join(Pod, Pod.id == File.pod_id)
        .outerjoin(Preset, made_as)
        .where(Unit.id == unit_id)
    )
    row = session.execute(query).one()
    return Claimed(unit_id, token, Content(*row[15:]), *row[:15])


def renew(
    session: Session, unit_id: int, token: uuid.UUID, seconds: float, progress: int, fps: float | None = None
) -> bool:
    """Renew a lease for `seconds` from now, with progress 0 to 99; False if it is no longer held."""
    return bool(session.scalars(select(func.app.renew_unit(unit_id, token, seconds, progress, fps))).one())


def charge(session: Session, unit: Claimed, seconds: int) -> None:
    """Charge the seconds of this attempt to the owner's quota, once; raises QuotaExceeded, Lost."""
    found = _row(session, "SELECT * FROM app.charge_unit(:unit, :token, :amount)", unit, seconds)
    if found.accepted is None:
        raise Lost
    if not found.accepted:
        facts = {"left": f"{max(found.allowed - found.in_use, 0)} s", "limit": f"{found.allowed} s"}
        raise QuotaExceeded(metric="transcode", user=unit.owner, wanted=f"{seconds} s", **facts)


def reserve(session: Session, unit: Claimed, size: int) -> None:
    """Reserve `size` bytes of the pod and of the owner's storage in all; raises PodFull, QuotaExceeded, Lost."""
    found = _row(session, "SELECT * FROM app.reserve_unit(:unit, :token, :amount)", unit, size)
    if found.refused_by == "pod":
        raise PodFull(pod=unit.pod, free=show_size(found.free), wanted=show_size(size))
    if found.refused_by:
        facts = {"left": show_size(found.free), "limit": show_size(found.allowed), "wanted": show_size(size)}
        raise QuotaExceeded(metric="storage", user=unit.owner, **facts)
    if found.reserved is None:
        raise Lost


def publish(session: Session, unit: Claimed, outputs: Sequence[Output]) -> bool:
    """Publish these renditions and end the transcode, once; True also if this attempt published them before."""
    made = json.dumps([asdict(output) for output in outputs])
    query = "SELECT app.publish_unit(:unit, :token, CAST(:amount AS jsonb))"
    return bool(_row(session, query, unit, made)[0])


def superseded(session: Session, unit: Claimed) -> Sequence[int]:
    """Return the earlier transcodes of the same content with the same preset that have ended and publish nothing."""
    query = (
        select(Transcode.id)
        .where(Transcode.version_id == unit.content.version_id, Transcode.preset == unit.preset)
        .where(Transcode.id < unit.transcode_id, Transcode.status.not_in(LIVE))
        .where(~exists().where(Rendition.transcode_id == Transcode.id))
    )
    return session.scalars(query).all()


def fail(session: Session, unit: Claimed, error: str, *, final: bool) -> bool:
    """Release what the attempt holds, and end the transcode or retry later; False if it is no longer held."""
    seconds = RETRY_SECONDS * 10 ** (unit.attempt - 1)
    query = func.app.fail_unit(unit.id, unit.token, error, final, ATTEMPTS, seconds)
    return bool(session.scalars(select(query)).one())


def crash(session: Session, unit: Claimed, error: str) -> bool:
    """Retry what FFmpeg crashed over, or quarantine it the second time; False if it is no longer held."""
    return bool(session.scalars(select(func.app.crash_unit(unit.id, unit.token, error, CRASHES))).one())


def set_back(session: Session, unit: Claimed, error: str, *, pod: bool) -> bool:
    """Retry later what failed for a reason that will be over; False if it is no longer held.

    With `pod` its store is away: the other units of the pod wait, too.
    """
    return bool(session.scalars(select(func.app.set_back_unit(unit.id, unit.token, error, pod))).one())


def end_pause(session: Session, unit: Claimed) -> None:
    """End the pause of the unit's pod, whose store answers again."""
    session.execute(select(func.app.end_pause(unit.id, unit.token)))


def release(session: Session, unit: Claimed) -> bool:
    """Release a unit as if it had not been tried; False if it is no longer held."""
    return bool(session.scalars(select(func.app.release_unit(unit.id, unit.token))).one())


def reap(session: Session) -> int:
    """Take back units whose leases lapsed, and quarantine those over which workers died; returns how many."""
    return int(session.scalars(select(func.app.reap_units(CRASHES))).one())


def cancel(session: Session, transcode_ids: Sequence[int]) -> int:
    """Cancel these transcodes and their waiting and running units; returns how many units."""
    query = """
        SELECT count(*) FROM (
            SELECT u.id FROM app.units AS u
            JOIN app.transcodes AS t ON t.id = u.transcode_id JOIN app.files AS f ON f.id = t.file_id
            WHERE t.id = ANY (CAST(:ids AS bigint[])) ORDER BY f.pod_id, f.id, u.id OFFSET 0
        ) AS chosen WHERE app.cancel_unit(chosen.id)
    """
    return int(session.scalars(text(query), {"ids": list(transcode_ids)}).one())


def _row(session: Session, query: str, unit: Claimed, amount: Any) -> Row[Any]:
    return session.execute(text(query), {"unit": unit.id, "token": unit.token, "amount": amount}).one()

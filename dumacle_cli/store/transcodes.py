"""Queries about transcodes, their units and renditions."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import BigInteger, ColumnElement, Row, Select, cast, exists, func, or_, select, text
from sqlalchemy.orm import Session, aliased, undefer

from dumacle_cli.store import paging
from dumacle_cli.store.files import Selection, conditions, one_of
from dumacle_cli.store.models import File, Pod, Rendition, Transcode, Unit, User
from dumacle_cli.store.place_columns import PLACE
from dumacle_cli.store.places import Place

LIVE = ("queued", "running", "publishing")
LIVE_OR_DONE = (*LIVE, "done")
"""A version whose latest transcode has one of these statuses is not transcoded again."""


@dataclass(frozen=True, slots=True)
class TranscodeFilter:
    """The filters of a listing; a transcode must match all of them."""

    status: str | None = None
    preset: str | None = None
    statuses: Sequence[str] = ()
    owner_id: int | None = None
    pod_id: int | None = None
    file_id: int | None = None


# Submitting

# Owners take turns: the first new transcode of an owner comes after those of this owner that wait already, else at the
# turn of the next that waits; each further one is a turn later.
_SUBMIT = text("""
    WITH wanted AS (
        SELECT v.file_id, v.id AS version_id, f.owner_id,
            row_number() OVER (PARTITION BY f.owner_id ORDER BY given.number) AS number, p.hash
        FROM unnest(CAST(:versions AS bigint[])) WITH ORDINALITY AS given (id, number)
        JOIN app.versions AS v ON v.id = given.id JOIN app.files AS f ON f.id = v.file_id
        JOIN app.presets AS p ON p.name = :preset AND p.ended_at IS NULL
        WHERE coalesce((
            SELECT t.status <> ALL (CAST(:skipped AS text[])) FROM app.transcodes AS t
            WHERE t.version_id = v.id AND t.preset = :preset ORDER BY t.id DESC LIMIT 1
        ), true)
    ), live AS (
        SELECT f.owner_id, max(t.turn) AS last, min(t.turn) FILTER (WHERE t.status = 'queued') AS next
        FROM app.transcodes AS t JOIN app.files AS f ON f.id = t.file_id
        WHERE t.status IN ('queued', 'running', 'publishing') AND t.priority = :priority GROUP BY f.owner_id
    ), made AS (
        INSERT INTO app.transcodes (file_id, version_id, preset, preset_hash, damage, priority, turn)
        SELECT file_id, version_id, :preset, hash, :damage, :priority,
            greatest(coalesce(own.last, 0), (SELECT coalesce(min(next), 1) - 1 FROM live)) + number
        FROM wanted LEFT JOIN live AS own USING (owner_id) ORDER BY version_id
        ON CONFLICT (version_id, preset) WHERE status IN ('queued', 'running', 'publishing') DO NOTHING
        RETURNING id, file_id
    ), unit AS (
        INSERT INTO app.units (transcode_id, number, kind) SELECT id, 1, 'chunk' FROM made ORDER BY id
        RETURNING id, transcode_id
    )
    SELECT unit.id AS unit_id, f.owner_id
    FROM unit JOIN made ON made.id = unit.transcode_id JOIN app.files AS f ON f.id = made.file_id
""")


def submit(
    session: Session,
    versions: Sequence[int],
    preset: str,
    skipped: Sequence[str],
    damage: str = "repair",
    priority: int = 0,
) -> Sequence[Row[Any]]:
    """Create a transcode with one unit for each version, except where the latest one has one of the `skipped` statuses.

    Owners take turns, each in the order of the versions. Returns the new units, each with the owner of its file.
    """
    given = {"versions": list(versions), "preset": preset, "skipped": list(skipped)}
    return session.execute(_SUBMIT, given | {"damage": damage, "priority": priority}).all()


_BLOCKED_USER = text("""
    SELECT u.email, u.status, quota.allowed
    FROM app.users AS u CROSS JOIN LATERAL app.quota_usage(u.id, 'transcode', now()) AS quota
    WHERE u.id = ANY (CAST(:users AS bigint[]))
        AND (u.status <> 'active' OR quota.used + quota.reserved >= quota.allowed)
    ORDER BY u.id LIMIT 1
""")


def find_blocked_user(session: Session, users: Collection[int]) -> Row[Any] | None:
    """Return one of these users who is not active or has no transcode quota left (seconds), or None."""
    return session.execute(_BLOCKED_USER, {"users": list(users)}).first()


# Reading


def _listed() -> Select[Any]:
    """Select transcodes with their paths; owner and pod are subqueries, looked up for the rows of the page only."""
    owner = select(User.email).where(User.id == File.owner_id).scalar_subquery().label("owner")
    pod = select(Pod.name).where(Pod.id == File.pod_id).scalar_subquery().label("pod")
    query = select(Transcode, File.path, owner, pod).join(File, File.id == Transcode.file_id)
    setbacks = select(func.sum(Unit.setbacks)).where(Unit.transcode_id == Transcode.id).scalar_subquery()
    query = query.add_columns(cast(func.coalesce(setbacks, 0), BigInteger).label("setbacks"))
    query = query.options(undefer(Transcode.damage), undefer(Transcode.preset_hash))
    return query.execution_options(populate_existing=True)


def _conditions(chosen: TranscodeFilter) -> list[ColumnElement[bool]]:
    filters = {
        Transcode.status: chosen.status,
        Transcode.preset: chosen.preset,
        Transcode.file_id: chosen.file_id,
        File.owner_id: chosen.owner_id,
        File.pod_id: chosen.pod_id,
    }
    found = [column == value for column, value in filters.items() if value is not None]
    return [*found, Transcode.status.in_(chosen.statuses)] if chosen.statuses else found


def page(
    session: Session, chosen: TranscodeFilter, *, descending: bool, after: str | None, limit: int
) -> paging.Page[Row[Any]]:
    """Return a page of transcodes by id, which is the order of submission."""
    query = _listed().where(*_conditions(chosen))
    found = session.execute(paging.keyset(query, [Transcode.id], after, limit, descending=descending)).all()
    return paging.page(found, limit, lambda row: [row.Transcode.id])


def ids_of(session: Session, chosen: TranscodeFilter, *, latest_only: bool) -> Sequence[int]:
    """Return the transcodes that a filter selects; `latest_only` leaves out those of earlier contents or tries."""
    query = select(Transcode.id).join(File, File.id == Transcode.file_id).where(*_conditions(chosen))
    if latest_only:
        later = aliased(Transcode)
        same = (later.version_id == Transcode.version_id) & (later.preset == Transcode.preset)
        newer = exists().where(same, later.id > Transcode.id)
        query = query.where(File.version_id == Transcode.version_id, File.deleted_at.is_(None), ~newer)
    return session.scalars(query.order_by(Transcode.id)).all()


def without(session: Session, chosen: Selection, preset: str, kinds: Sequence[str]) -> dict[int, int]:
    """Return the selected files, each with its content, that were never transcoded with a preset.

    Only those whose media type begins with one of `kinds`.
    """
    tried = exists().where(Transcode.version_id == File.version_id, Transcode.preset == preset)
    media = or_(*(File.content_type.startswith(kind) for kind in kinds))
    columns: list[Any] = [File.id, File.version_id]
    query = select(*columns).where(*conditions(chosen), File.version_id.is_not(None), media, ~tried)
    return {row[0]: row[1] for row in session.execute(query.order_by(File.id))}


def find(session: Session, ids: Sequence[int]) -> Sequence[Row[Any]]:
    """Return these transcodes by id."""
    return session.execute(_listed().where(one_of(Transcode.id, ids)).order_by(Transcode.id)).all()


def latest(session: Session, versions: Sequence[int], preset: str) -> Sequence[Row[Any]]:
    """Return the latest transcode of each of these versions with a preset, in any status."""
    ids = select(func.max(Transcode.id)).where(one_of(Transcode.version_id, versions), Transcode.preset == preset)
    ids = ids.group_by(Transcode.version_id)
    return session.execute(_listed().where(Transcode.id.in_(ids))).all()


def of_unit(session: Session, unit: int) -> int | None:
    """Return the transcode that a unit belongs to."""
    return session.scalar(select(Unit.transcode_id).where(Unit.id == unit))


def units(session: Session, transcode_id: int) -> Sequence[Unit]:
    """Return the units of a transcode by number."""
    query = (
        select(Unit)
        .where(Unit.transcode_id == transcode_id)
        .order_by(Unit.number)
        .options(undefer(Unit.setbacks), undefer(Unit.fps), undefer(Unit.progress))
    )
    return session.scalars(query).all()


def running(session: Session, ids: Sequence[int]) -> dict[int, Row[Any]]:
    """Return what works on these transcodes: the workers, their frames a second together, and since when."""
    runs, begun = Unit.status == "running", Unit.status.in_(("running", "done"))
    columns: list[Any] = [
        Unit.transcode_id,
        func.array_agg(Unit.worker.distinct()).filter(runs).label("workers"),
        func.sum(Unit.fps).filter(runs).label("fps"),
        func.min(Unit.started_at).filter(begun).label("started_at"),
    ]
    query = select(*columns).where(one_of(Unit.transcode_id, ids)).group_by(Unit.transcode_id)
    return {row.transcode_id: row for row in session.execute(query) if row.workers}


# Deletion of files


def lock_pods(session: Session, chosen: Selection) -> None:
    """Lock the pods of the selected files that have live transcodes; workers lock pods before files."""
    busy = select(File.pod_id).join(Transcode, Transcode.file_id == File.id)
    busy = busy.where(*conditions(chosen), Transcode.status.in_(LIVE))
    session.execute(select(func.app.lock_pods(func.array(busy.distinct().scalar_subquery()))))


def live(session: Session, **of: Sequence[int]) -> Sequence[int]:
    """Return the live transcodes of these files (`file_id`) or versions (`version_id`)."""
    wanted = [one_of(getattr(Transcode, name), ids) for name, ids in of.items()]
    return session.scalars(select(Transcode.id).where(*wanted, Transcode.status.in_(LIVE))).all()


# Renditions


@dataclass(frozen=True, slots=True)
class Published:
    """A rendition and its place: the keys of its objects begin with `prefix`, and players open `entry`."""

    file_id: int
    path: str
    name: str
    kind: str
    prefix: str
    entry: str
    place: Place
    pod_prefix: str
    transcode_id: int


def renditions(session: Session, of: Literal["file_id", "transcode_id"], number: int) -> Sequence[Row[Any]]:
    """Return the renditions of one file or of one transcode, each with its preset and source version."""
    columns: list[Any] = [Rendition, Transcode.preset, Transcode.version_id]
    query = select(*columns).join(Transcode, Transcode.id == Rendition.transcode_id).options(undefer(Rendition.damaged))
    return session.execute(query.where(getattr(Rendition, of) == number).order_by(Rendition.id)).all()


@dataclass(frozen=True, slots=True)
class Stored:
    """A published rendition as its row has it, and what it was made from."""

    id: int
    transcode_id: int
    file_id: int
    version_id: int
    preset: str
    preset_hash: str | None
    damage: str
    priority: int
    path: str
    name: str
    kind: str
    prefix: str
    entry: str
    size: int
    width: int | None
    height: int | None
    bitrate: int | None
    duration_ms: int | None
    rungs: list[dict[str, Any]] | None
    inventory: bytes | None
    place: Place
    pod_id: int


def stored_renditions(
    session: Session, ids: Sequence[int], chosen: TranscodeFilter, after: int, limit: int
) -> list[Stored]:
    """Return the next renditions after an id of present contents, of these transcodes or else of those of a filter."""
    made_as = (Transcode.preset, Transcode.preset_hash, Transcode.damage, Transcode.priority)
    origin = (Transcode.id, File.id, Transcode.version_id, *made_as, File.path)
    objects = (Rendition.name, Rendition.kind, Rendition.prefix, Rendition.entry, Rendition.size)
    picture = (Rendition.width, Rendition.height, Rendition.bitrate, Rendition.duration_ms, Rendition.rungs)
    columns: list[Any] = [Rendition.id, *origin, *objects, *picture, Rendition.inventory, PLACE, Pod.id]
    wanted = [one_of(Transcode.id, ids)] if ids else _conditions(chosen)
    query = (
        select(*columns)
        .join(Transcode, Transcode.id == Rendition.transcode_id)
        .join(File, (File.id == Transcode.file_id) & (File.version_id == Transcode.version_id))
        .join(Pod, Pod.id == File.pod_id)
        .where(File.deleted_at.is_(None), Rendition.id > after, *wanted)
        .order_by(Rendition.id)
        .limit(limit)
    )
    return [Stored(*row) for row in session.execute(query)]


def published(session: Session, file_id: int) -> list[Published]:
    """Return the renditions of the current version of a live file, latest first."""
    rendition = (Rendition.name, Rendition.kind, Rendition.prefix, Rendition.entry)
    columns: list[Any] = [File.id, File.path, *rendition, PLACE, Pod.prefix, Rendition.transcode_id]
    query = (
        select(*columns)
        .join(Transcode, (Transcode.file_id == File.id) & (Transcode.version_id == File.version_id))
        .join(Rendition, Rendition.transcode_id == Transcode.id)
        .join(Pod, Pod.id == File.pod_id)
        .where(File.id == file_id, File.deleted_at.is_(None))
        .order_by(Rendition.id.desc())
    )
    return [Published(*row) for row in session.execute(query)]

"""Transcodes: one version of a file through one preset; submitting it again returns the same one."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any, Literal, get_args

from sqlalchemy import Row
from sqlalchemy.orm import Session

from dumacle_cli.errors import Conflict, NotFound, QuotaExceeded, UsageError, UserDisabled
from dumacle_cli.ids import parse_id
from dumacle_cli.services import files, pods, presets, renditions, users
from dumacle_cli.services.definitions import Codec
from dumacle_cli.services.transcode_request import TranscodeRequest
from dumacle_cli.store import files as files_store
from dumacle_cli.store import models, paging, queue, work_units
from dumacle_cli.store import transcodes as store
from dumacle_cli.store.files import Selection
from dumacle_cli.store.transcodes import TranscodeFilter
from dumacle_cli.units import Seconds, show_duration

TranscodeStatus = Literal["queued", "running", "publishing", "done", "failed", "cancelled", "quarantined"]
Damage = Literal["refuse", "repair"]


@dataclass(frozen=True, slots=True)
class Transcode:
    """One version of a file through one preset; progress in percent, `seconds` are those charged to the owner.

    `attempts` are those that failed for a reason that may be in the media, and the present one; `setbacks` counts what
    ended for another reason, such as a store that is away: those are repeated without end. `damage` says whether a
    damaged source is refused or repaired. `preset_hash` names the version of the preset; the present one without it.
    """

    id: int
    file: int
    owner: str
    pod: str
    path: str
    version: int
    preset: str
    preset_hash: str | None
    status: str
    progress: int
    damage: str
    priority: int
    attempts: int
    setbacks: int
    seconds: Seconds | None
    error: str | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None

    @property
    def is_live(self) -> bool:
        """Whether it is queued or in progress."""
        return self.status in store.LIVE


@dataclass(frozen=True, slots=True)
class Unit:
    """A part of a transcode; a worker holds it until `lease_until`, or it is not tried again before that.

    It is a chunk of the pictures, the sound (`audio`), what puts them together (`finalize`), or the `whole` film, which
    the first chunk is as well if the film is not divided.
    """

    id: int
    number: int
    kind: str
    status: str
    progress: int
    attempt: int
    crashes: int
    setbacks: int
    worker: str | None
    fps: float | None
    lease_until: datetime | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Rung:
    """One picture size of a ladder; bitrate in bits a second."""

    name: str
    width: int
    height: int
    bitrate: int
    frames: int


@dataclass(frozen=True, slots=True)
class Detail(Transcode):
    """A transcode with its units and renditions."""

    units: list[Unit]
    renditions: list[renditions.Rendition]
    rungs: list[Rung]


@dataclass(frozen=True, slots=True)
class Reaped:
    """How many units were taken back from silent workers, and how many jobs were added again."""

    returned: int
    woken: int


def view(row: Row[Any]) -> Transcode:
    """Convert a row with the file's path and the names of owner and pod to what commands show."""
    made: models.Transcode = row.Transcode
    return Transcode(
        id=made.id,
        file=made.file_id,
        owner=row.owner,
        pod=row.pod,
        path=row.path,
        version=made.version_id,
        preset=made.preset,
        preset_hash=made.preset_hash,
        status=made.status,
        progress=made.progress,
        damage=made.damage,
        priority=made.priority,
        attempts=made.attempts,
        setbacks=row.setbacks,
        seconds=made.seconds,
        error=made.error,
        created_at=made.created_at,
        started_at=made.started_at,
        ended_at=made.ended_at,
    )


# Submitting


def request(session: Session, preset: str) -> TranscodeRequest:
    """Return the request for this preset of whatever it takes; raises NotFound."""
    needs = presets.get(session, preset).requires_video
    return TranscodeRequest(preset, ("video/",) if needs else ("video/", "audio/"))


def submit(
    session: Session,
    names: Iterable[str],
    preset: str,
    damage: Damage = "repair",
    *,
    owner: str = "",
    pod: str = "",
    priority: int = 0,
) -> tuple[list[Transcode], bool]:
    """Submit the present contents of files, and return the transcode of each; damaged ones are repaired or refused.

    One that is in progress, done or quarantined is returned; one that failed or was cancelled is submitted again.
    Raises NotFound, UsageError, Conflict if a file has no content, UserDisabled, QuotaExceeded.
    """
    presets.get(session, preset)
    contents = _contents(session, [files.find(session, name, owner=owner, pod=pod) for name in names])
    return submit_versions(session, contents.values(), preset, (*store.LIVE_OR_DONE, "quarantined"), damage, priority)


def _contents(session: Session, file_ids: Sequence[int]) -> dict[int, int]:
    """Lock these files against deletion and moves, and return their present contents; raises Conflict."""
    files_store.lock(session, Selection(ids=tuple(file_ids)), None)
    return _present(session, file_ids)


def _present(session: Session, file_ids: Sequence[int]) -> dict[int, int]:
    found = {each.file_id: each.version_id for each in files_store.contents(session, file_ids)}
    for file_id in file_ids:
        if file_id not in found:
            reason = f"file {file_id} is deleted, or its upload never ended"
            raise Conflict(reason=reason, advice=f"dumacle files show {file_id}")
    return {file_id: found[file_id] for file_id in file_ids}


def submit_versions(
    session: Session, versions: Collection[int], preset: str, reused: Sequence[str], damage: str, priority: int
) -> tuple[list[Transcode], bool]:
    """Submit contents whose latest transcode has none of these statuses, and return the latest of each."""
    made = store.submit(session, list(versions), preset, reused, damage, priority)
    check_owners(session, {row.owner_id for row in made})
    queue.wake_transcode(session, [row.unit_id for row in made])
    found = {row.Transcode.version_id: view(row) for row in store.latest(session, list(versions), preset)}
    return [found[version] for version in versions], bool(made)


def check_owners(session: Session, user_ids: Collection[int]) -> None:
    """Check that users may transcode; raises UserDisabled, or QuotaExceeded if no second is left."""
    row = store.find_blocked_user(session, user_ids)
    if row is None:
        return
    if row.status != "active":
        raise UserDisabled(user=row.email)
    limit = show_duration(row.allowed)
    raise QuotaExceeded(metric="transcode", user=row.email, left="0s", limit=limit, wanted="at least 1s")


def arrived(session: Session, versions: Sequence[int], preset: str) -> None:
    """Submit new contents."""
    made = store.submit(session, versions, preset, store.LIVE_OR_DONE)
    queue.wake_transcode(session, [row.unit_id for row in made])


def to_plan(session: Session, names: Iterable[str], *, owner: str = "", pod: str = "", prefix: str = "") -> Selection:
    """Return the selection of the named files, or of all that match the filters.

    Raises NotFound, UsageError for neither or both, Conflict if a named file has no content.
    """
    if named := list(names):
        if prefix:
            raise UsageError("name FILES, or give --prefix", "dumacle transcode plan")
        ids = [files.find(session, name, owner=owner, pod=pod) for name in named]
        return Selection(ids=tuple(_present(session, ids)))
    if not (owner or pod or prefix):
        raise UsageError("name FILES, or give at least one filter", "dumacle transcode plan")
    return files.select(session, owner=owner, pod=pod, prefix=prefix)


# Looking


def choose(
    session: Session,
    *,
    status: TranscodeStatus | None = None,
    preset: str | None = None,
    owner: str = "",
    pod: str = "",
    file: str = "",
) -> TranscodeFilter:
    """Return the filter of a listing; raises NotFound, UsageError for a path without an owner."""
    return TranscodeFilter(
        status=status,
        preset=preset,
        owner_id=users.get(session, owner).id if owner else None,
        pod_id=pods.get(session, pod).id if pod else None,
        file_id=files.find(session, file, owner=owner, pod=pod) if file else None,
    )


def list_(
    session: Session, chosen: TranscodeFilter, *, descending: bool, after: str | None, limit: int
) -> paging.Page[Transcode]:
    """Return a page of transcodes in the order of submission, or descending."""
    found = store.page(session, chosen, descending=descending, after=after, limit=limit)
    return paging.Page([view(row) for row in found.items], found.after)


def parse_ids(typed: Sequence[str]) -> list[int]:
    """Return the ids of transcodes as they were typed; raises NotFound."""
    ids = []
    for each in typed:
        if (transcode_id := parse_id(each)) is None:
            raise NotFound("transcode", each)
        ids.append(transcode_id)
    return ids


def get(session: Session, ids: Sequence[int]) -> list[Transcode]:
    """Return these transcodes in this order, each once; raises NotFound."""
    found = {row.Transcode.id: view(row) for row in store.find(session, ids)}
    for missing in (each for each in ids if each not in found):
        raise NotFound("transcode", missing)
    return [found[each] for each in dict.fromkeys(ids)]


def show(session: Session, transcode_id: int) -> Detail:
    """Return a transcode with its units and renditions; raises NotFound."""
    [found] = get(session, [transcode_id])
    made, rungs = renditions.of_transcode(session, transcode_id)
    return Detail(
        **asdict(found),
        units=[_unit(unit) for unit in store.units(session, transcode_id)],
        renditions=made,
        rungs=[Rung(**{field.name: rung[field.name] for field in fields(Rung)}) for rung in rungs],
    )


def _unit(unit: models.Unit) -> Unit:
    return Unit(**{field.name: getattr(unit, field.name) for field in fields(Unit)})


# Changing


def cancel(session: Session, ids: Sequence[int]) -> tuple[list[Transcode], bool]:
    """Cancel transcodes that have not ended; their workers stop by themselves. Raises NotFound."""
    get(session, ids)
    ended = work_units.cancel(session, ids)
    return get(session, ids), bool(ended)


def retry(session: Session, ids: Sequence[int]) -> tuple[list[Transcode], bool]:
    """Retry transcodes that failed, were cancelled or quarantined; each retry is a new transcode.

    One that is already in progress or done is returned. Raises NotFound, UserDisabled, QuotaExceeded,
    and Conflict if the file has another content now, or none.
    """
    asked = get(session, ids)
    _check_current(session, asked)
    wanted: dict[tuple[str, str, int], list[int]] = {}
    for each in asked:
        wanted.setdefault((each.preset, each.damage, each.priority), []).append(each.version)
    found: dict[tuple[int, str], Transcode] = {}
    changes = []
    for (preset, damage, priority), versions in wanted.items():
        presets.get(session, preset)
        latest, changed = submit_versions(session, versions, preset, store.LIVE_OR_DONE, damage, priority)
        found.update(((each.version, preset), each) for each in latest)
        changes.append(changed)
    return [found[each.version, each.preset] for each in asked], any(changes)


def _check_current(session: Session, asked: Sequence[Transcode]) -> None:
    present = _contents(session, [each.file for each in asked])
    for each in asked:
        if present[each.file] != each.version:
            reason = f"transcode {each.id} is of a content that file {each.file} had before"
            raise Conflict(reason=reason, advice=f"dumacle transcode submit {each.file} --preset {each.preset}")


def reap(session: Session) -> tuple[Reaped, bool]:
    """Take units back from silent workers, and wake workers for all waiting units without a job."""
    queue.forget_dead(session)
    done = Reaped(returned=work_units.reap(session), woken=queue.wake_waiting_units(session, get_args(Codec)))
    return done, done != Reaped(0, 0)

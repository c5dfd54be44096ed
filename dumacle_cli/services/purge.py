"""Purging: the bytes of deleted files and of old contents go for good, and their storage is free again.

What goes is marked and committed first and what is being made of it is cancelled, then its bytes are deleted at the
store outside of any transaction, with all that was made of it, then its rows: a purge that is killed anywhere is
finished by the next one. It lives longer than a transaction.
"""

from collections.abc import Callable, Iterable
from dataclasses import astuple, dataclass, replace
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING

from dumacle_cli.errors import (
    DumacleError,
    ForeignObject,
    NoKeys,
    NotConfigured,
    ObjectMissing,
    StoreRefused,
    StoreUnavailable,
    TooMany,
    UploadLost,
)
from dumacle_cli.services import placement
from dumacle_cli.store import purge as store
from dumacle_cli.store import transcodes, work_units
from dumacle_cli.store.files import Selection
from dumacle_cli.store.places import Place
from dumacle_cli.units import Bytes

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dumacle_cli.clients.object_store import ObjectStore
    from dumacle_cli.store.database import Database

    Stores = Callable[[Place], ObjectStore]

BATCH = 1000


@dataclass(frozen=True, slots=True)
class Purged:
    """What went for good: deleted files, all contents, their renditions, and the bytes that are free again."""

    files: int
    versions: int
    renditions: int
    bytes: Bytes


NOTHING = Purged(0, 0, 0, 0)


def plan(
    session: "Session",
    *,
    owner_id: int | None = None,
    pod_id: int | None = None,
    prefix: str = "",
    ids: tuple[int, ...] | None = None,
    before: datetime | None = None,
    maximum: int | None = None,
) -> Purged:
    """Return what a purge would take now; raises TooMany where that is more than `maximum` files and old contents."""
    return _plan(session, Selection(ids, owner_id, pod_id, prefix, before=before), maximum)


def _plan(session: "Session", chosen: Selection, maximum: int | None) -> Purged:
    found = store.extent(session, chosen)
    if maximum is not None and found.files + found.old > maximum:
        raise TooMany(count=found.files + found.old, noun="file", maximum=maximum)
    return Purged(found.files, found.versions, found.renditions, found.bytes)


def run(
    database: "Database",
    stores: "Stores",
    *,
    owner_id: int | None = None,
    pod_id: int | None = None,
    prefix: str = "",
    ids: tuple[int, ...] | None = None,
    before: datetime | None = None,
    maximum: int | None = None,
) -> Purged:
    """Purge files that were deleted before an instant, and contents that were superseded or failed before it.

    Takes only those of an owner, in a pod, whose path begins so, or with these ids, where given, and always finishes
    what another purge left half done.
    A store that fails keeps its part marked, as does a content whose key is not one that the program makes for its pod;
    the error of either is raised when the rest is done. Raises TooMany.
    """
    chosen = Selection(ids, owner_id, pod_id, prefix, before=before)
    if maximum is not None:
        with database.session(read_only=True) as session:
            _plan(session, chosen, maximum)
    failed: dict[Place | int, DumacleError] = {}
    done = _finish(database, stores, failed)
    while _mark(database, chosen):
        done = _sum(done, _finish(database, stores, failed))
    for error in failed.values():
        raise error
    return done


def _mark(database: "Database", chosen: Selection) -> bool:
    with database.session() as session:
        return store.mark_files(session, chosen, BATCH) or store.mark_leftovers(session, chosen, BATCH)


def _finish(database: "Database", stores: "Stores", failed: dict[Place | int, DumacleError]) -> Purged:
    """Delete the bytes and then the rows of all that is marked, but at stores that failed; only what is the pod's."""
    done, after = NOTHING, 0
    while found := _doomed(database, failed, after):
        after = found[-1].version_id
        _cancel(database, [content.version_id for content in found if content.transcodes])
        erased = _erase(stores, found, failed)
        with database.session() as session:
            gone = store.remove_versions(session, [content.version_id for content in erased])
        done = _sum(done, Purged(0, gone.versions, gone.renditions, gone.bytes))
    while files := _remove_files(database):
        done = _sum(done, replace(NOTHING, files=files))
    return done


def _doomed(database: "Database", failed: Iterable[Place | int], after: int) -> list[store.Doomed]:
    with database.session(read_only=True) as session:
        return store.doomed(session, BATCH, [place for place in failed if isinstance(place, Place)], after)


def _cancel(database: "Database", version_ids: list[int]) -> None:
    """End what is being made of these contents, so that workers stop and add no objects."""
    if version_ids:
        with database.session() as session:
            work_units.cancel(session, transcodes.live(session, version_id=version_ids))


def _remove_files(database: "Database") -> int:
    with database.session() as session:
        return store.remove_files(session, BATCH)


def _erase(stores: "Stores", found: list[store.Doomed], failed: dict[Place | int, DumacleError]) -> list[store.Doomed]:
    """Delete the bytes of these contents that are their pod's; returns those whose store did so."""
    erased: list[store.Doomed] = []
    for content in found:
        if not content.is_own:
            failed[content.version_id] = ForeignObject(what=f"content {content.version_id}", key=content.key)
    own = (content for content in found if content.is_own)
    for place, group in groupby(sorted(own, key=_where), attrgetter("place")):
        contents = list(group)
        try:
            _erase_at(stores(place), contents)
            erased += contents
        except (StoreUnavailable, StoreRefused, NotConfigured, NoKeys) as error:
            failed[place] = error
    return erased


def _where(content: store.Doomed) -> tuple[str, str, int]:
    return content.place.provider, content.place.bucket, content.place.pod_id or 0


def _erase_at(objects: "ObjectStore", contents: list[store.Doomed]) -> None:
    for content in contents:
        if content.upload_id:
            _abort(objects, content.key, content.upload_id)
    objects.delete(content.key for content in contents)
    for folder in sorted({folder for content in contents for folder in _folders(content)}):
        objects.delete(entry.key for entry in objects.list(folder))


def _folders(content: store.Doomed) -> list[str]:
    """Return where all attempts at its transcodes put their outputs, the published ones and what killed workers left.

    Of a file that goes as a whole that is one folder.
    """
    if content.whole and content.transcodes:
        return [placement.renditions(content.prefix, content.file_id)]
    return [placement.renditions(content.prefix, content.file_id, transcode) for transcode in content.transcodes]


def _abort(objects: "ObjectStore", key: str, upload_id: str) -> None:
    try:
        objects.abort_multipart(key, upload_id)
    except (UploadLost, ObjectMissing):
        return  # It was completed, or the store forgot it: either way no part is left.


def _sum(one: Purged, other: Purged) -> Purged:
    return Purged(*(sum(pair) for pair in zip(astuple(one), astuple(other), strict=True)))

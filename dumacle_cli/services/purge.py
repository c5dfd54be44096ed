"""Purging: permanently remove deleted files and old versions, and free the storage that they use.

First mark what is to be removed, commit, and cancel its transcodes; then delete the objects outside of any
transaction; then delete the rows. If a purge is killed at any point, the next one finishes it. A purge spans several
transactions.
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
    """What was permanently removed: files, versions, renditions, and bytes freed.

    `skipped` counts the files and old versions that another transaction had locked.
    """

    files: int
    versions: int
    renditions: int
    bytes: Bytes
    skipped: int = 0


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
    """Return what a purge would remove now; raises TooMany for more than `maximum` files and old versions."""
    return _plan(session, Selection(ids, owner_id, pod_id, prefix, before=before), maximum)


def _plan(session: "Session", chosen: Selection, maximum: int | None) -> Purged:
    found = store.totals(session, chosen)
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
    """Purge files deleted before an instant, and versions that were superseded or failed before it.

    The other arguments filter by owner, pod, path prefix or id. Unfinished work of an earlier purge is always finished.
    Files that another transaction has locked are skipped and counted. If a store fails, its versions stay marked; so
    does a version whose key Dumacle did not make for its pod. These errors are raised at the end. Raises TooMany.
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
    with database.session(read_only=True) as session:
        return replace(done, skipped=store.remaining(session, chosen))


def remove_failed(database: "Database", stores: "Stores") -> tuple[Purged, dict[Place | int, DumacleError]]:
    """Remove what failed uploads left behind and finish the work of earlier purges.

    Also returns the error of each bucket that could not be reached, and of each version whose key Dumacle did not make.
    """
    failed: dict[Place | int, DumacleError] = {}
    done = _finish(database, stores, failed)
    while _mark_failed(database):
        done = _sum(done, _finish(database, stores, failed))
    return done, failed


def _mark_failed(database: "Database") -> bool:
    with database.session() as session:
        return store.mark_failed_versions(session, BATCH)


def _mark(database: "Database", chosen: Selection) -> bool:
    with database.session() as session:
        return store.mark_files(session, chosen, BATCH) or store.mark_old_versions(session, chosen, BATCH)


def _finish(database: "Database", stores: "Stores", failed: dict[Place | int, DumacleError]) -> Purged:
    """Delete the objects and then the rows of everything that is marked, except in buckets that failed."""
    done, after = NOTHING, 0
    while found := _marked(database, failed, after):
        after = found[-1].version_id
        _cancel_transcodes(database, [version.version_id for version in found if version.transcodes])
        deleted = _delete_objects(stores, found, failed)
        with database.session() as session:
            gone = store.remove_versions(session, [version.version_id for version in deleted])
        done = _sum(done, Purged(0, gone.versions, gone.renditions, gone.bytes))
    while files := _remove_files(database):
        done = _sum(done, replace(NOTHING, files=files))
    return done


def _marked(database: "Database", failed: Iterable[Place | int], after: int) -> list[store.MarkedVersion]:
    with database.session(read_only=True) as session:
        return store.marked(session, BATCH, [each for each in failed if isinstance(each, Place)], after)


def _cancel_transcodes(database: "Database", version_ids: list[int]) -> None:
    """Cancel the transcodes of these versions, so that workers stop adding objects."""
    if version_ids:
        with database.session() as session:
            work_units.cancel(session, transcodes.live(session, version_id=version_ids))


def _remove_files(database: "Database") -> int:
    with database.session() as session:
        return store.remove_files(session, BATCH)


def _delete_objects(
    stores: "Stores", found: list[store.MarkedVersion], failed: dict[Place | int, DumacleError]
) -> list[store.MarkedVersion]:
    """Delete the objects of these versions, bucket by bucket; returns the versions for which that succeeded."""
    left: set[int] = set()
    for version in found:
        if not version.is_own:
            failed[version.version_id] = ForeignObject(what=f"content {version.version_id}", key=version.key)
    own = [version for version in found if version.is_own]
    everywhere = (each for version in own for each in version.everywhere())
    for place, group in groupby(sorted(everywhere, key=_bucket_order), attrgetter("place")):
        versions = list(group)
        try:
            if place not in failed:
                _delete_in_bucket(stores(place), versions)
        except (StoreUnavailable, StoreRefused, NotConfigured, NoKeys) as error:
            failed[place] = error
        if place in failed:
            left |= {version.version_id for version in versions}
    return [version for version in own if version.version_id not in left]


def _bucket_order(version: store.MarkedVersion) -> tuple[str, str, int]:
    return version.place.provider, version.place.bucket, version.place.pod_id or 0


def _delete_in_bucket(objects: "ObjectStore", versions: list[store.MarkedVersion]) -> None:
    for version in versions:
        if version.upload_id:
            _abort(objects, version.key, version.upload_id)
    objects.delete(version.key for version in versions if not version.shared)
    for folder in sorted({folder for version in versions for folder in _rendition_folders(version)}):
        objects.delete(entry.key for entry in objects.list(folder))


def _rendition_folders(version: store.MarkedVersion) -> list[str]:
    """Return the folders with all outputs of its transcodes, including those that killed workers left behind.

    If the whole file is removed, that is one folder.
    """
    if version.whole_file and version.transcodes:
        return [placement.renditions(version.prefix, version.file_id)]
    return [placement.renditions(version.prefix, version.file_id, transcode) for transcode in version.transcodes]


def _abort(objects: "ObjectStore", key: str, upload_id: str) -> None:
    try:
        objects.abort_multipart(key, upload_id)
    except (UploadLost, ObjectMissing):
        return  # It was completed, or the store lost it: no parts are left either way.


def _sum(one: Purged, other: Purged) -> Purged:
    return Purged(*(sum(pair) for pair in zip(astuple(one), astuple(other), strict=True)))

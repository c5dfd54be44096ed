"""Reaping: end what uploads and transcodes left behind. It spans several transactions; a repeat finishes it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING

from dumacle_cli.errors import (
    DumacleError,
    NoKeys,
    NotConfigured,
    ObjectMissing,
    StoreRefused,
    StoreUnavailable,
    UploadLost,
)
from dumacle_cli.services import leftovers, purge
from dumacle_cli.store import places, pods, quotas, runs, uploads
from dumacle_cli.store import purge as purge_store
from dumacle_cli.store.places import Place

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dumacle_cli.clients.object_store import ObjectStore
    from dumacle_cli.clients.objects import Unfinished
    from dumacle_cli.store.database import Database

    Stores = Callable[[Place], ObjectStore]

BATCH = 1000
STRAY_SECONDS = 3600
"""The least age of a multipart upload without a row: its process may be about to write the row."""


@dataclass(frozen=True, slots=True)
class Reaped:
    """What was ended: expired leases, runs without a process, attempts to upload, and what lay in the stores.

    `objects` counts the contents of failed uploads that were removed, with their parts, `uploads` the multipart uploads
    without a row that were aborted, `outputs` the attempts to transcode whose unpublished objects were removed, and
    `stores` the buckets that could not be reached.
    """

    leases: int
    runs: int
    attempts: int
    objects: int
    uploads: int
    outputs: int
    stores: int


NOTHING = Reaped(0, 0, 0, 0, 0, 0, 0)


def plan(session: "Session", keep_seconds: float) -> Reaped:
    """Return what a reaping would end now, without asking the stores; the caller rolls this back."""
    leases, closed = quotas.reap_leases(session), runs.close_silent(session)
    attempts = 0
    while ended := uploads.end_dead_attempts(session, keep_seconds, BATCH):
        attempts += ended
    return Reaped(leases, closed, attempts, purge_store.count_failed_versions(session), 0, 0, 0)


def run(database: "Database", stores: "Stores", keep_seconds: float) -> tuple[Reaped, list[DumacleError]]:
    """End what nobody repeated; also returns the errors of the stores that could not be reached.

    Attempts whose lease is closed are given up at once; uploads in parts once they are older than `keep_seconds`.
    """
    with database.session() as session:
        leases, closed = quotas.reap_leases(session), runs.close_silent(session)
    attempts = sum(_end_attempts(database, keep_seconds))
    removed, failed = purge.remove_failed(database, stores)
    aborted, unlisted = _abort_strays(database, stores, max(keep_seconds, STRAY_SECONDS))
    outputs, unswept = leftovers.remove(database, stores)
    away = failed | unlisted | unswept
    return Reaped(leases, closed, attempts, removed.versions, aborted, outputs, len(away)), list(away.values())


def _end_attempts(database: "Database", keep_seconds: float) -> Iterator[int]:
    ended = 1
    while ended:
        with database.session() as session:
            ended = uploads.end_dead_attempts(session, keep_seconds, BATCH)
        yield ended


def _abort_strays(database: "Database", stores: "Stores", age: float) -> tuple[int, dict[Place | int, DumacleError]]:
    """Abort the multipart uploads in the pods' folders that no row names and that are older than `age` (seconds)."""
    with database.session(read_only=True) as session:
        folders = pods.folders(session)
    before = datetime.now(UTC) - timedelta(seconds=age)
    aborted, failed = 0, dict[Place | int, DumacleError]()
    for place, prefix in folders:
        if place in failed:
            continue
        try:
            aborted += _abort_in_folder(database, stores(place), prefix, before)
        except (StoreUnavailable, StoreRefused, ObjectMissing, NotConfigured, NoKeys) as error:
            failed[place] = error
    return aborted, failed


def _abort_in_folder(database: "Database", objects: "ObjectStore", prefix: str, before: datetime) -> int:
    found = objects.unfinished(places.folder(prefix))
    old = (upload for upload in found if upload.started < before and places.is_own(prefix, upload.key))
    aborted = 0
    try:
        while batch := list(islice(old, BATCH)):
            aborted += _abort_unnamed(database, objects, batch)
    except UploadLost:
        return aborted  # The server of rclone says so if a bucket has none.
    return aborted


def _abort_unnamed(database: "Database", objects: "ObjectStore", found: "list[Unfinished]") -> int:
    with database.session(read_only=True) as session:
        named = uploads.under_way(session, [upload.key for upload in found])
    strays = [upload for upload in found if (upload.key, upload.upload_id) not in named]
    for stray in strays:
        try:
            objects.abort_multipart(stray.key, stray.upload_id)
        except (UploadLost, ObjectMissing):
            continue  # It has ended meanwhile.
    return len(strays)

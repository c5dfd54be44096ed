"""Leftovers of transcodes: remove the objects of attempts that published nothing. It spans several transactions."""

from collections.abc import Callable, Iterator
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
from dumacle_cli.services import placement
from dumacle_cli.store import copies
from dumacle_cli.store import leftovers as store
from dumacle_cli.store.leftovers import Suspect
from dumacle_cli.store.places import Place

if TYPE_CHECKING:
    from dumacle_cli.clients.object_store import ObjectStore
    from dumacle_cli.store.database import Database

    Stores = Callable[[Place], ObjectStore]

BATCH = 500
DAYS = 7
"""For so long after its end a transcode is looked at, so that some days without a sweep do no harm."""


def remove(database: "Database", stores: "Stores") -> tuple[int, dict[Place | int, DumacleError]]:
    """Remove them, and return of how many attempts, and the errors of the buckets that could not be reached."""
    removed, failed = 0, dict[Place | int, DumacleError]()
    for suspect, place in _suspects(database):
        if place in failed:
            continue
        try:
            removed += _remove(database, stores(place), suspect)
        except (StoreUnavailable, StoreRefused, ObjectMissing, NotConfigured, NoKeys) as error:
            failed[place] = error
    return removed, failed


def _suspects(database: "Database") -> Iterator[tuple[Suspect, Place]]:
    """Yield each suspect with every place of its pod."""
    after = 0
    while True:
        with database.session(read_only=True) as session:
            found = store.suspects(session, DAYS, after, BATCH)
            second = copies.second_places(session, [each.version_id for each in found])
        for each in found:
            yield each, each.place
            if each.version_id in second:
                yield each, second[each.version_id]
        if len(found) < BATCH:
            return
        after = found[-1].transcode_id


def _remove(database: "Database", objects: "ObjectStore", suspect: Suspect) -> int:
    prefix = placement.renditions(suspect.pod_prefix, suspect.file_id, suspect.transcode_id)

    def attempt(key: str) -> str:
        return key.removeprefix(prefix).partition("/")[0]

    keys = [entry.key for entry in objects.list(prefix)]
    uploads = _unfinished(objects, prefix)
    if not keys and not uploads:
        return 0
    # Afterwards: an attempt that began before its objects were listed is known by now.
    with database.session(read_only=True) as session:
        kept = store.kept(session, suspect.transcode_id)
    for key, upload_id in uploads:
        if attempt(key) not in kept:
            _abort(objects, key, upload_id)
    left = [key for key in keys if attempt(key) not in kept]
    objects.delete(left)
    return len({attempt(key) for key in (*left, *(key for key, _ in uploads))} - kept)


def _unfinished(objects: "ObjectStore", prefix: str) -> list[tuple[str, str]]:
    try:
        return [(upload.key, upload.upload_id) for upload in objects.unfinished(prefix)]
    except UploadLost:
        return []  # The server of rclone says so if a bucket has none.


def _abort(objects: "ObjectStore", key: str, upload_id: str) -> None:
    try:
        objects.abort_multipart(key, upload_id)
    except (UploadLost, ObjectMissing):
        return  # It has ended meanwhile.

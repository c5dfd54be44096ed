"""How direct uploads end: confirmed, once their bytes are proven, or aborted; each spans several transactions."""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dumacle_cli.errors import (
    Conflict,
    ContentDiffers,
    DumacleError,
    ObjectMissing,
    StoreFault,
    UploadDiffers,
    UploadLost,
)
from dumacle_cli.services import transcodes
from dumacle_cli.services.direct import refused
from dumacle_cli.services.direct_links import (
    OPEN,
    count,
    ended,
    initiate_again,
    latest,
    not_started,
    size_of,
    stored_parts,
)
from dumacle_cli.services.transcode_request import TranscodeRequest
from dumacle_cli.store import direct as store
from dumacle_cli.store import uploads
from dumacle_cli.store.direct import Upload
from dumacle_cli.units import Bytes

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dumacle_cli.clients.object_store import ObjectStore
    from dumacle_cli.clients.objects import Part
    from dumacle_cli.store.database import Database
    from dumacle_cli.store.operations import Request
    from dumacle_cli.store.places import Place

    Stores = Callable[[Place], ObjectStore]


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A file whose bytes were read back from the store and verified."""

    id: int
    path: str
    owner: str
    pod: str
    size: Bytes
    content_type: str
    sha256: str | None
    key: str
    status: str


@dataclass(frozen=True, slots=True)
class Aborted:
    """A direct upload that was aborted; `released` are the bytes that it had reserved."""

    id: int
    path: str
    released: Bytes


def confirm(
    database: "Database",
    stores: "Stores",
    request: "Request",
    file_id: int,
    sha256: bytes | None,
    transcode: TranscodeRequest | None,
    *,
    dry_run: bool,
) -> tuple[Confirmed, bool]:
    """Complete an upload, read its bytes back, and make them the content of the file; a repeat changes nothing.

    A reservation that ran out is made again. Wrong bytes are removed, and what was reserved is released. Raises
    NotFound, UploadDiffers, PodFull, QuotaExceeded, and Conflict if parts are missing or the upload ended.
    """
    upload = latest(database, file_id)
    if upload.status in ("stored", "superseded"):
        if sha256 and sha256 != upload.sha256:
            raise ContentDiffers(path=upload.path)
        return _confirmed(upload, upload.sha256), False
    _check_open(upload, sha256)
    wanted = sha256 or upload.sha256
    objects = stores(upload.place)
    parts = _complete_parts(database, objects, upload)
    if dry_run:
        return _confirmed(upload, wanted), True
    if parts is not None:
        with database.session() as session:
            _check_open(store.lock(session, upload), sha256)
            store.complete(session, upload)
        _complete(objects, upload, parts)
    facts = _read_back(database, objects, upload, wanted)
    done = database.change(request, lambda session: _record(session, upload, facts, transcode))
    return _confirmed(upload, facts["sha256"]), done.changed


def _check_open(upload: Upload, sha256: bytes | None) -> None:
    if upload.status not in OPEN or upload.deleted:
        raise ended(upload)
    if upload.upload_id is None:
        raise not_started(upload)
    if sha256 and upload.sha256 and sha256 != upload.sha256:
        reason = f"{upload.path} was announced with the SHA-256 {upload.sha256.hex()}"
        raise Conflict(reason=reason, advice=f"confirm without --sha256, or: dumacle files abort {upload.file_id}")


def _confirmed(upload: Upload, sha256: bytes | None) -> Confirmed:
    return Confirmed(
        id=upload.file_id,
        path=upload.path,
        owner=upload.owner,
        pod=upload.pod,
        size=upload.size,
        content_type=upload.content_type,
        sha256=sha256.hex() if sha256 else None,
        key=upload.key,
        status="uploaded",
    )


def _complete_parts(database: "Database", objects: "ObjectStore", upload: Upload) -> "list[Part] | None":
    """Return all parts, or None if an earlier confirm completed the upload; raises Conflict, UploadDiffers."""
    try:
        stored = stored_parts(objects, upload)
    except UploadLost:
        if upload.status == "completing":
            return None
        reason = f"the store no longer has the upload of {upload.path}"
        advice = f"dumacle files abort {upload.file_id}, then {initiate_again(upload)}"
        raise Conflict(reason=reason, advice=advice) from None
    wrong = [part for part in stored.values() if part.size != _expected(upload, part.number)]
    if wrong:
        part = wrong[0]
        reason = f"part {part.number} has {part.size} bytes instead of {_expected(upload, part.number)}"
        raise _wrong(database, objects, upload, reason)
    total = count(upload)
    if len(stored) < total:
        missing = next(number for number in range(1, total + 1) if number not in stored)
        reason = f"{len(stored)} of {total} parts of {upload.path} are stored; part {missing} is missing"
        raise Conflict(reason=reason, advice=f"send the rest: dumacle files sign-parts {upload.file_id}")
    return list(stored.values())


def _expected(upload: Upload, number: int) -> int:
    return size_of(upload, number) if number <= count(upload) else 0


def _complete(objects: "ObjectStore", upload: Upload, parts: "list[Part]") -> None:
    try:
        objects.complete_multipart(upload.key, upload.upload_id or "", parts)
    except UploadLost:
        return  # Another confirm completed it, or the answer to this one was lost: reading it back shows.


def _read_back(database: "Database", objects: "ObjectStore", upload: Upload, wanted: bytes | None) -> dict[str, Any]:
    """Hash the object, and return what was proven; removes it and raises UploadDiffers if it is not as announced."""
    try:
        head = objects.head(upload.key)
        size, sha256, md5 = _hashes(objects, upload)
    except ObjectMissing:
        raise _not_completed(objects, upload) from None
    if size != upload.size:
        raise _wrong(database, objects, upload, f"{size} bytes instead of {upload.size}")
    if wanted and sha256 != wanted:
        raise _wrong(database, objects, upload, f"SHA-256 {sha256.hex()} instead of {wanted.hex()}")
    if upload.md5 and md5 != upload.md5:
        raise _wrong(database, objects, upload, f"MD5 {md5.hex()} instead of {upload.md5.hex()}")
    return {"sha256": sha256, "md5": md5, "etag": head.etag}


def _not_completed(objects: "ObjectStore", upload: Upload) -> Conflict:
    """Return why there is no object: parts were replaced after they were listed, or the store lost the upload."""
    try:
        stored_parts(objects, upload)
    except UploadLost:
        reason = f"the store lost the upload of {upload.path}"
        return Conflict(reason=reason, advice=f"dumacle files abort {upload.file_id}")
    reason = f"the client sent parts of {upload.path} again while they were confirmed"
    return Conflict(reason=reason, advice=f"when all are sent: dumacle files confirm {upload.file_id}")


def _hashes(objects: "ObjectStore", upload: Upload) -> tuple[int, bytes, bytes]:
    sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    for chunk in objects.get(upload.key):
        size += len(chunk)
        if size > upload.size:
            break
        sha256.update(chunk)
        md5.update(chunk)
    return size, sha256.digest(), md5.digest()


def _wrong(database: "Database", objects: "ObjectStore", upload: Upload, reason: str) -> DumacleError:
    """End an upload of wrong bytes: release what it reserved, then remove what is stored, or leave that to a purge."""
    with database.session() as session:
        now = store.lock(session, upload)
        if now.status not in OPEN:
            return ContentDiffers(path=upload.path)
        _end(session, now, "failed", f"the client stored other bytes: {reason}")
    with suppress(StoreFault):
        _remove(objects, upload)
    return UploadDiffers(path=upload.path, owner=upload.owner, reason=reason)


def _end(session: "Session", upload: Upload, status: str, error: str) -> int:
    """Mark an upload as ended if it is open, and close its reservation; returns the bytes that were released."""
    if upload.status in OPEN:
        store.give_up(session, upload, status, error)
    if upload.reserved_until is None:
        return 0
    store.close(session, [upload.lease_id])
    return upload.size


def _remove(objects: "ObjectStore", upload: Upload) -> None:
    """Remove the parts and the object of an upload that ended; a purge would remove them, too."""
    if upload.upload_id:
        with suppress(UploadLost):  # It was completed or aborted before.
            objects.abort_multipart(upload.key, upload.upload_id)
    objects.delete([upload.key])


def _record(
    session: "Session", upload: Upload, facts: dict[str, Any], transcode: TranscodeRequest | None
) -> tuple[dict[str, int], bool]:
    """Book the bytes and make the version the content of its file, once; raises Conflict if it ended meanwhile."""
    now = store.lock(session, upload)
    if now.status in ("stored", "superseded"):
        return {"version": now.version_id}, False
    if now.status not in OPEN or now.deleted:
        raise ended(now)
    lease = now.lease_id if now.reserved_until else _reserved_again(session, now)
    uploads.record_spent(session, {lease: now.size})
    row = {"file_id": now.file_id, "version_id": now.version_id, "size": now.size, "mtime_ns": None, **facts}
    row["content_type"] = now.content_type
    uploads.record_stored(session, {name: [value] for name, value in row.items()})
    store.close(session, [lease])
    if transcode and transcode.takes(now.content_type):
        transcodes.arrived(session, [now.version_id], transcode.preset)
    return {"version": now.version_id}, True


def _reserved_again(session: "Session", upload: Upload) -> int:
    reserved = store.reserve(session, upload.pod_id, upload.owner_id, upload.size, 60)
    if reserved.lease_id is None:
        raise refused(session, upload.owner_id, upload.owner, upload.pod, reserved, upload.size)
    return reserved.lease_id


def abort(
    database: "Database", stores: "Stores", request: "Request", file_id: int, *, dry_run: bool
) -> tuple[Aborted, bool]:
    """End an upload, release what it reserved, and remove what the client stored; a repeat changes nothing.

    Raises NotFound, and Conflict if it was confirmed.
    """
    upload = latest(database, file_id)

    def work(session: "Session") -> tuple[dict[str, Any], bool]:
        now = store.lock(session, upload)
        if now.status in ("stored", "superseded"):
            raise ended(now)
        released = _end(session, now, "cancelled", "the upload was aborted")
        return {"released": released}, now.status in OPEN

    done = database.change(request, work, dry_run=dry_run)
    if not dry_run:
        _remove(stores(upload.place), upload)
    return Aborted(upload.file_id, upload.path, done.data["released"]), done.changed

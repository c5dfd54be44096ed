"""Direct uploads: a client sends a file to the store itself, with presigned links.

Every one is a multipart upload at the store, if only of one part. So its links end when it is confirmed or aborted, at
every provider, and nobody can replace bytes that were verified. A direct upload spans several transactions.
"""

import base64
import hashlib
import re
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import TYPE_CHECKING, Any

from dumacle_cli import paths
from dumacle_cli.errors import (
    Conflict,
    ContentDiffers,
    DumacleError,
    InvalidValue,
    NotFound,
    ObjectMissing,
    PodFull,
    QuotaExceeded,
    UploadDiffers,
    UploadLost,
)
from dumacle_cli.escapes import quoted
from dumacle_cli.services import limits, placement, transcodes
from dumacle_cli.store import direct as store
from dumacle_cli.store import places, uploads
from dumacle_cli.store.direct import Upload
from dumacle_cli.units import Bytes, SecretUrl, show_instant, show_size

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dumacle_cli.clients.object_store import ObjectStore, Part
    from dumacle_cli.store.database import Database
    from dumacle_cli.store.operations import Request
    from dumacle_cli.store.places import Place

    Stores = Callable[[Place], ObjectStore]

MIB = 1024**2
DAY = 86_400
PART, LEAST_PART, LARGEST_PART, MOST_PARTS = 16 * MIB, 5 * MIB, 5 * 1024 * MIB, 10_000
"""The sizes of parts in bytes, and how many there can be, at every provider."""
LINKS = 100
"""How many links are made at once, unless more are asked for: they should be used soon."""
LONGEST_PATH = 2048
OPEN = ("uploading", "completing")


@dataclass(frozen=True, slots=True)
class Announced:
    """The file that a client is going to send; sizes in bytes, hashes if the client knows them.

    Without a part size the file is sent whole, with one link. Links are valid for `seconds`.
    """

    path: str
    owner: str
    pod: str
    size: int
    content_type: str
    seconds: int
    max_file_size: int
    sha256: bytes | None = None
    md5: bytes | None = None
    part_size: int | None = None


@dataclass(frozen=True, slots=True)
class PartLink:
    """A presigned link for one part, which has exactly `size` bytes."""

    number: int
    size: Bytes
    url: SecretUrl


@dataclass(frozen=True, slots=True)
class Links:
    """What a client needs to send a file: how to send it, until when, and with which headers.

    A file that is sent whole has a `url`; one that is sent in parts has the links of some of its `part_count` parts.
    """

    id: int
    path: str
    owner: str
    pod: str
    size: Bytes
    content_type: str
    method: str
    url: SecretUrl | None
    headers: dict[str, str]
    part_size: Bytes | None
    part_count: int
    parts: list[PartLink]
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Progress:
    """How much of a direct upload is stored, in percent, bytes and parts."""

    id: int
    path: str
    status: str
    progress: int
    size: Bytes
    stored: Bytes
    part_count: int
    parts_stored: int
    reserved_until: datetime | None


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


# Announcing a file


def checked_path(path: str) -> str:
    """Return the stored form of a path that was typed; raises InvalidValue."""
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise InvalidValue(name="PATH", value=repr(path), reason="it is empty, or a folder in it is empty, . or ..")
    stored = paths.stored_prefix(path)
    if len(stored.encode()) > LONGEST_PATH:
        raise InvalidValue(name="PATH", reason=f"it is longer than {LONGEST_PATH} bytes")
    return stored


def checked_type(content_type: str) -> str:
    """Return a media type in lower case; raises InvalidValue for what is none."""
    found = content_type.strip().lower()
    if len(found) > 255 or not re.fullmatch(r"[a-z0-9][\w.+-]*/[a-z0-9][\w.+-]*", found, re.ASCII):
        raise InvalidValue(name="--type", value=repr(content_type), reason="a media type is like video/mp4")
    return found


def checked_hash(text: str, name: str, size: int) -> bytes | None:
    """Return a hash of `size` bytes from its hexadecimal digits, or None for an empty text; raises InvalidValue."""
    if not text:
        return None
    if not re.fullmatch(rf"[0-9a-fA-F]{{{2 * size}}}", text):
        raise InvalidValue(name=name, value=repr(text), reason=f"it has {2 * size} hexadecimal digits")
    return bytes.fromhex(text)


def part_size(size: int, wanted: int | None) -> int:
    """Return the size of the parts of a file, by default at least 16 MiB; raises InvalidValue."""
    chosen = wanted or max(PART, ceil(size / MOST_PARTS / MIB) * MIB)
    if not LEAST_PART <= chosen <= LARGEST_PART:
        reason = "a part has 5 MiB to 5 GiB, except the last one"
        raise InvalidValue(name="--part-size", value=show_size(chosen), reason=reason)
    if size > chosen * MOST_PARTS:
        raise InvalidValue(name="--part-size", value=show_size(chosen), reason=f"that is more than {MOST_PARTS} parts")
    return chosen


def initiate(
    database: "Database", stores: "Stores", request: "Request", announced: Announced, *, dry_run: bool
) -> tuple[Links, bool]:
    """Reserve capacity and quota for a file, and return links to send it; a dry run makes none.

    A repeat of the operation returns new links for the same upload. Raises InvalidValue, FileTooLarge,
    TypeNotAllowed, NotFound, UserDisabled, NotGranted, PodFull, QuotaExceeded, and Conflict if another upload to the
    path has not ended.
    """
    _check(announced)
    if dry_run:
        with database.rehearsal() as session:
            upload = _intend(session, announced)
            return _links(upload, announced.seconds, _numbers(upload), lambda *_: ""), True
    done = database.change(request, lambda session: ({"version": _intend(session, announced).version_id}, True))
    upload, objects = _started(database, stores, done.data["version"])
    return _links(upload, announced.seconds, _numbers(upload), _signer(objects, upload)), done.changed


def _check(announced: Announced) -> None:
    if announced.size > announced.max_file_size:
        raise limits.too_large(announced.path, announced.size, limits.of_setting(announced.max_file_size))
    if not 1 <= announced.seconds <= DAY:
        reason = "links for an upload can be valid for 1 s to 1 d, as long as its reservation"
        raise InvalidValue(name="--expires", value=f"{announced.seconds}s", reason=reason)
    if announced.part_size is None and announced.size > LARGEST_PART:
        raise InvalidValue(
            name="--size",
            value=show_size(announced.size),
            reason="one link takes 5 GiB at most",
            advice="send it in parts: add --parts",
        )


def _intend(session: "Session", announced: Announced) -> Upload:
    """Reserve the bytes and write the rows, so that whatever follows can be found and ended."""
    target = placement.target(session, announced.owner, announced.pod or None)
    limits.require(session, target.pod_id, target.owner_id, announced.path, announced.size, announced.content_type)
    uploads.reap_leases(session)
    where: dict[str, Any] = {"pod": target.pod_id, "owner": target.owner_id, "path": announced.path}
    store.lock_target(session, target.pod_id, target.owner_id)
    store.give_up_unstarted(session, **where)
    if busy := store.busy(session, **where):
        raise _busy(announced.path, busy)
    reserved = store.reserve(session, target.pod_id, target.owner_id, announced.size, announced.seconds)
    if reserved.lease_id is None:
        raise _refused(session, target.owner_id, target.owner, target.pod, reserved, announced.size)
    version = store.intend(
        session,
        **where,
        lease=reserved.lease_id,
        size=announced.size,
        part_size=announced.part_size or max(announced.size, 1),
        key=_new_key(target.key_prefix, announced.path),
        content_type=announced.content_type,
        sha256=announced.sha256,
        md5=announced.md5,
    )
    return store.find(session, version)


def _busy(path: str, busy: store.Busy) -> Conflict:
    until = show_instant(busy.until)
    if busy.run_id is not None:
        return Conflict(reason=f"run {busy.run_id} is uploading {path} now", advice="retry when it has ended")
    return Conflict(
        reason=f"another direct upload to {path} has links until {until}",
        advice=f"confirm it, or end it: dumacle files abort {busy.file_id}",
    )


def _refused(
    session: "Session", owner_id: int, owner: str, pod: str, reserved: store.Reservation, size: int
) -> DumacleError:
    free, wanted = show_size(reserved.free), show_size(size)
    if reserved.refused_by == "pod":
        return PodFull(pod=pod, free=free, wanted=wanted)
    metric = reserved.refused_by or "storage"
    limit = show_size(store.allowed(session, owner_id, metric))
    return QuotaExceeded(metric=metric, user=owner, left=free, limit=limit, wanted=wanted)


def _new_key(prefix: str, path: str) -> str:
    """Propose a key as uploads do; the database makes its own of it."""
    token = uuid.uuid4().hex
    suffix = re.search(r"\.([a-z0-9]{1,8})$", path.lower(), re.ASCII)
    key = f"{prefix}{token[:2]}/{token}{suffix[0] if suffix else ''}"
    return key if places.is_own(prefix, key) else f"{prefix}{token[:2]}/{token}"


def _started(database: "Database", stores: "Stores", version_id: int) -> "tuple[Upload, ObjectStore]":
    """Start the multipart upload at the store, unless it was started before; raises Conflict if it ended."""
    with database.session(read_only=True) as session:
        upload = store.find(session, version_id)
    _require_reserved(upload)
    objects = stores(upload.place)
    if upload.upload_id is None:
        made = objects.create_multipart(upload.key, upload.content_type)
        with database.session() as session:
            ours = store.start(session, version_id, made)
            upload = store.find(session, version_id)
        if not ours:
            objects.abort_multipart(upload.key, made)
            _require_reserved(upload)
    return upload, objects


def _require_reserved(upload: Upload) -> None:
    """Raise Conflict unless the upload is open and its reservation stands."""
    if upload.status not in OPEN or upload.deleted:
        raise _ended(upload)
    if upload.reserved_until is None:
        again = _initiate_again(upload)
        raise Conflict(reason=f"the reservation for {upload.path} ran out", advice=f"confirm it, or {again}")


def _ended(upload: Upload) -> Conflict:
    if upload.status in ("stored", "superseded"):
        return Conflict(reason=f"{upload.path} is uploaded already", advice=f"dumacle files show {upload.file_id}")
    reason = f"the direct upload of {upload.path} ended{f': {upload.error}' if upload.error else ''}"
    return Conflict(reason=reason, advice=_initiate_again(upload))


def _initiate_again(upload: Upload) -> str:
    command = f"dumacle files initiate {quoted(upload.path)} --owner {quoted(upload.owner)}"
    return f"start again: {command} --pod {quoted(upload.pod)} --size SIZE --type TYPE"


# Links


def _count(upload: Upload) -> int:
    return max(1, ceil(upload.size / upload.part_size))


def _is_whole(upload: Upload) -> bool:
    return _count(upload) == 1


def _numbers(upload: Upload) -> Sequence[int]:
    return range(1, min(_count(upload), LINKS) + 1)


def _size(upload: Upload, number: int) -> int:
    return min(upload.part_size, upload.size - (number - 1) * upload.part_size)


Sign = Callable[[int, int, int], str]


def _signer(objects: "ObjectStore", upload: Upload) -> Sign:
    """Return how a part's link is made from its number, its size and how long it is valid (s)."""
    md5 = upload.md5 if _is_whole(upload) else None

    def sign(number: int, size: int, seconds: int) -> str:
        return objects.presign_part(upload.key, upload.upload_id or "", number, size, seconds, md5)

    return sign


def _links(upload: Upload, seconds: int, numbers: Sequence[int], sign: Sign) -> Links:
    now = datetime.now(UTC)
    left = seconds if upload.reserved_until is None else ceil((upload.reserved_until - now).total_seconds())
    seconds = max(1, min(seconds, left))
    sizes = [(number, _size(upload, number)) for number in numbers]
    parts = [PartLink(number, size, sign(number, size, seconds)) for number, size in sizes]
    headers = {"Content-Type": upload.content_type}
    whole = _is_whole(upload)
    if whole:
        headers["Content-Length"] = str(upload.size)
        if upload.md5:
            headers["Content-MD5"] = base64.b64encode(upload.md5).decode()
    return Links(
        id=upload.file_id,
        path=upload.path,
        owner=upload.owner,
        pod=upload.pod,
        size=upload.size,
        content_type=upload.content_type,
        method="PUT",
        url=parts[0].url if whole and parts else None,
        headers=headers,
        part_size=None if whole else upload.part_size,
        part_count=_count(upload),
        parts=[] if whole else parts,
        expires_at=now + timedelta(seconds=seconds),
    )


def sign_parts(
    database: "Database",
    stores: "Stores",
    request: "Request",
    file_id: int,
    numbers: Sequence[int],
    seconds: int,
    *,
    dry_run: bool,
) -> tuple[Links, bool]:
    """Return new links for these parts, by default for the next that are missing, and keep the reservation as long.

    Raises NotFound, InvalidValue for a part that there is not, Conflict if the upload ended or its reservation ran out.
    """
    upload = _latest(database, file_id)
    _require_reserved(upload)
    if upload.upload_id is None:
        raise _not_started(upload)
    if wrong := [number for number in numbers if not 1 <= number <= _count(upload)]:
        reason = f"{upload.path} has the parts 1 to {_count(upload)}"
        raise InvalidValue(name="--parts", value=str(wrong[0]), reason=reason)
    if not 1 <= seconds <= DAY:
        raise InvalidValue(name="--expires", value=f"{seconds}s", reason="links are valid for 1 s to 1 d")
    objects = stores(upload.place)
    stored = _stored(objects, upload)
    chosen = numbers or [number for number in range(1, _count(upload) + 1) if number not in stored][:LINKS]
    if dry_run:
        return _links(upload, seconds, chosen, lambda *_: ""), True

    def work(session: "Session") -> tuple[dict[str, int], bool]:
        now = store.lock(session, upload)
        _require_reserved(now)
        store.keep(session, now.lease_id, seconds)
        uploads.record_progress(session, {upload.file_id: _percent(upload, stored)})
        return {"version": upload.version_id}, True

    done = database.change(request, work)
    with database.session(read_only=True) as session:
        upload = store.find(session, done.data["version"])
    return _links(upload, seconds, chosen, _signer(objects, upload)), done.changed


def _latest(database: "Database", file_id: int) -> Upload:
    with database.session(read_only=True) as session:
        upload = store.latest(session, file_id)
    if upload is None:
        raise NotFound("direct upload of file", file_id)
    return upload


def _not_started(upload: Upload) -> Conflict:
    reason = f"the command that announced {upload.path} was broken off before it made a link"
    return Conflict(reason=reason, advice=f"repeat it, or: dumacle files abort {upload.file_id}")


def _stored(objects: "ObjectStore", upload: Upload) -> "dict[int, Part]":
    """Return the parts that the store has, by number; raises UploadLost."""
    return {part.number: part for part in objects.list_parts(upload.key, upload.upload_id or "")}


def _percent(upload: Upload, stored: "dict[int, Part]") -> int:
    size = sum(part.size for part in stored.values())
    return min(100, 100 * size // upload.size) if upload.size else 100 * len(stored)


def progress(database: "Database", stores: "Stores", file_id: int) -> Progress:
    """Return how much of the last direct upload of a file the store has; raises NotFound."""
    upload = _latest(database, file_id)
    stored: dict[int, Part] = {}
    done = upload.status in ("stored", "superseded")
    if upload.status in OPEN and upload.upload_id:
        try:
            stored = _stored(stores(upload.place), upload)
        except UploadLost:
            done = upload.status == "completing"
    return Progress(
        id=upload.file_id,
        path=upload.path,
        status=upload.status,
        progress=100 if done else _percent(upload, stored),
        size=upload.size,
        stored=upload.size if done else sum(part.size for part in stored.values()),
        part_count=_count(upload),
        parts_stored=_count(upload) if done else len(stored),
        reserved_until=upload.reserved_until,
    )


# Ending


def confirm(
    database: "Database",
    stores: "Stores",
    request: "Request",
    file_id: int,
    sha256: bytes | None,
    transcode: transcodes.TranscodeRequest | None,
    *,
    dry_run: bool,
) -> tuple[Confirmed, bool]:
    """Complete an upload, read its bytes back, and make them the content of the file; a repeat changes nothing.

    A reservation that ran out is made again. Wrong bytes are removed, and what was reserved is released. Raises
    NotFound, UploadDiffers, PodFull, QuotaExceeded, and Conflict if parts are missing or the upload ended.
    """
    upload = _latest(database, file_id)
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
        raise _ended(upload)
    if upload.upload_id is None:
        raise _not_started(upload)
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
        stored = _stored(objects, upload)
    except UploadLost:
        if upload.status == "completing":
            return None
        reason = f"the store no longer has the upload of {upload.path}"
        advice = f"dumacle files abort {upload.file_id}, then {_initiate_again(upload)}"
        raise Conflict(reason=reason, advice=advice) from None
    wrong = [part for part in stored.values() if part.size != _expected(upload, part.number)]
    if wrong:
        part = wrong[0]
        reason = f"part {part.number} has {part.size} bytes instead of {_expected(upload, part.number)}"
        raise _wrong(database, objects, upload, reason)
    count = _count(upload)
    if len(stored) < count:
        missing = next(number for number in range(1, count + 1) if number not in stored)
        reason = f"{len(stored)} of {count} parts of {upload.path} are stored; part {missing} is missing"
        raise Conflict(reason=reason, advice=f"send the rest: dumacle files sign-parts {upload.file_id}")
    return list(stored.values())


def _expected(upload: Upload, number: int) -> int:
    return _size(upload, number) if number <= _count(upload) else 0


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
        reason = f"the store lost the upload of {upload.path}"
        raise Conflict(reason=reason, advice=f"dumacle files abort {upload.file_id}") from None
    if size != upload.size:
        raise _wrong(database, objects, upload, f"{size} bytes instead of {upload.size}")
    if wanted and sha256 != wanted:
        raise _wrong(database, objects, upload, f"SHA-256 {sha256.hex()} instead of {wanted.hex()}")
    if upload.md5 and md5 != upload.md5:
        raise _wrong(database, objects, upload, f"MD5 {md5.hex()} instead of {upload.md5.hex()}")
    return {"sha256": sha256, "md5": md5, "etag": head.etag}


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
    """End an upload of wrong bytes: release what it reserved, then remove what is stored."""
    with database.session() as session:
        now = store.lock(session, upload)
        if now.status not in OPEN:
            return ContentDiffers(path=upload.path)
        _end(session, now, "failed", f"the client stored other bytes: {reason}")
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
    session: "Session", upload: Upload, facts: dict[str, Any], transcode: transcodes.TranscodeRequest | None
) -> tuple[dict[str, int], bool]:
    """Book the bytes and make the version the content of its file, once; raises Conflict if it ended meanwhile."""
    now = store.lock(session, upload)
    if now.status in ("stored", "superseded"):
        return {"version": now.version_id}, False
    if now.status not in OPEN or now.deleted:
        raise _ended(now)
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
        raise _refused(session, upload.owner_id, upload.owner, upload.pod, reserved, upload.size)
    return reserved.lease_id


def abort(
    database: "Database", stores: "Stores", request: "Request", file_id: int, *, dry_run: bool
) -> tuple[Aborted, bool]:
    """End an upload, release what it reserved, and remove what the client stored; a repeat changes nothing.

    Raises NotFound, and Conflict if it was confirmed.
    """
    upload = _latest(database, file_id)

    def work(session: "Session") -> tuple[dict[str, Any], bool]:
        now = store.lock(session, upload)
        if now.status in ("stored", "superseded"):
            raise _ended(now)
        released = _end(session, now, "cancelled", "the upload was aborted")
        return {"released": released}, now.status in OPEN

    done = database.change(request, work, dry_run=dry_run)
    if not dry_run:
        _remove(stores(upload.place), upload)
    return Aborted(upload.file_id, upload.path, done.data["released"]), done.changed

"""Links of direct uploads: which parts there are, which the store has, and presigned links for the others."""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import TYPE_CHECKING

from dumacle_cli.errors import Conflict, InvalidValue, NotFound, UploadLost
from dumacle_cli.escapes import quoted
from dumacle_cli.services import placement
from dumacle_cli.store import direct as store
from dumacle_cli.store import uploads
from dumacle_cli.store.direct import Upload
from dumacle_cli.units import Bytes, SecretUrl

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dumacle_cli.clients.object_store import ObjectStore
    from dumacle_cli.clients.objects import Part
    from dumacle_cli.store.database import Database
    from dumacle_cli.store.operations import Request
    from dumacle_cli.store.places import Place

    Stores = Callable[[Place], ObjectStore]

MIB = 1024**2
DAY = 86_400
LINKS = 100
"""How many links are made at once, unless more are asked for: they should be used soon."""
OPEN = ("uploading", "completing")


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


def require_reserved(upload: Upload) -> None:
    """Raise Conflict unless the upload is open and its reservation stands."""
    if upload.status not in OPEN or upload.deleted:
        raise ended(upload)
    if upload.reserved_until is None:
        raise ran_out(upload)


def ran_out(upload: Upload) -> Conflict:
    """Return the error for an upload whose reservation ran out."""
    advice = f"confirm it, or {initiate_again(upload)}"
    return Conflict(reason=f"the reservation for {upload.path} ran out", advice=advice)


def ended(upload: Upload) -> Conflict:
    """Return the error for an upload that was confirmed, aborted, or given up."""
    if upload.status in ("stored", "superseded"):
        return Conflict(reason=f"{upload.path} is uploaded already", advice=f"dumacle files show {upload.file_id}")
    reason = f"the direct upload of {upload.path} ended{f': {upload.error}' if upload.error else ''}"
    return Conflict(reason=reason, advice=initiate_again(upload))


def initiate_again(upload: Upload) -> str:
    """Return the advice to announce the file again."""
    command = f"dumacle files initiate {quoted(upload.path)} --owner {quoted(upload.owner)}"
    return f"start again: {command} --pod {quoted(upload.pod)} --size SIZE --type TYPE"


def not_started(upload: Upload) -> Conflict:
    """Return the error for an upload for which no link was made yet."""
    reason = f"the command that announced {upload.path} was broken off before it made a link"
    return Conflict(reason=reason, advice=f"repeat it, or: dumacle files abort {upload.file_id}")


def latest(database: "Database", file_id: int) -> Upload:
    """Return the last direct upload of a file; raises NotFound."""
    with database.session(read_only=True) as session:
        upload = store.latest(session, file_id)
    if upload is None:
        raise NotFound("direct upload of file", file_id)
    return upload


def count(upload: Upload) -> int:
    """Return how many parts an upload has; one that is sent whole has one."""
    return max(1, ceil(upload.size / upload.part_size))


def _is_whole(upload: Upload) -> bool:
    return count(upload) == 1


def first_numbers(upload: Upload) -> Sequence[int]:
    """Return the numbers of the parts for which links are made first."""
    return range(1, min(count(upload), LINKS) + 1)


def size_of(upload: Upload, number: int) -> int:
    """Return the size of a part (bytes)."""
    return min(upload.part_size, upload.size - (number - 1) * upload.part_size)


Sign = Callable[[int, int, int], str]


def signer(objects: "ObjectStore", upload: Upload) -> Sign:
    """Return how a part's link is made from its number, its size and how long it is valid (s)."""
    md5 = upload.md5 if _is_whole(upload) else None

    def sign(number: int, size: int, seconds: int) -> str:
        return objects.presign_part(upload.key, upload.upload_id or "", number, size, seconds, md5)

    return sign


def links_for(upload: Upload, seconds: int, numbers: Sequence[int], sign: Sign) -> Links:
    """Return links for these parts, valid for so long (s), but no longer than the reservation.

    Raises Conflict if that ran out.
    """
    now = datetime.now(UTC)
    left = seconds if upload.reserved_until is None else ceil((upload.reserved_until - now).total_seconds())
    if left <= 0:
        raise ran_out(upload)
    seconds = min(seconds, left)
    sizes = [(number, size_of(upload, number)) for number in numbers]
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
        part_count=count(upload),
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

    Raises NotFound, InvalidValue for a part that there is not, Conflict if the upload ended or its reservation ran out,
    and UserDisabled, NotGranted or NotFound if its owner may no longer upload into the pod.
    """
    upload = latest(database, file_id)
    require_reserved(upload)
    if upload.upload_id is None:
        raise not_started(upload)
    if wrong := [number for number in numbers if not 1 <= number <= count(upload)]:
        reason = f"{upload.path} has the parts 1 to {count(upload)}"
        raise InvalidValue(name="--parts", value=str(wrong[0]), reason=reason)
    if not 1 <= seconds <= DAY:
        raise InvalidValue(name="--expires", value=f"{seconds}s", reason="links are valid for 1 s to 1 d")
    objects = stores(upload.place)
    stored = stored_parts(objects, upload)
    chosen = numbers or [number for number in range(1, count(upload) + 1) if number not in stored][:LINKS]
    if dry_run:
        return links_for(upload, seconds, chosen, lambda *_: ""), True

    def work(session: "Session") -> tuple[dict[str, int], bool]:
        now = store.lock(session, upload)
        require_reserved(now)
        placement.target(session, now.owner, str(now.pod_id))
        store.keep(session, now.lease_id, seconds)
        uploads.record_progress(session, {upload.file_id: _percent(upload, stored)})
        return {"version": upload.version_id}, True

    done = database.change(request, work)
    with database.session(read_only=True) as session:
        upload = store.find(session, done.data["version"])
    return links_for(upload, seconds, chosen, signer(objects, upload)), done.changed


def stored_parts(objects: "ObjectStore", upload: Upload) -> "dict[int, Part]":
    """Return the parts that the store has, by number; raises UploadLost."""
    return {part.number: part for part in objects.list_parts(upload.key, upload.upload_id or "")}


def _percent(upload: Upload, stored: "dict[int, Part]") -> int:
    size = sum(part.size for part in stored.values())
    return min(100, 100 * size // upload.size) if upload.size else 100 * len(stored)


def progress(database: "Database", stores: "Stores", file_id: int) -> Progress:
    """Return how much of the last direct upload of a file the store has; raises NotFound."""
    upload = latest(database, file_id)
    stored: dict[int, Part] = {}
    done = upload.status in ("stored", "superseded")
    if upload.status in OPEN and upload.upload_id:
        try:
            stored = stored_parts(stores(upload.place), upload)
        except UploadLost:
            done = upload.status == "completing"
    return Progress(
        id=upload.file_id,
        path=upload.path,
        status=upload.status,
        progress=100 if done else _percent(upload, stored),
        size=upload.size,
        stored=upload.size if done else sum(part.size for part in stored.values()),
        part_count=count(upload),
        parts_stored=count(upload) if done else len(stored),
        reserved_until=upload.reserved_until,
    )

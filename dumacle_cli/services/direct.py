"""Direct uploads: a client sends a file to the store itself, with presigned links. This announces one.

Every one is a multipart upload at the store, if only of one part. So its links end when it is confirmed or aborted, at
every provider, and nobody can replace bytes that were verified. A direct upload spans several transactions.
"""

import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

from dumacle_cli import paths
from dumacle_cli.errors import Conflict, DumacleError, InvalidValue, PodFull, QuotaExceeded
from dumacle_cli.services import limits, placement
from dumacle_cli.services.direct_links import DAY, MIB, Links, first_numbers, links_for, require_reserved, signer
from dumacle_cli.store import direct as store
from dumacle_cli.store import places, uploads
from dumacle_cli.store.direct import Upload
from dumacle_cli.units import show_instant, show_size

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dumacle_cli.clients.object_store import ObjectStore
    from dumacle_cli.store.database import Database
    from dumacle_cli.store.operations import Request
    from dumacle_cli.store.places import Place

    Stores = Callable[[Place], ObjectStore]

PART, LEAST_PART, LARGEST_PART, MOST_PARTS = 16 * MIB, 5 * MIB, 5 * 1024 * MIB, 10_000
"""The sizes of parts in bytes, and how many there can be, at every provider."""
LONGEST_PATH = 2048


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
    chosen = wanted if wanted is not None else max(PART, ceil(size / MOST_PARTS / MIB) * MIB)
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
            return links_for(upload, announced.seconds, first_numbers(upload), lambda *_: ""), True
    done = database.change(request, lambda session: ({"version": _intend(session, announced).version_id}, True))
    upload, objects = _started(database, stores, done.data["version"])
    return links_for(upload, announced.seconds, first_numbers(upload), signer(objects, upload)), done.changed


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
        raise refused(session, target.owner_id, target.owner, target.pod, reserved, announced.size)
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


def refused(
    session: "Session", owner_id: int, owner: str, pod: str, reserved: store.Reservation, size: int
) -> DumacleError:
    """Return the error for a reservation that a limit refused."""
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
    require_reserved(upload)
    objects = stores(upload.place)
    if upload.upload_id is None:
        made = objects.create_multipart(upload.key, upload.content_type)
        with database.session() as session:
            ours = store.start(session, version_id, made)
            upload = store.find(session, version_id)
        if not ours:
            objects.abort_multipart(upload.key, made)
            require_reserved(upload)
    return upload, objects

"""Relocation: move files into another pod, with their bytes. It spans several transactions.

A new file is made in the other pod. Its bytes are copied by the store where both pods are in one bucket, else through
this process, and read back; only then does it take the place of the old one, which is deleted like any other: it keeps
its older versions and renditions, and uses storage until it is purged.
"""

import hashlib
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Literal

from sqlalchemy.orm import Session

from dumacle_cli.clients.objects import Part
from dumacle_cli.errors import DumacleError, FileTooLarge, TooMany, TypeNotAllowed
from dumacle_cli.retry import Patience
from dumacle_cli.services import limits, pods
from dumacle_cli.services.downloads import checked, patient
from dumacle_cli.services.side_by_side import in_order
from dumacle_cli.store import files, models, places, transcodes, work_units
from dumacle_cli.store import relocation as store
from dumacle_cli.store.files import Content, Selection
from dumacle_cli.store.places import Place
from dumacle_cli.store.relocation import Copy, Source
from dumacle_cli.units import Bytes, show_size

if TYPE_CHECKING:
    from dumacle_cli.clients.object_store import ObjectStore
    from dumacle_cli.services.downloads import Stores
    from dumacle_cli.store.database import Database

AT_ONCE = 4
BATCH = 100
MIB = 1024**2
PART = 16 * MIB
MOST_PARTS = 9000
LARGEST_COPY = 5 * 1024**3
Result = Literal["relocated", "refused", "failed"]


@dataclass(frozen=True, slots=True)
class Relocated:
    """The result for one file; `renditions` is how many were left behind, and are to be made again."""

    id: int
    path: str
    size: Bytes
    result: Result
    new_id: int | None
    renditions: int
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """The pod that files are relocated into, and what it accepts."""

    id: int
    name: str
    place: Place
    prefix: str
    limit: limits.Limit


def target(session: Session, pod: str) -> Target:
    """Return the pod to relocate files into; raises NotFound."""
    found = pods.get(session, pod)
    return Target(found.id, found.name, places.of(found), found.prefix, limits.of_pod(session, found.id))


def run(
    database: "Database",
    stores: "Stores",
    chosen: Selection,
    to: Target,
    *,
    reading: "Stores",
    maximum: int | None,
    write: bool,
    patience: Patience | None = None,
) -> Iterator[Relocated]:
    """Relocate the selected files, and yield their results; without `write` only tell what would happen.

    Files are read from `reading`, which may open copies. Files that are in the pod already are left out, so a repeated
    run goes on where it stopped. Raises TooMany.
    """
    if maximum is not None:
        with database.session(read_only=True) as session:
            number = files.total(session, chosen)[0]
        if number > maximum:
            raise TooMany(count=number, noun="file", maximum=maximum)
    if write:
        stores(to.place)  # who has no rights to its keys is refused before any row is written
    waiting, last = patience or patient(), 0
    while True:
        with database.session(read_only=True) as session:
            ids = files.following(session, chosen, last, BATCH)
            found = store.sources(session, ids, to.id)
            left = store.free(session, to.id)
        if not ids:
            return
        last = ids[-1]
        refused, fitting = _sorted(found, to, left)
        done = (
            _relocate(database, stores, reading, fitting, to, waiting) if write else [_result(each) for each in fitting]
        )
        yield from sorted([*refused, *done], key=lambda each: each.id)


def _sorted(found: Sequence[Source], to: Target, left: int) -> tuple[list[Relocated], list[Source]]:
    """Return the results of files that cannot be relocated, and the others."""
    refused, fitting = [], []
    for each in found:
        if not each.granted:
            reason = f"{each.owner} has no grant on pod {to.name}"
        elif each.taken:
            reason = f"{each.owner} has another file at this path in pod {to.name}"
        elif each.busy:
            reason = "it is being uploaded"
        elif unaccepted := _unaccepted(each, to):
            reason = unaccepted
        elif each.size > left:
            reason = f"pod {to.name} has too little space: {show_size(max(0, left))} free"
        else:
            left -= each.size
            fitting.append(each)
            continue
        refused.append(_result(each, "refused", error=reason))
    return refused, fitting


def _unaccepted(source: Source, to: Target) -> str | None:
    try:
        limits.require_size([to.limit], source.path, source.size)
        limits.require_type([to.limit], source.path, source.content_type)
    except (FileTooLarge, TypeNotAllowed) as error:
        return str(error)
    return None


def _result(
    source: Source, result: Result = "relocated", *, new: int | None = None, error: str | None = None
) -> Relocated:
    return Relocated(source.file_id, source.path, source.size, result, new, source.renditions, error)


def _relocate(
    database: "Database",
    stores: "Stores",
    reading: "Stores",
    sources: Sequence[Source],
    to: Target,
    patience: Patience,
) -> list[Relocated]:
    with database.session() as session:
        ids = [each.file_id for each in sources]
        contents = {each.file_id: each for each in files.contents(session, ids)}
        keys = [_proposed_key(to, contents[each].key) if each in contents else "" for each in ids]
        copies = store.begin(session, to.id, ids, keys)
    by_id = {each.file_id: each for each in sources}
    work = partial(_copied, database, stores, reading, contents, to, patience)
    made = dict(zip(copies, in_order(work, copies, threads=AT_ONCE, ahead=BATCH), strict=True))
    errors = {copy: error for copy, (_, error) in made.items() if error}
    proven = [copy for copy in copies if copy not in errors]
    moved = _finished(database, to, proven, [made[copy][0] for copy in proven])
    errors |= {
        copy: "it was changed, or the pod became full or moved, meanwhile" for copy in proven if copy not in moved
    }
    for copy, error in errors.items():
        with database.session() as session:
            store.fail(session, [copy.version_id], error)
    results = [_result(by_id[copy.source_id], "failed", error=error) for copy, error in errors.items()]
    results += [_result(by_id[copy.source_id], new=copy.file_id) for copy in moved]
    begun = {copy.source_id for copy in copies}
    lost = [_result(each, "failed", error="it was changed meanwhile") for each in sources if each.file_id not in begun]
    return results + lost


def _proposed_key(to: Target, key: str) -> str:
    token = uuid.uuid4().hex
    return f"{places.folder(to.prefix)}{token[:2]}/{token}{PurePosixPath(key).suffix}"


def _is_at_place(session: Session, to: Target) -> bool:
    """Return whether the locked pod is still where bytes were copied to."""
    pod = session.get_one(models.Pod, to.id)
    return (pod.primary_provider, pod.bucket) == (to.place.provider, to.place.bucket)


def _finished(database: "Database", to: Target, copies: Sequence[Copy], etags: Sequence[str]) -> list[Copy]:
    """Let the copies that still fit take the place of their sources, in one transaction; none if the pod moved."""
    if not copies:
        return []
    with database.session() as session:
        store.lock(session, to.id, copies)
        still = store.valid(session, to.id, copies) if _is_at_place(session, to) else set()
        left, moved = store.free(session, to.id), []
        sizes = {each.file_id: each.size for each in files.contents(session, list(still))}
        for copy, etag in zip(copies, etags, strict=True):
            if copy.source_id in still and sizes[copy.source_id] <= left:
                left -= sizes[copy.source_id]
                moved.append((copy, etag))
        if moved:
            ids = [copy.source_id for copy, _ in moved]
            work_units.cancel(session, transcodes.live(session, file_id=ids))
            store.finish(session, to.id, [copy for copy, _ in moved], [etag for _, etag in moved])
    return [copy for copy, _ in moved]


# Bytes


def _copied(
    database: "Database",
    stores: "Stores",
    reading: "Stores",
    contents: dict[int, Content],
    to: Target,
    patience: Patience,
    copy: Copy,
) -> tuple[str, str | None]:
    """Copy one content and read it back; returns the ETag, and why it failed."""
    content = contents[copy.source_id]
    new = replace(content, place=to.place, key=copy.key, pod_prefix=to.prefix)
    try:
        if content.place == to.place and content.size <= LARGEST_COPY:
            etag = stores(to.place).copy(content.own_key(), copy.key, content.content_type)
        else:
            bodies = checked(reading, content, patience)
            etag = _streamed(database, stores(new.place), bodies, new, copy.version_id)
        deque(checked(stores, new, patience), maxlen=0)
    except DumacleError as error:
        return "", str(error)
    return etag, None


def _streamed(database: "Database", objects: "ObjectStore", chunks: Iterator[bytes], new: Content, version: int) -> str:
    if new.size <= PART:
        body = b"".join(chunks)
        return objects.put(new.key, body, hashlib.sha256(body).hexdigest(), new.content_type)
    upload = objects.create_multipart(new.key, new.content_type)
    size = max(PART, -(-new.size // MOST_PARTS))
    try:
        with database.session() as session:
            store.record_upload(session, version, upload, size)
        parts = [_put(objects, new.key, upload, number, body) for number, body in enumerate(_pieces(chunks, size), 1)]
        objects.complete_multipart(new.key, upload, parts)
        return objects.head(new.key).etag  # not everywhere the one that completing it returned
    except DumacleError:
        with suppress(DumacleError):
            objects.abort_multipart(new.key, upload)
        raise


def _put(objects: "ObjectStore", key: str, upload: str, number: int, body: bytes) -> Part:
    etag = objects.put_part(key, upload, number, body, hashlib.sha256(body).hexdigest())
    return Part(number, etag, len(body))


def _pieces(chunks: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Join chunks into pieces of this size; the last may be smaller."""
    held = b""
    while more := b"".join(islice(chunks, max(1, size // MIB))):
        held += more
        while len(held) >= size:
            yield held[:size]
            held = held[size:]
    if held:
        yield held

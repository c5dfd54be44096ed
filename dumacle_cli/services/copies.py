"""Copies: bring the objects of a pod from one of its places to the other. A run spans many transactions.

Objects have the same key at both places. A copy is claimed for a minute, and again while it is being made, so that
another process takes over what a killed one leaves; both would write the same bytes.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from dumacle_cli.clients.objects import Part
from dumacle_cli.errors import Conflict, ContentDiffers, DumacleError, StoreRefused, StoreUnavailable, UploadLost
from dumacle_cli.escapes import quoted
from dumacle_cli.services import inventory, pods, renditions
from dumacle_cli.store import copies as store
from dumacle_cli.store import models, places
from dumacle_cli.store.copies import Claimed, Ended
from dumacle_cli.units import Bytes

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dumacle_cli.clients.object_store import ObjectStore
    from dumacle_cli.store.database import Database
    from dumacle_cli.store.places import Place

    Stores = Callable[[Place], ObjectStore]

Progress = Callable[[int, int], None]
"""Told how many copies were made so far, and their bytes."""
AT_ONCE = 8
AHEAD = 4
"""Copies that are claimed for each one that is being made."""
CLAIM_SECONDS = 60.0
RENEW_SECONDS = 15.0
LONGEST_PAUSE = 3600.0
"""Seconds before a copy that keeps failing is tried again."""
FAULTS_IN_A_ROW = 8
"""How often a store may fail to answer before the others are not tried."""
QUEUED_AT_ONCE = 10_000
MIB = 1024**2
PART = 8 * MIB
MOST_PARTS = 9_000


@dataclass(frozen=True, slots=True)
class Replicated:
    """What was copied, and what of the pod is not stored at both of its providers yet (`waiting`, of it `failed`)."""

    pod: str
    copied: int
    bytes: Bytes
    waiting: int
    failed: int
    error: str | None


@dataclass(slots=True)
class Done:
    """What one run copied (bytes), how many attempts failed, and the error of a store that did not answer."""

    pod: str
    copied: int = 0
    bytes: int = 0
    failed: int = 0
    away: StoreUnavailable | None = None


class Stopped(Exception):
    """The run was stopped; the copy is given back."""


def plan(session: "Session", reference: str) -> tuple[models.Pod, Replicated]:
    """Return a pod and what of it is to be copied; raises NotFound, or Conflict if it has no secondary provider."""
    pod = pods.get(session, reference)
    if pod.secondary_provider is None:
        advice = f"dumacle pods update {quoted(pod.name)} --secondary PROVIDER"
        raise Conflict(reason=f"pod {pod.name} has no secondary provider", advice=advice)
    left = store.state(session, pod)
    return pod, Replicated(pod.name, 0, 0, left.waiting, left.failed, left.error)


def replicate(
    database: "Database",
    stores: "Stores",
    reference: str,
    *,
    at_once: int,
    progress: Progress | None = None,
) -> Replicated:
    """Copy everything of a pod that is not stored at both of its providers.

    Raises NotFound, Conflict, and StoreUnavailable if a store did not answer.
    """
    with database.session(read_only=True) as session:
        pod, _ = plan(session, reference)
    while _enqueue(database, pod):
        pass
    done = run(database, stores, pod.id, at_once=at_once, since=datetime.now(UTC), wait=True, progress=progress)
    if done.away:
        raise done.away
    with database.session(read_only=True) as session:
        left = store.state(session, pod)
    return Replicated(pod.name, done.copied, done.bytes, left.waiting, left.failed, left.error)


def _enqueue(database: "Database", pod: models.Pod) -> int:
    with database.session() as session:
        return store.enqueue(session, pod, QUEUED_AT_ONCE)


def run(
    database: "Database",
    stores: "Stores",
    pod_id: int,
    *,
    at_once: int = AT_ONCE,
    stop: threading.Event | None = None,
    since: datetime | None = None,
    wait: bool = False,
    progress: Progress | None = None,
) -> Done:
    """Make the copies of a pod that are due, until there are none, `stop` is set, or a store does not answer.

    `since` also tries those that failed before, and `wait` waits for those that other processes claimed.
    Raises NotConfigured, NoKeys and the errors of the database.
    """
    with database.session(read_only=True) as session:
        pod = session.get(models.Pod, pod_id)
        second = places.second(pod) if pod else None
        if pod is None or second is None:
            return Done("")
        first = places.of(pod)
    ends = _Ends(stores(first), stores(second))
    return _Run(database, pod, ends, at_once, stop or threading.Event(), since, progress).run(wait=wait)


@dataclass(frozen=True, slots=True)
class _Ends:
    """The two places of a pod, which differ by provider."""

    primary: "ObjectStore"
    secondary: "ObjectStore"

    def of(self, provider: str) -> tuple["ObjectStore", "ObjectStore"]:
        """Return where a copy at this provider comes from, and where it goes."""
        if provider == self.primary.location.provider:
            return self.secondary, self.primary
        return self.primary, self.secondary


@dataclass
class _Run:
    database: "Database"
    pod: models.Pod
    ends: _Ends
    at_once: int
    stop: threading.Event
    since: datetime | None
    progress: Progress | None
    flying: dict[Future[str], Claimed] = field(default_factory=dict)
    halted: threading.Event = field(default_factory=threading.Event)
    faults: int = 0
    renewed: float = 0.0

    def run(self, *, wait: bool) -> Done:
        self.done = Done(self.pod.name)
        self.renewed = time.monotonic()
        with ThreadPoolExecutor(self.at_once, thread_name_prefix="copy") as pool:
            try:
                while self._goes_on():
                    held_elsewhere = self._take(pool, look=wait)
                    if not self.flying:
                        if not held_elsewhere:
                            break
                        time.sleep(1)
                    self._settle(RENEW_SECONDS if self.flying else 0)
            finally:
                self._end()
        self._note()
        return self.done

    def _goes_on(self) -> bool:
        return not self.stop.is_set() and self.faults < FAULTS_IN_A_ROW

    def _take(self, pool: ThreadPoolExecutor, *, look: bool) -> bool:
        """Claim what there is room for; with `look`, returns whether others had what is left in hand at that moment."""
        room = self.at_once * AHEAD - len(self.flying)
        if room < self.at_once:
            return False
        with self.database.session() as session:
            for copy in store.claim(session, self.pod.id, room, CLAIM_SECONDS, self.since):
                self.flying[pool.submit(self._copy, copy)] = copy
            return look and not self.flying and store.held(session, self.pod.id)

    def _copy(self, copy: Claimed) -> str:
        source, target = self.ends.of(copy.provider)
        return make(source, target, copy, self._check)

    def _check(self) -> None:
        if self.halted.is_set() or self.stop.is_set():
            raise Stopped

    def _settle(self, seconds: float) -> None:
        """Record the copies that ended within some seconds, and keep the claims on the others."""
        futures.wait(self.flying, seconds, futures.FIRST_COMPLETED)
        ended, given_back = self._collect()
        with self.database.session() as session:
            store.record(session, ended, LONGEST_PAUSE)
            store.give_back(session, given_back)
            if time.monotonic() - self.renewed >= RENEW_SECONDS:
                store.renew(session, list(self.flying.values()), CLAIM_SECONDS)
                self.renewed = time.monotonic()
        if self.progress:
            self.progress(self.done.copied, self.done.bytes)

    def _collect(self) -> tuple[list[Ended], list[Claimed]]:
        """Return what ended and what is to be given back, of the copies that are no longer in flight."""
        ended: list[Ended] = []
        given_back: list[Claimed] = []
        for future in [future for future in self.flying if future.done()]:
            copy = self.flying.pop(future)
            try:
                ended.append(Ended(copy, future.result()))
                self.done.copied, self.done.bytes, self.faults = self.done.copied + 1, self.done.bytes + copy.size, 0
            except (Stopped, futures.CancelledError):
                given_back.append(copy)
            except DumacleError as error:
                ended.append(Ended(copy, error=str(error)))
                self.done.failed += 1
                self._count(error)
        return ended, given_back

    def _count(self, error: DumacleError) -> None:
        if isinstance(error, StoreUnavailable):
            self.faults, self.done.away = self.faults + 1, error
        else:
            self.faults = 0

    def _end(self) -> None:
        """Stop what is in flight, and give it back."""
        self.halted.set()
        for future in self.flying:
            future.cancel()
        futures.wait(self.flying)
        if self.flying:
            with suppress(DumacleError):
                self._settle(0)

    def _note(self) -> None:
        """Record whether a store did not answer to the end, or that both do."""
        if not self.faults:
            self.done.away = None
            self._look_again()
        with self.database.session() as session:
            if self.done.away:
                store.note_outage(session, self.pod.id, str(self.done.away.facts["provider"]), str(self.done.away))

    def _look_again(self) -> None:
        """End the outages of stores that answer again."""
        with self.database.session(read_only=True) as session:
            away = {row.provider for row in store.outages(session, self.pod.id)}
        for objects in self._both():
            provider = objects.location.provider
            if provider not in away:
                continue
            error = None if self.done.copied else _fault(objects)
            with self.database.session() as session:
                if error:
                    store.note_outage(session, self.pod.id, provider, str(error))
                else:
                    store.end_outages(session, self.pod.id, [provider])

    def _both(self) -> tuple["ObjectStore", "ObjectStore"]:
        return self.ends.primary, self.ends.secondary


def _fault(objects: "ObjectStore") -> StoreUnavailable | None:
    """Return why a store does not answer, or None if it does, if only to refuse."""
    try:
        with suppress(StoreRefused):
            objects.request("list_objects_v2", MaxKeys=1)
    except StoreUnavailable as error:
        return error
    return None


# One copy


def make(source: "ObjectStore", target: "ObjectStore", copy: Claimed, check: Callable[[], None]) -> str:
    """Copy an object, or all objects of a rendition, and return the ETag of the object; `check` may raise in between.

    Raises ContentDiffers if the source or the copy is not what it must be, ObjectMissing, and the errors of the stores.
    """
    if copy.kind == "version":
        return _transfer(source, target, _Object(copy.key, copy.size, copy.content_type, copy.sha256), check)
    found = list(_of_rendition(source, copy))
    if sum(wanted.size for wanted in found) != copy.size:
        raise ContentDiffers(path=copy.key)
    for wanted in found:
        _transfer(source, target, wanted, check)
    return ""


def _of_rendition(source: "ObjectStore", copy: Claimed) -> "Iterator[_Object]":
    """Yield the objects of a rendition with the hashes that its inventory has; older ones have none."""
    if copy.sha256 is None:
        for entry in source.list(copy.key):
            if not entry.key.startswith(copy.key + renditions.LINKS):
                yield _Object(entry.key, entry.size, _content_type(entry.key), None)
        return
    key = copy.key + inventory.NAME
    body = b"".join(source.get(key))
    listed = inventory.read(body, copy.sha256)
    if listed is None:
        raise ContentDiffers(path=key)
    yield _Object(key, len(body), _content_type(key), copy.sha256)
    for each in listed:
        yield _Object(copy.key + each.name, each.size, _content_type(each.name), bytes.fromhex(each.sha256))


def _content_type(key: str) -> str:
    return renditions.CONTENT_TYPES.get(PurePosixPath(key).suffix, renditions.UNKNOWN)


@dataclass(frozen=True, slots=True)
class _Object:
    key: str
    size: int
    content_type: str
    sha256: bytes | None


class _Proof:
    """Hashes what is copied, and compares it with what it must be."""

    def __init__(self, wanted: _Object, target: "ObjectStore") -> None:
        self._wanted, self._target = wanted, target
        self._sha256, self._md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)

    def add(self, body: bytes) -> None:
        self._sha256.update(body)
        self._md5.update(body)

    def check_source(self) -> None:
        """Raise ContentDiffers if the bytes are not those that were recorded."""
        if self._wanted.sha256 not in (None, self._sha256.digest()):
            raise ContentDiffers(path=self._wanted.key)

    def check_copy(self, etag: str) -> str:
        """Return the ETag of the copy, which is read back if nothing else proves it; raises ContentDiffers."""
        proven = self._target.location.proof == "payload-hash" or etag == self._md5.hexdigest()
        if not proven and not self._target.holds(self._wanted.key, self._sha256.hexdigest()):
            raise ContentDiffers(path=self._wanted.key)
        return etag


def _transfer(source: "ObjectStore", target: "ObjectStore", wanted: _Object, check: Callable[[], None]) -> str:
    bodies = _bodies(source, wanted, check)
    proof = _Proof(wanted, target)
    if wanted.size > PART:
        return _in_parts(target, wanted, bodies, proof)
    body = next(bodies, b"")
    proof.add(body)
    proof.check_source()
    if len(body) != wanted.size or next(bodies, None):
        raise ContentDiffers(path=wanted.key)
    etag = target.put(wanted.key, body, hashlib.sha256(body).hexdigest(), wanted.content_type)
    return proof.check_copy(etag)


def _bodies(source: "ObjectStore", wanted: _Object, check: Callable[[], None]) -> Iterator[bytes]:
    """Read an object as bodies of the size of a part; the last may be smaller."""
    size, body = max(PART, -(-wanted.size // MOST_PARTS // MIB) * MIB), bytearray()
    for chunk in source.get(wanted.key):
        check()
        body += chunk
        while len(body) >= size:
            yield bytes(body[:size])
            del body[:size]
    if body:
        yield bytes(body)


def _abort_unfinished(target: "ObjectStore", key: str) -> None:
    """Abort the multipart uploads of this key that were neither completed nor aborted."""
    with suppress(UploadLost):  # The server of rclone says so if a bucket has none.
        for found in list(target.unfinished(key)):
            if found.key == key:
                target.abort_multipart(key, found.upload_id)


def _in_parts(target: "ObjectStore", wanted: _Object, bodies: Iterable[bytes], proof: _Proof) -> str:
    """Send bodies as parts, and complete the upload only if they are all of the source and unchanged."""
    _abort_unfinished(target, wanted.key)  # of a process that was killed
    upload_id, parts = target.create_multipart(wanted.key, wanted.content_type), []
    try:
        for number, body in enumerate(bodies, 1):
            proof.add(body)
            etag = target.put_part(wanted.key, upload_id, number, body, hashlib.sha256(body).hexdigest())
            parts.append(Part(number, etag, len(body)))
        proof.check_source()
        if sum(part.size for part in parts) != wanted.size:
            raise ContentDiffers(path=wanted.key)
        target.complete_multipart(wanted.key, upload_id, parts)
    except BaseException:
        with suppress(DumacleError):
            target.abort_multipart(wanted.key, upload_id)
        raise
    head = target.head(wanted.key)
    if head.size != wanted.size:
        raise ContentDiffers(path=wanted.key)
    return proof.check_copy(head.etag)

"""Failover: read the objects of a pod at its secondary provider while the primary one does not answer, or refuses.

Objects have the same key at both. A store that did not answer is left alone for a while, by this process at once and by
others through the database; one that refuses, by this process alone, because its keys may be wrong only here.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.clients.objects import Entry, Head
from dumacle_cli.errors import DumacleError, ObjectMissing, StoreFault, StoreUnavailable
from dumacle_cli.store import copies as store

if TYPE_CHECKING:
    from dumacle_cli.store.database import Database
    from dumacle_cli.store.places import Place

    Stores = Callable[[Place], ObjectStore]

PROVEN_SECONDS = 30.0
"""How long a store that answered is trusted to answer, when a link is signed."""
T = TypeVar("T")


class Failover(ObjectStore):
    """The objects of a bucket, or their copies where it does not answer, refuses, or lacks one.

    What is not an object that is stored at the secondary provider is asked for at the bucket itself only.
    """

    def __init__(self, primary: ObjectStore, database: "Database", stores: "Stores", place: "Place") -> None:
        super().__init__(primary.location)
        self.primary, self._database, self._stores = primary, database, stores
        self._asked_again = time.monotonic() + (store.LOOK_AGAIN_SECONDS if self._is_known_away(place) else 0)
        self._proven_until = 0.0

    def head(self, key: str) -> Head:
        """Return size, ETag and content type of the object."""
        return self._ask(key, lambda objects: objects.head(key))

    def get(self, key: str, start: int = 0) -> Iterator[bytes]:
        """Yield the bytes from `start` on; if the primary store breaks off, the rest is read from the secondary."""
        read = start
        try:
            if not self._is_away():
                for chunk in self.primary.get(key, start):
                    read += len(chunk)
                    yield chunk
                return
        except (StoreFault, ObjectMissing) as error:
            copy = self._instead(key, error)
        else:
            copy = self._copy(key) or self.primary
        yield from copy.get(key, read)

    def list(self, prefix: str, after: str = "") -> Iterator[Entry]:
        """Yield the objects with the prefix, sorted by key."""
        found = self._ask(prefix, lambda objects: list(objects.list(prefix, after)))
        copy = None if found else self._copy(prefix)
        yield from copy.list(prefix, after) if copy else found

    def put(self, key: str, body: bytes, sha256: str, content_type: str) -> str:
        """Store bytes and return the ETag; at the secondary store only below a rendition that is there."""
        return self._ask(key, lambda objects: objects.put(key, body, sha256, content_type))

    def delete(self, keys: Iterable[str]) -> None:
        """Delete the objects; keys that do not exist are ignored."""
        if chosen := list(keys):
            self._ask(chosen[0], lambda objects: objects.delete(chosen))

    def presign_get(self, key: str, expires_s: int, filename: str, content_type: str, *, download: bool = False) -> str:
        """Return a presigned URL of an object, from the store that answers now."""
        return self._answering(key).presign_get(key, expires_s, filename, content_type, download=download)

    def _answering(self, key: str) -> ObjectStore:
        if not self._is_away() and time.monotonic() < self._proven_until:
            return self.primary
        copy = self._copy(key)
        if copy is None or self._is_away():
            return copy or self.primary
        try:
            self.primary.head(key)
        except StoreFault as error:
            self._leave(key, error)
            return copy
        except DumacleError:
            return copy
        self._proven_until = time.monotonic() + PROVEN_SECONDS
        return self.primary

    def _ask(self, key: str, work: Callable[[ObjectStore], T]) -> T:
        if self._is_away() and (copy := self._copy(key)):
            return work(copy)
        try:
            return work(self.primary)
        except (StoreFault, ObjectMissing) as error:
            return work(self._instead(key, error))

    def _instead(self, key: str, error: DumacleError) -> ObjectStore:
        """Return the store with a copy of the object, or raise the error where there is none."""
        copy = self._copy(key)
        if copy is None:
            raise error
        if isinstance(error, StoreFault):
            self._leave(key, error)
        return copy

    def _copy(self, key: str) -> ObjectStore | None:
        with self._database.session(read_only=True) as session:
            place = store.elsewhere(session, key)
        return self._stores(place) if place else None

    def _is_away(self) -> bool:
        return time.monotonic() < self._asked_again

    def _is_known_away(self, place: "Place") -> bool:
        with self._database.session(read_only=True) as session:
            return store.is_away(session, place)

    def _leave(self, key: str, error: StoreFault) -> None:
        """Leave the primary store alone for a while; operators see an outage, unless this login may not write that."""
        self._asked_again = time.monotonic() + store.LOOK_AGAIN_SECONDS
        if isinstance(error, StoreUnavailable):
            with suppress(DumacleError), self._database.session() as session:
                store.note_outage_of(session, key, str(error))

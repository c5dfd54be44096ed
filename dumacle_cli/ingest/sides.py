"""The providers of a pod as uploads use them: the primary, and the secondary while the primary does not answer."""

import hashlib
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from dumacle_cli import errors
from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.clients.objects import Part
from dumacle_cli.clients.puts import Puts
from dumacle_cli.ingest.pace import Pace
from dumacle_cli.retry import Patience

T = TypeVar("T")
FAILOVER_SECONDS = 10.0
"""How long the primary provider is waited for where the pod has a secondary one."""
LOOK_AGAIN_SECONDS = 30.0
"""How long a provider that did not answer is left alone."""


@dataclass(slots=True)
class Side:
    """One provider of a pod: how bytes are sent there, and how long it is waited for."""

    puts: Puts
    store: ObjectStore
    patience: Patience
    pace: Pace
    is_primary: bool

    @property
    def needs_md5(self) -> bool:
        """Whether the MD5 of a body is needed to prove its upload."""
        return self.store.location.proof == "md5-etag"

    def patiently(self, work: Callable[[], T]) -> T:
        """Ask the store until it answers or patience is over; what it could not take slows the pace."""

        def once() -> T:
            try:
                return work()
            except errors.StoreUnavailable:
                self.pace.slow_down()
                raise

        return self.patience.call(once)


class Sides:
    """Chooses where files are sent; safe to share between threads.

    `open_second` returns the secondary side; the pod has none if it is None. `note` is told when the primary does not
    answer, so that others leave it alone, and with None that it answers again; `tell` gets sentences for people.
    """

    def __init__(
        self,
        primary: Side,
        open_second: Callable[[], Side] | None,
        note: Callable[[errors.DumacleError | None], None],
        tell: Callable[[str], None],
        *,
        away: bool = False,
        copies: bool = False,
    ) -> None:
        self.primary = primary
        self._open, self._note, self._tell, self._copies = open_second, note, tell, copies
        self._lock, self._noting = threading.Lock(), threading.Lock()
        self._second: Side | None = None
        self._away = away
        self._looks_at = 0.0
        self._copies_from = 0.0

    @property
    def waited(self) -> float:
        """Seconds waited, summed over all threads."""
        return self.primary.patience.waited + (self._second.patience.waited if self._second else 0.0)

    @property
    def are_out(self) -> bool:
        """Whether neither provider answers."""
        return self.primary.patience.is_out and (self._second is None or self._second.patience.is_out)

    @property
    def are_plain(self) -> bool:
        """Whether files go to the primary provider alone, and it answers."""
        return not (self._away or self._copies or self.primary.patience.is_out)

    def close(self) -> None:
        """Close the connections that are idle."""
        self.primary.puts.close()
        if self._second:
            self._second.puts.close()

    def chosen(self, key: str) -> Side:
        """Return where the next file goes; while the primary is away, it is asked now and then, for an unused key."""
        if not self._away:
            return self.primary
        with self._lock:
            now = time.monotonic()
            looks = now >= self._looks_at
            if looks:
                self._looks_at = now + LOOK_AGAIN_SECONDS
        if looks and self._answers(key):
            return self.primary
        return self._instead() or self.primary

    def instead(self, side: Side, error: errors.StoreUnavailable) -> Side | None:
        """Return where a file goes that this side did not take, or None."""
        if not side.is_primary or side.patience.halted.is_set():
            return None
        second = self._instead()
        if second:
            self._leave(second, error)
        return second

    def copying(self, side: Side) -> Side | None:
        """Return where the bytes that this side gets are sent as well, if the pod wants that and it is not away."""
        wanted = self._copies and side.is_primary and time.monotonic() >= self._copies_from
        return self._instead() if wanted else None

    def leave_copies(self, second: Side, error: errors.DumacleError) -> None:
        """Leave copies to a worker for a while, because the secondary provider did not take one."""
        with self._lock:
            first, self._copies_from = self._copies_from == 0.0, time.monotonic() + LOOK_AGAIN_SECONDS
        if first:
            self._tell(f"copies at {second.store.location.provider} are left to a worker: {error}")

    def _leave(self, second: Side, error: errors.StoreUnavailable) -> None:
        with self._lock:
            first, self._away = not self._away, True
            self._looks_at = time.monotonic() + LOOK_AGAIN_SECONDS
        if first:
            self._tell(f"uploading to {second.store.location.provider}, because {error}")
            self._note_outage(error)

    def _note_outage(self, error: errors.DumacleError) -> None:
        """Record that the primary does not answer, unless it was found to answer meanwhile."""
        with self._noting:
            if self._away:
                self._note(error)

    def _answers(self, key: str) -> bool:
        """Whether the primary answers again."""

        try:
            with suppress(errors.ObjectMissing):
                self.primary.puts.head(key)
        except errors.DumacleError as error:
            self._note_outage(error)
            return False
        self.primary.patience.end_outage()
        self._tell(f"uploading to {self.primary.store.location.provider} again")
        with self._noting:
            self._away = False
            self._note(None)
        return True

    def _instead(self) -> Side | None:
        with self._lock:
            if self._second is None and self._open:
                try:
                    self._second = self._open()
                except (errors.NotConfigured, errors.NoKeys) as error:
                    self._open = None
                    self._tell(f"the secondary provider cannot be used: {error}")
            return self._second


class Copying:
    """Sends the bytes of one file to the secondary provider as well; what fails there is left to a worker."""

    def __init__(self, sides: Sides, second: Side | None, key: str, content_type: str) -> None:
        self._sides, self._second, self._key, self._content_type = sides, second, key, content_type
        self._upload_id = ""
        self._parts: dict[int, Part] = {}

    def put(self, body: memoryview, sha256: str) -> str | None:
        """Send a whole file, and return the ETag of a copy that is proven."""
        etag = self._try(lambda second: second.puts.put(self._key, body, sha256, self._content_type))
        return etag and self._proven(etag, sha256, hashlib.md5(body, usedforsecurity=False).hexdigest())

    def begin(self) -> None:
        """Begin a multipart upload."""
        self._upload_id = self._try(lambda second: second.puts.create_multipart(self._key, self._content_type)) or ""

    def put_part(self, number: int, body: memoryview, sha256: str) -> None:
        """Send a part."""
        etag = self._try(lambda second: second.puts.put_part(self._key, self._upload_id, number, body, sha256))
        if etag:
            self._parts[number] = Part(number, etag, len(body))

    def complete(self, sha256: str) -> str | None:
        """Complete the multipart upload, and return the ETag of a copy that is proven."""
        parts = [part for _, part in sorted(self._parts.items())]

        def complete(second: Side) -> str:
            second.puts.complete_multipart(self._key, self._upload_id, parts)
            return second.puts.head(self._key).etag

        etag = self._try(complete)
        return etag and self._proven(etag, sha256, "")

    def abort(self) -> None:
        """Give up what was begun."""
        second, self._second = self._second, None
        if second and self._upload_id:
            with suppress(errors.DumacleError):
                second.store.abort_multipart(self._key, self._upload_id)

    def _proven(self, etag: str, sha256: str, md5: str) -> str | None:
        def holds(second: Side) -> bool:
            return not second.needs_md5 or etag == md5 or second.store.holds(self._key, sha256)

        return etag if self._try(holds) else None

    def _try(self, work: Callable[[Side], T]) -> T | None:
        second = self._second
        if second is None:
            return None
        try:
            return work(second)
        except errors.DumacleError as error:
            self._sides.leave_copies(second, error)
            self.abort()
            return None

"""Sources that a worker has fetched: those of films in chunks are kept for a while, for the next chunk."""

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dumacle_cli.transcode.probe import Media

KEPT_SECONDS = 600.0
"""How long a source is kept that nobody uses; while two owners take turns, so long a chunk of the other may take."""


@dataclass(eq=False)
class Source:
    """A fetched source of `size` bytes, and what is in it; it stays after its use if it is `kept`."""

    path: Path
    size: int
    kept: bool = False
    users: int = 0
    found: Media | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)
    timer: threading.Timer | None = None

    @property
    def media(self) -> Media:
        """What is in it, once it was fetched."""
        assert self.found is not None  # noqa: S101
        return self.found


class Sources:
    """The sources in a folder, each fetched once however many units use it at once.

    Those that nobody uses take at most as much of the disk as is free beside them.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._lock = folder, threading.Lock()
        self._sources: dict[str, Source] = {}

    @contextmanager
    def held(self, name: str, size: int, fetch: Callable[[Path], Media]) -> Iterator[Source]:
        """Hold the source of a name while inside; `fetch` writes its `size` bytes to a path unless it is there."""
        source = self._take(name, size)
        try:
            with source.lock:
                if source.found is None:
                    source.found = fetch(source.path)
            yield source
        finally:
            self._leave(name, source)

    def _take(self, name: str, size: int) -> Source:
        with self._lock:
            # Taken out and put back, it is the last one.
            source = self._sources.pop(name, None) or Source(self._folder / f"source-{name}", size)
            self._sources[name] = source
            source.users += 1
            if source.timer:
                source.timer.cancel()
            if source.found is None:
                self._make_room(size)
            return source

    def _make_room(self, size: int) -> None:
        """Remove sources that nobody uses, the longest unused first; the caller holds the lock."""
        unused = [name for name, source in self._sources.items() if not source.users]
        while unused:
            kept = sum(self._sources[name].size for name in unused)
            if kept + size <= shutil.disk_usage(self._folder).free:
                return
            self._remove(unused.pop(0))

    def _leave(self, name: str, source: Source) -> None:
        with self._lock:
            source.users -= 1
            if source.users:
                return
            if not (source.kept and source.found):
                self._remove(name)
                return
            source.timer = threading.Timer(KEPT_SECONDS, self._forget, [name])
            source.timer.daemon = True
            source.timer.start()

    def _forget(self, name: str) -> None:
        with self._lock:
            if name in self._sources and not self._sources[name].users:
                self._remove(name)

    def _remove(self, name: str) -> None:
        self._sources.pop(name).path.unlink(missing_ok=True)

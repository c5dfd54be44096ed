"""Sources that a worker has fetched: of a film in chunks it keeps one for the next chunk."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dumacle_cli.transcode.probe import Media


@dataclass
class Source:
    """A fetched source, and what is in it; it stays after its use if it is `kept`, until another one is fetched."""

    path: Path
    kept: bool = False
    users: int = 0
    found: Media | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def media(self) -> Media:
        """What is in it, once it was fetched."""
        assert self.found is not None  # noqa: S101
        return self.found


class Sources:
    """The sources in a folder, each fetched once however many units use it at once."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._lock = folder, threading.Lock()
        self._sources: dict[str, Source] = {}

    @contextmanager
    def held(self, name: str, fetch: Callable[[Path], Media]) -> Iterator[Source]:
        """Hold the source of a name while inside; `fetch` writes it to a path unless it is there already."""
        source = self._take(name)
        try:
            with source.lock:
                if source.found is None:
                    source.found = fetch(source.path)
            yield source
        finally:
            self._leave(name, source)

    def _take(self, name: str) -> Source:
        with self._lock:
            for other in [each for each, source in self._sources.items() if each != name and not source.users]:
                self._sources.pop(other).path.unlink(missing_ok=True)
            source = self._sources.setdefault(name, Source(self._folder / f"source-{name}"))
            source.users += 1
            return source

    def _leave(self, name: str, source: Source) -> None:
        with self._lock:
            source.users -= 1
            if not source.users and not (source.kept and source.found):
                del self._sources[name]
                source.path.unlink(missing_ok=True)

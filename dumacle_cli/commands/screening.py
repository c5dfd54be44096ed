"""What `dumacle demo` does with a video: a worker of its own makes HLS of it, and the link to that is played."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from dumacle_cli import precedence, signals
from dumacle_cli.clients import proxies
from dumacle_cli.context import Context
from dumacle_cli.errors import ContentDiffers, Exit, StoreUnavailable, ToolFailed
from dumacle_cli.services import downloads, renditions, transcodes
from dumacle_cli.settings import is_secret
from dumacle_cli.transcode import child, playlists

if TYPE_CHECKING:
    from dumacle_cli.store.transcodes import Published

CHUNK = 1024**2
TICK = 0.2
WORKER = ("worker", "--once", "--queues", "transcode", "--drain-timeout", "0", "--quiet")


# The worker


def wait(context: Context, number: int, tell: Callable[[int], None]) -> transcodes.Detail:
    """Let workers of our own run until this transcode is over, and tell its progress in percent.

    Raises ToolFailed where a worker fails; that the transcode failed is told by its status.
    """
    while _look(context, number).is_live:
        with tempfile.TemporaryFile() as said, _worker(context, said) as worker:
            while worker.poll() is None:
                tell(_look(context, number).progress)
                with suppress(subprocess.TimeoutExpired):
                    worker.wait(TICK)
            if worker.returncode in (Exit.INTERRUPTED, Exit.TERMINATED):
                raise KeyboardInterrupt  # Ctrl-C reaches both, and the worker may be the first to end.
            if worker.returncode:
                raise ToolFailed(tool="the worker", reason=f"exit {worker.returncode}: {child.last_line(said)}")
    with context.session() as session:
        return transcodes.show(session, number)


def _look(context: Context, number: int) -> transcodes.Transcode:
    with context.session() as session:
        return transcodes.get(session, [number])[0]


@contextmanager
def _worker(context: Context, said: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker while inside; one that is not through then gives its work back."""
    process = subprocess.Popen(
        # -P: the folder we are in may hold modules of other people.
        [sys.executable, "-P", "-m", "dumacle_cli", *_settings(context), *WORKER],
        env={**context.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=said,
    )
    try:
        yield process
    finally:
        # It inherits what we ignore, and would never end.
        process.send_signal(signal.SIGKILL if signals.is_ignored(signal.SIGTERM) else signal.SIGTERM)
        process.wait()


def _settings(context: Context) -> list[str]:
    """Return the options that give a child the settings of this run, wherever these came from, and its database."""
    given = {name: getattr(context.settings, name) for name in context.resolved.origins if not is_secret(name)}
    own = {"default_provider": "local", "embedded": context.settings.embedded, "database_url": ""}
    own |= dict.fromkeys(precedence.LOCAL, "")
    return [
        word for name, value in (given | own).items() for word in ("--set", f"{name}={'' if value is None else value}")
    ]


# The link


@dataclass(frozen=True, slots=True)
class Played:
    """What a link led to: how many playlists, and the sizes in bytes of all else by its path at the store."""

    playlists: int
    sizes: dict[str, int]


def fetched(url: str) -> Iterator[bytes]:
    """Fetch a link as anybody would, through the proxy that leads to it."""
    from urllib.request import ProxyHandler, build_opener

    proxy = proxies.proxy_of(url)
    try:
        with build_opener(ProxyHandler({urlsplit(url).scheme: proxy} if proxy else {})).open(url) as answer:
            while chunk := answer.read(CHUNK):
                yield chunk
    except OSError as error:
        # The error's own text may hold the signed link.
        raise StoreUnavailable(provider="local", endpoint="loopback", reason=type(error).__name__) from None


def play(context: Context, made: transcodes.Detail) -> tuple[downloads.Link, Played]:
    """Make a link to the HLS of a transcode, and fetch all that it leads to; raises ContentDiffers."""
    [rendition] = made.renditions
    with context.session() as session:
        published = renditions.published(session, made.file, rendition.name)
    link = renditions.playing_link(context.store, published, context.settings.url_expiry, playlists.signed)
    played = _fetch_all(link.url)
    _check(context, published, rendition.size, played)
    return link, played


def _fetch_all(url: str) -> Played:
    """Fetch a playlist, the playlists that it names, and all that these name."""
    sizes: dict[str, int] = {}
    lists, waiting = 0, [url]
    while waiting:
        address = waiting.pop()
        path, chunks = unquote(urlsplit(address).path), fetched(address)
        if path.endswith(renditions.PLAYLIST):
            lists += 1
            waiting += playlists.addresses(b"".join(chunks).decode())
        else:
            sizes[path] = sum(map(len, chunks))
    return Played(lists, sizes)


def _check(context: Context, published: "Published", size: int, played: Played) -> None:
    """Compare what was fetched with what was published: each object, and the bytes (`size`) of all."""
    objects = context.store(published.place).list(published.prefix)
    links = published.prefix + renditions.LINKS
    stored = {f"/{published.place.bucket}/{each.key}": each.size for each in objects if not each.key.startswith(links)}
    pieces = {path: bytes_ for path, bytes_ in stored.items() if not path.endswith(renditions.PLAYLIST)}
    if played.sizes != pieces or sum(stored.values()) != size:
        raise ContentDiffers(path=published.path)

"""Play the demo's media as a viewer: fetch the links to the file and to its HLS, and compare them with the store."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from dumacle_cli.clients import proxies
from dumacle_cli.context import Context
from dumacle_cli.demo.result import POD, USER
from dumacle_cli.errors import ContentDiffers, StoreUnavailable
from dumacle_cli.ingest.items import Item
from dumacle_cli.services import downloads, files, inventory, renditions, transcodes, versions
from dumacle_cli.transcode import playlists

if TYPE_CHECKING:
    from dumacle_cli.store.files import Content
    from dumacle_cli.store.transcodes import Published

CHUNK = 1024**2


def follow_link(context: Context, film: Item) -> tuple[downloads.Link, str]:
    """Create a link to the film and fetch it; returns the link and the film's SHA-256. Raises ContentDiffers."""
    content = _content(context, film)
    link = downloads.link(context.stores.open, content, context.settings.url_expiry, download=True)
    with Path(os.fsdecode(film.source)).open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    _compare(film, fetch(link.url), sha256)
    return link, sha256


def download(context: Context, film: Item, sha256: str) -> None:
    """Download the film and compare its SHA-256; raises ContentDiffers."""
    _compare(film, downloads.checked(context.stores.open, _content(context, film)), sha256)


def _content(context: Context, film: Item) -> "Content":
    with context.session() as session:
        return versions.content(session, files.find(session, film.path, owner=USER, pod=POD))


def _compare(film: Item, chunks: Iterable[bytes], sha256: str) -> None:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    if digest.hexdigest() != sha256:
        raise ContentDiffers(path=film.path)


def fetch(url: str) -> Iterator[bytes]:
    """Fetch a link without credentials, through the configured proxy."""
    from urllib.request import ProxyHandler, build_opener

    proxy = proxies.proxy_of(url)
    try:
        with build_opener(ProxyHandler({urlsplit(url).scheme: proxy} if proxy else {})).open(url) as response:
            while chunk := response.read(CHUNK):
                yield chunk
    except OSError as error:
        # The text of the error may contain the signed link.
        raise StoreUnavailable(provider="local", endpoint="loopback", reason=type(error).__name__) from None


@dataclass(frozen=True, slots=True)
class Played:
    """What a link leads to: the number of playlists, and the size in bytes of each other object by its path."""

    link: downloads.Link
    playlists: int
    sizes: dict[str, int]


def play(context: Context, transcode: transcodes.Detail) -> Played:
    """Create a link to the HLS of a transcode, and fetch everything it leads to; raises ContentDiffers."""
    [rendition] = transcode.renditions
    with context.session() as session:
        published = renditions.published(session, transcode.file, rendition.name)
    link = renditions.playing_link(context.stores.open, published, context.settings.url_expiry, playlists.signed)
    played = _fetch_all(link)
    _check(context, published, rendition.size, played)
    return played


def _fetch_all(link: downloads.Link) -> Played:
    """Fetch a playlist, the playlists listed in it, and their segments."""
    sizes: dict[str, int] = {}
    count, pending = 0, [link.url]
    while pending:
        url = pending.pop()
        path = unquote(urlsplit(url).path)
        # Playlists of key frames name the same segments again.
        if path in sizes:
            continue
        chunks = fetch(url)
        if path.endswith(renditions.PLAYLIST):
            count += 1
            pending += playlists.addresses(b"".join(chunks).decode())
        else:
            sizes[path] = sum(map(len, chunks))
    return Played(link, count, sizes)


def _check(context: Context, published: "Published", size: int, played: Played) -> None:
    """Compare the fetched with the published objects, one by one, and their total with `size` (bytes)."""
    objects = context.stores.open(published.place).list(published.prefix)
    links = published.prefix + renditions.LINKS
    stored = {f"/{published.place.bucket}/{each.key}": each.size for each in objects if not each.key.startswith(links)}
    listing = (renditions.PLAYLIST, f"/{inventory.NAME}")
    segments = {path: bytes_ for path, bytes_ in stored.items() if not path.endswith(listing)}
    if played.sizes != segments or sum(stored.values()) != size:
        raise ContentDiffers(path=published.path)

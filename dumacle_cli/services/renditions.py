"""Renditions: the outputs of transcodes, and links that play them."""

import hashlib
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from sqlalchemy import Row
from sqlalchemy.orm import Session

from dumacle_cli.errors import ForeignObject, NoSuchRendition, ObjectMissing
from dumacle_cli.services import downloads, placement
from dumacle_cli.store import models
from dumacle_cli.store import transcodes as store
from dumacle_cli.store.transcodes import Published
from dumacle_cli.units import Bytes

if TYPE_CHECKING:
    from dumacle_cli.clients.object_store import ObjectStore

Signed = Callable[[Mapping[str, str], str, Callable[[str], str]], dict[str, str]]
"""Rewrites every address in playlists (by relative path) with a function; the entry playlist is last."""

CONTENT_TYPES = {
    ".m3u8": "application/vnd.apple.mpegurl",
    ".m4s": "video/iso.segment",
    ".mp4": "video/mp4",
    ".m4a": "audio/mp4",
    ".jpg": "image/jpeg",
    ".vtt": "text/vtt",
    ".json": "application/json",
}
UNKNOWN = "application/octet-stream"
PLAYLIST = ".m3u8"
LINKS = "links/"
"""The folder of signed playlists in a rendition's prefix, with a subfolder per link, named for its expiry."""


@dataclass(frozen=True, slots=True)
class Rendition:
    """One published output of one content (`version`) of a file."""

    id: int
    name: str
    kind: str
    preset: str
    version: int
    transcode: int
    size: Bytes
    width: int | None
    height: int | None
    bitrate: int | None
    duration_ms: int | None
    frames: int | None
    damaged: float
    created_at: datetime


def of_file(session: Session, file_id: int) -> list[Rendition]:
    """Return the renditions of all contents of a file, in the order in which they were published."""
    return [_view(row) for row in store.renditions(session, "file_id", file_id)]


def of_transcode(session: Session, transcode_id: int) -> tuple[list[Rendition], list[dict[str, Any]]]:
    """Return the renditions of a transcode, and their rungs."""
    rows = store.renditions(session, "transcode_id", transcode_id)
    return [_view(row) for row in rows], [rung for row in rows for rung in row.Rendition.rungs or ()]


def _view(row: Row[Any]) -> Rendition:
    made: models.Rendition = row.Rendition
    return Rendition(
        id=made.id,
        name=made.name,
        kind=made.kind,
        preset=row.preset,
        version=row.version_id,
        transcode=made.transcode_id,
        size=made.size,
        width=made.width,
        height=made.height,
        bitrate=made.bitrate,
        duration_ms=made.duration_ms,
        frames=made.frames,
        damaged=made.damaged,
        created_at=made.created_at,
    )


# Links


def published(session: Session, file_id: int, name: str) -> Published:
    """Return the latest rendition of this name of a file's present content; raises NoSuchRendition, ForeignObject."""
    found = store.published(session, file_id)
    for each in found:
        if each.name == name:
            return _own(each)
    known = ", ".join(sorted({each.name for each in found})) or "none"
    raise NoSuchRendition(file=file_id, name=name, known=known)


def _own(wanted: Published) -> Published:
    """Return a rendition whose objects are those of its transcode; raises ForeignObject."""
    if not wanted.prefix.startswith(placement.renditions(wanted.pod_prefix, wanted.file_id, wanted.transcode_id)):
        raise ForeignObject(what=f"rendition {wanted.name} of file {wanted.file_id}", key=wanted.prefix)
    return wanted


def link(stores: "downloads.Stores", wanted: Published, seconds: int, *, download: bool = False) -> downloads.Link:
    """Sign a URL of a rendition that is one object, good for 1 s to 7 days; raises InvalidValue.

    It is shown, or saved if it is a `download`.
    """
    expires_at = downloads.expiry(seconds)
    name = PurePosixPath(downloads.file_name(wanted.path)).with_suffix(PurePosixPath(wanted.entry).suffix).name
    url = _presign(stores(wanted.place), wanted.prefix + wanted.entry, seconds, name, download=download)
    return downloads.Link(wanted.file_id, wanted.path, url, expires_at)


def playing_link(
    stores: "downloads.Stores", wanted: Published, seconds: int, signed: Signed, *, write: bool = True
) -> downloads.Link:
    """Sign a URL of playlists that hold signed URLs of each other and of all segments; raises InvalidValue.

    The playlists are copies next to the rendition; copies of expired links are removed. Without `write` nothing is
    stored, and the URL does not work.
    """
    expires_at = downloads.expiry(seconds)
    objects = stores(wanted.place)
    folder = f"{wanted.prefix}{LINKS}{int(expires_at.timestamp())}-{secrets.token_hex(8)}/"
    if write:
        names = [entry.key.removeprefix(wanted.prefix) for entry in objects.list(wanted.prefix)]
        objects.delete(wanted.prefix + name for name in names if _has_expired(name))
        _copy(objects, wanted, folder, seconds, names, signed)
    url = _presign(objects, folder + wanted.entry, seconds)
    return downloads.Link(wanted.file_id, wanted.path, url, expires_at)


def _has_expired(name: str) -> bool:
    until = name.removeprefix(LINKS).partition("-")[0]
    return name.startswith(LINKS) and until.isdigit() and int(until) <= time.time()


def _copy(
    objects: "ObjectStore", wanted: Published, folder: str, seconds: int, names: Iterable[str], signed: Signed
) -> None:
    """Store the playlists of a rendition, or the index of a sprite, below a folder; raises ObjectMissing.

    Other texts are not looked into: subtitles say what strangers wrote, and shall not have anything signed.
    """
    lists = {
        name: b"".join(objects.get(wanted.prefix + name)).decode()
        for name in names
        if (name.endswith(PLAYLIST) or name == wanted.entry) and not name.startswith(LINKS)
    }
    if wanted.entry not in lists:
        raise ObjectMissing(key=wanted.prefix + wanted.entry, provider=objects.location.provider)

    def sign(name: str) -> str:
        return _presign(objects, (folder if name in lists else wanted.prefix) + name, seconds)

    for name, text in signed(lists, wanted.entry, sign).items():
        body = text.encode()
        objects.put(folder + name, body, hashlib.sha256(body).hexdigest(), CONTENT_TYPES[PurePosixPath(name).suffix])


def _presign(objects: "ObjectStore", key: str, seconds: int, name: str = "", *, download: bool = False) -> str:
    place = PurePosixPath(key)
    content_type = CONTENT_TYPES.get(place.suffix, UNKNOWN)
    return objects.presign_get(key, seconds, name or place.name, content_type, download=download)

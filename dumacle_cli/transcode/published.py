"""Verify published renditions: read them back from the store as a player would. It spans several transactions."""

import hashlib
import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from dumacle_cli.errors import ContentDiffers, DumacleError, ObjectMissing
from dumacle_cli.services import inventory, transcodes
from dumacle_cli.services.renditions import LINKS, PLAYLIST
from dumacle_cli.services.side_by_side import in_order
from dumacle_cli.store import places, reconcile
from dumacle_cli.store import transcodes as store
from dumacle_cli.store.models import Pod
from dumacle_cli.transcode.playlists import addresses, lengths
from dumacle_cli.units import Bytes

if TYPE_CHECKING:
    from dumacle_cli.clients.object_store import ObjectStore
    from dumacle_cli.store.database import Database
    from dumacle_cli.store.places import Place

    Stores = Callable[[Place], ObjectStore]

PAGE = 100
AT_ONCE = 8
AHEAD = 64
TOLERANCE = 1.0
"""Seconds by which a playlist may be shorter or longer than what was published."""
Result = Literal["verified", "missing", "differs", "unplayable", "failed"]


@dataclass(frozen=True, slots=True)
class Verified:
    """The result for one rendition at one provider of its pod, and what was done about it (`repair`).

    It is `failed` if the store could not be reached.
    """

    id: int
    transcode: int
    path: str
    name: str
    provider: str
    size: Bytes
    result: Result
    error: str | None = None
    repair: str | None = None

    @property
    def lost(self) -> bool:
        """Whether players cannot have it from there."""
        return self.result not in ("verified", "failed")


def run(
    database: "Database", stores: "Stores", ids: list[int], chosen: store.TranscodeFilter, *, apply: bool
) -> Iterator[Verified]:
    """Verify the renditions of these transcodes, by default of all that a filter selects, of present contents only.

    Each is verified at both providers of its pod, if there are two and it was copied. With `apply`, what is lost at one
    is copied from the other, and what is lost at all is transcoded again.
    """
    for each in renditions(database, ids, chosen):
        found = [_verify(stores(place), each) for place in _places(database, each)]
        repair = _repair(database, each, found) if apply else None
        yield from (replace(one, repair=repair) if one.lost else one for one in found)


def _places(database: "Database", stored: store.Stored) -> list["Place"]:
    """Return where a rendition must be: at the primary place, and at the secondary one once it was copied there."""
    with database.session(read_only=True) as session:
        second = places.second(session.get_one(Pod, stored.pod_id))
        if second and reconcile.stored_at(session, "rendition", [stored.id], second.provider, primary=False):
            return [stored.place, second]
    return [stored.place]


def renditions(database: "Database", ids: list[int], chosen: store.TranscodeFilter) -> Iterator[store.Stored]:
    """Yield the renditions of present contents, of these transcodes or else of all that a filter selects."""
    after = 0
    while True:
        with database.session(read_only=True) as session:
            page = store.stored_renditions(session, ids, chosen, after, PAGE)
        yield from page
        if len(page) < PAGE:
            return
        after = page[-1].id


def _verify(objects: "ObjectStore", stored: store.Stored) -> Verified:
    result: Result = "verified"
    error, provider = None, objects.location.provider
    try:
        lists, names = _read(objects, stored)
        if stored.entry not in names:
            raise _missing(objects, stored.prefix + stored.entry)
        if error := unplayable(lists, names, stored.duration_ms):
            result = "unplayable"
    except ObjectMissing as fault:
        result, error = "missing", str(fault)
    except ContentDiffers as fault:
        result, error = "differs", str(fault)
    except DumacleError as fault:
        result, error = "failed", str(fault)
    return Verified(stored.id, stored.transcode_id, stored.path, stored.name, provider, stored.size, result, error)


def _read(objects: "ObjectStore", stored: store.Stored) -> tuple[dict[str, str], set[str]]:
    """Read a rendition back, and return its playlists and the names of all objects; raises what is wrong with them."""
    own = listed(objects, stored)
    differs = ContentDiffers(path=f"{stored.path} ({stored.name})")

    def body(each: inventory.Listed) -> bytes:
        digest, size, kept = hashlib.sha256(), 0, bytearray()
        for chunk in objects.get(stored.prefix + each.name):
            digest.update(chunk)
            size += len(chunk)
            if each.name.endswith(PLAYLIST):
                kept += chunk
        if size != each.size or each.sha256 not in ("", digest.hexdigest()):
            raise differs
        return bytes(kept)

    bodies = list(in_order(body, own, threads=AT_ONCE, ahead=AHEAD))
    whole = sum(each.size for each in own)
    if stored.inventory is None and whole != stored.size:
        raise differs
    found = zip(own, bodies, strict=True)
    lists = {each.name: text.decode(errors="replace") for each, text in found if each.name.endswith(PLAYLIST)}
    return lists, {each.name for each in own}


def listed(objects: "ObjectStore", stored: store.Stored) -> list[inventory.Listed]:
    """Return what the inventory lists, or what the store does where there is none: older renditions have none."""
    if stored.inventory is None:
        found = ((entry.key.removeprefix(stored.prefix), entry.size) for entry in objects.list(stored.prefix))
        own = [inventory.Listed(name, size, "") for name, size in found if not name.startswith(LINKS)]
        if not own:
            raise _missing(objects, stored.prefix)
        return own
    listed = inventory.read(b"".join(objects.get(stored.prefix + inventory.NAME)), stored.inventory)
    if listed is None:
        raise ContentDiffers(path=f"{stored.path} ({stored.name})")
    return listed


def _missing(objects: "ObjectStore", key: str) -> ObjectMissing:
    return ObjectMissing(key=key, provider=objects.location.provider)


def unplayable(lists: Mapping[str, str], names: Iterable[str], duration_ms: int | None) -> str | None:
    """Return what keeps a player from playing these playlists to the end, or None."""
    known = set(names)
    for path, text in lists.items():
        if not text.startswith("#EXTM3U"):
            return f"{path} is no playlist"
        folder = posixpath.dirname(path)
        for address in addresses(text):
            if posixpath.normpath(posixpath.join(folder, address)) not in known:
                return f"{path} names {address}, which is not there"
        if (pieces := lengths(text)) and (wrong := _wrong_length(text, pieces, duration_ms)):
            return f"{path} {wrong}"
    return None


def _wrong_length(text: str, pieces: list[float], duration_ms: int | None) -> str | None:
    if "#EXT-X-ENDLIST" not in text:
        return "has no end"
    if duration_ms is not None and abs(sum(pieces) - duration_ms / 1000) > TOLERANCE:
        return f"lasts {sum(pieces):.1f} s, and {duration_ms / 1000:.1f} s were published"
    return None


def _repair(database: "Database", stored: store.Stored, found: list[Verified]) -> str | None:
    """Let what is lost at one place be copied from the other, or be made again if it is lost at all."""
    lost = [each.provider for each in found if each.lost]
    whole = [each.provider for each in found if each.result == "verified"]
    with database.session() as session:
        if lost and whole:
            reconcile.mark_missing(session, "rendition", [stored.id], *lost)
            return f"is copied from {whole[0]}"
        if len(lost) < len(found):
            return None
        [made], _ = transcodes.submit_versions(
            session, [stored.version_id], stored.preset, store.LIVE, stored.damage, stored.priority
        )
    return f"is transcoded again: transcode {made.id}"

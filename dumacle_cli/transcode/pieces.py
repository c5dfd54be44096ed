"""The pieces of a film in chunks at the store: fetched to be put together, and removed when the transcode has ended."""

import hashlib
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from dumacle_cli.errors import DumacleError, ObjectMissing, OutputBroken
from dumacle_cli.services import downloads, inventory, placement
from dumacle_cli.services.side_by_side import in_order
from dumacle_cli.store import pieces as store
from dumacle_cli.store.pieces import Piece
from dumacle_cli.store.work_units import Claimed
from dumacle_cli.transcode import delivery
from dumacle_cli.transcode.child import Stopped
from dumacle_cli.transcode.fetch import PATIENCE
from dumacle_cli.transcode.lease import WorkerDeps
from dumacle_cli.transcode.scratch import check_room

AT_ONCE, AHEAD = 8, 64
INVENTORY = 64 * 1024**2
"""Bytes, far more than the list of a piece takes."""


def fetch(deps: WorkerDeps, unit: Claimed, found: list[Piece], folder: Path, stop: threading.Event) -> list[Path]:
    """Fetch pieces, each into a folder of its own in `folder`; raises OutputBroken if one is not what was stored."""
    objects, patience = deps.stores(unit.content.place), downloads.patient(PATIENCE)
    targets = []

    def get(key: str, size: int) -> bytes:
        if stop.is_set():
            raise Stopped
        return patience.call(lambda: objects.puts.get(key, size))

    for number, piece in enumerate(found):
        prefix = placement.renditions(unit.pod_prefix, unit.content.file_id, unit.transcode_id, piece.token)
        targets.append(folder / f"piece-{number}")
        try:
            _fetch(get, prefix, piece, targets[-1])
        except ObjectMissing:
            raise OutputBroken(reason="a piece of it is missing at the store") from None
    return targets


def _fetch(get: Callable[[str, int], bytes], prefix: str, piece: Piece, target: Path) -> None:
    listed = inventory.read(get(prefix + inventory.NAME, INVENTORY), piece.inventory)
    if listed is None:
        raise OutputBroken(reason="a piece of it was changed at the store")
    for each in listed:
        (target / each.name).parent.mkdir(parents=True, exist_ok=True)
    check_room(target, sum(each.size for each in listed))

    def one(each: inventory.Listed) -> None:
        body = get(prefix + each.name, each.size)
        if hashlib.sha256(body).hexdigest() != each.sha256:
            raise OutputBroken(reason="a piece of it was changed at the store")
        (target / each.name).write_bytes(body)

    for _ in in_order(one, listed, threads=AT_ONCE, ahead=AHEAD):
        pass


def sweep(deps: WorkerDeps) -> None:
    """Remove the pieces of transcodes that have ended."""
    with deps.database.session(read_only=True) as session:
        ended = store.ended(session)
    for each in ended:
        prefix = placement.renditions(each.pod_prefix, each.file_id, each.transcode_id)
        with suppress(DumacleError):  # it is tried again
            delivery.erase(deps.stores(each.place), prefix, but=each.prefix or "")
            with deps.database.session() as session:
                store.forget(session, [each.transcode_id])

"""Fetch a content into a folder, and probe it."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dumacle_cli.retry import Patience
from dumacle_cli.services import downloads
from dumacle_cli.transcode.child import Stopped
from dumacle_cli.transcode.limits import Limits
from dumacle_cli.transcode.probe import Media, probe
from dumacle_cli.transcode.scratch import check_room

if TYPE_CHECKING:
    from dumacle_cli.clients.object_store import ObjectStore
    from dumacle_cli.store.files import Content
    from dumacle_cli.store.places import Place

PATIENCE = 10.0
"""How many seconds a store may be away from which a unit fetches, before it goes back into the queue."""


@dataclass(frozen=True, slots=True)
class FetchDeps:
    """What fetching needs: the stores of contents and the patience with them, FFmpeg, a folder, and the limits."""

    stores: "Callable[[Place], ObjectStore]"
    patience: Patience
    ffmpeg: Path
    scratch: Path | None
    limits: Limits


def fetch(deps: FetchDeps, content: "Content", target: Path, stop: threading.Event | None = None) -> Media:
    """Write a content to `target`, and probe it.

    Raises BadMedia, Stopped, OSError for a full disk, and the store's errors.
    """
    check_room(target.parent, content.size)
    with target.open("wb") as file:
        for chunk in downloads.checked(deps.stores, content, deps.patience):
            if stop and stop.is_set():
                raise Stopped
            file.write(chunk)
    return probe(deps.ffmpeg, target, deps.limits, stop)

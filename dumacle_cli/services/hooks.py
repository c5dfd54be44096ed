"""The hook is told of every transcode that ended, at least once. Each call spans two transactions."""

import json
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dumacle_cli.errors import ToolFailed
from dumacle_cli.plain import plain
from dumacle_cli.services import transcodes
from dumacle_cli.store import hook_calls as store

if TYPE_CHECKING:
    from collections.abc import Callable

    from dumacle_cli.store.database import Database

    Hook = Callable[[str, bytes], None]

SCHEMA = "dumacle.transcode.ended.v1"
BATCH = 10
CLAIM_SECONDS = 600.0
"""Longer than the hook takes for a batch."""


@dataclass(slots=True)
class Told:
    """How many transcodes the hook was told of, and the last error of those that are tried again."""

    told: int = 0
    failed: int = 0
    error: str | None = None


def run(database: "Database", hook: "Hook", stop: threading.Event) -> Told:
    """Tell the hook of all transcodes that are due, until there are none or `stop` is set."""
    done = Told()
    while not stop.is_set():
        with database.session() as session:
            claimed = store.claim(session, BATCH, CLAIM_SECONDS)
            bodies = {each.id: body(each) for each in transcodes.get(session, claimed)}
        if not bodies:
            break
        for number, (transcode_id, told) in enumerate(bodies.items()):
            if stop.is_set():
                with database.session() as session:
                    store.give_back(session, list(bodies)[number:])
                break
            _tell(database, hook, transcode_id, told, done)
    return done


def body(ended: transcodes.Transcode) -> bytes:
    """Return what the hook is told: the transcode as `transcode show` has it."""
    return json.dumps({"schema": SCHEMA, "data": plain(ended)}).encode()


def _tell(database: "Database", hook: "Hook", transcode_id: int, told: bytes, done: Told) -> None:
    try:
        hook(f"transcode-{transcode_id}", told)
    except ToolFailed as fault:
        done.failed, done.error = done.failed + 1, str(fault)
        with database.session() as session:
            store.postpone(session, transcode_id, str(fault))
        return
    done.told += 1
    with database.session() as session:
        store.done(session, transcode_id)

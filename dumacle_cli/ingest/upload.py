"""One upload from start to end: the run is opened, driven and closed; or foreseen.

It lives longer than a transaction: intents, results and heartbeats are committed as they come, so that a kill at any
point is recovered by running the same command again.
"""

import asyncio
import json
import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TextIO

from dumacle_cli import errors, retry
from dumacle_cli.ingest import items, plan
from dumacle_cli.ingest.engine import BATCH, Engine, Stores, Upload, me
from dumacle_cli.ingest.items import Progress, Summary, Tally
from dumacle_cli.ingest.scan import scan
from dumacle_cli.store import uploads
from dumacle_cli.store.database import Database


def foresee(database: Database, upload: Upload, progress: Progress) -> tuple[Summary, Tally]:
    """Tell what an upload would come to, reading the database and writing nothing anywhere."""
    started, tally = time.monotonic(), Tally()
    found = scan(upload.sources, upload.prefix)
    with database.session(read_only=True) as session:
        room = uploads.room(session, upload.place.pod_id, upload.place.owner_id, datetime.now(UTC))
    while batch := list(islice(found, BATCH)):
        with database.session(read_only=True) as session:
            held = plan.held(session, upload.place, batch)
        compared = plan.compare(upload.place, batch, held, halted=lambda: False)
        for outcome in plan.foresee(upload.place, compared, room, upload.transcode):
            tally.add(outcome)
            progress.ended(outcome)
    return items.summarise(tally, None, time.monotonic() - started), tally


def run(
    database: Database, stores: Stores, upload: Upload, progress: Progress, results: Path | None = None
) -> tuple[Summary, Tally]:
    """Upload, and return the totals; `results` is written when the run is ours.

    Raises NotFound for a source, RunBusy, and what broke the run off.
    """
    started, tally = time.monotonic(), Tally()
    upload = _open(database, upload)
    with _closing(database, upload.place.run, tally), _lines(results) as lines:
        asyncio.run(Engine(database, stores, upload, progress, lines, tally).drive())
    return items.summarise(tally, upload.place.run, time.monotonic() - started), tally


def _lines(results: Path | None) -> AbstractContextManager[TextIO | None]:
    return results.open("w", encoding="utf-8") if results else nullcontext()


def _open(database: Database, upload: Upload) -> Upload:
    """Open the run, or take over one whose holder is gone; raises RunBusy where it is alive."""
    held = retry.on_lock(lambda: _held(database, upload))
    return replace(upload, place=replace(upload.place, run=held))


def _held(database: Database, upload: Upload) -> int:
    host, pid = me()
    with database.session() as session:
        uploads.reap_leases(session)
        held = uploads.open_run(
            session,
            name=f"{upload.place.owner} to {upload.place.pod}",
            pod=upload.place.pod_id,
            owner=upload.place.owner_id,
            prefix=upload.prefix,
            selection=upload.selection,
            host=host,
            pid=pid,
        )
        if not held.made:
            gone = held.host == host and not _alive(held.pid)
            if held.silent < plan.LEASE_SECONDS and not gone:
                raise errors.RunBusy(run=held.id, host=held.host, pid=held.pid)
            uploads.take_run_over(session, held.id, host, pid)
        return int(held.id)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid != os.getpid()


@contextmanager
def _closing(database: Database, run: int, tally: Tally) -> Iterator[None]:
    """End the run with what it came to; where the database is gone, too, the next run of the same command will."""
    try:
        yield
    except BaseException as broken:
        with suppress(errors.DumacleError):
            _close(database, run, "failed" if isinstance(broken, Exception) else "interrupted", tally)
        raise
    _close(database, run, "partial" if tally.troubled else "done", tally)


def _close(database: Database, run: int, status: str, tally: Tally) -> None:
    host, pid = me()
    values = {"host": host, "pid": pid, "status": status, "files": tally.planned, "size": tally.planned_bytes}
    totals = json.dumps(items.totals(tally))

    def close() -> None:
        with database.session() as session:
            uploads.close_run(session, run, **values, totals=totals)

    retry.on_lock(close)

"""One upload from start to end, or a preview of it.

An upload spans many transactions: intents, results and heartbeats are committed as they come. If it is killed at any
point, running the same command again recovers it.
"""

import time
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from dumacle_cli import errors, retry
from dumacle_cli.ingest import decide, items
from dumacle_cli.ingest.delete_source import Deleting
from dumacle_cli.ingest.engine import BATCH, Engine
from dumacle_cli.ingest.items import Progress, Summary, Tally, Times
from dumacle_cli.ingest.runs import Run, UploadRequest, opened
from dumacle_cli.ingest.scan import scan
from dumacle_cli.services import placement
from dumacle_cli.services.placement import Target
from dumacle_cli.store import dedupe, uploads
from dumacle_cli.store.database import Database

if TYPE_CHECKING:
    from dumacle_cli.clients.object_store import ObjectStore
    from dumacle_cli.store.places import Place


def upload(
    database: Database,
    stores: "Callable[[Place], ObjectStore]",
    request: UploadRequest,
    progress: Progress,
    results: Path | None = None,
) -> tuple[Summary, Tally]:
    """Upload the files of a request and return the totals; `results` gets one JSON line per file.

    An outage of the database is waited out once it has answered for the first time. Raises NotFound, UserDisabled,
    NotGranted or Conflict for the owner and pod, QuotaExceeded if nothing can be transcoded, SchemaTooOld for `dedupe`,
    NoSuchSource, RunBusy, and the error that broke the run off.
    """
    started, tally = time.monotonic(), Tally()
    patience = retry.Patience("the database", request.patience, _is_outage, progress.say)
    target = _target(database, request)
    store, second = patience.call(lambda: stores(target.place)), target.second
    if request.delete_source:
        progress = Deleting(progress, tally)
    with (
        opened(database, request, target, tally, patience) as run,
        results.open("w", encoding="utf-8") if results else nullcontext() as lines,
    ):
        patience.call(lambda: _require_place(database, request, target))
        opened_second = (lambda: stores(second)) if second else None
        times = Engine(database, store, opened_second, run, progress, lines, tally, patience).drive()
    return items.summarise(tally, run.first, time.monotonic() - started, times), tally


def _require_place(database: Database, request: UploadRequest, target: Target) -> None:
    """Raise Conflict if the providers of the pod changed before the run was open, which since then prevents it."""
    found = _target(database, request)
    if (found.place, found.second) != (target.place, target.second):
        reason = f"the providers of pod {target.pod} were changed just now"
        raise errors.Conflict(reason=reason, advice="repeat the command")


def preview(
    database: Database, request: UploadRequest, progress: Progress, results: Path | None = None
) -> tuple[Summary, Tally]:
    """Return the totals that an upload would have, without writing anything; raises what `upload` raises.

    Nothing is hashed to deduplicate it.
    """
    started, tally = time.monotonic(), Tally()
    run = Run(0, request, _target(database, request))
    own = results.stat() if results and results.exists() else None
    found = scan(request.sources, request.prefix, request.rules, own)
    with database.session(read_only=True) as session:
        free = uploads.free_space(session, run.target.pod_id, run.target.owner_id, datetime.now(UTC))
    while batch := list(islice(found, BATCH)):
        with database.session(read_only=True) as session:
            known = decide.known(session, run, batch)
        compared = decide.compare(run, batch, known, halted=lambda: False)
        for outcome in decide.preview(run, compared, free):
            tally.add(outcome)
            progress.ended(outcome)
    return items.summarise(tally, None, time.monotonic() - started, Times()), tally


def _target(database: Database, request: UploadRequest) -> Target:
    with database.session(read_only=True) as session:
        target = placement.target(session, request.owner, request.pod or None)
        if request.dedupe:
            dedupe.require(session)
        if request.transcode:
            from dumacle_cli.services import transcodes

            transcodes.check_owners(session, [target.owner_id])
        return target


def _is_outage(error: errors.DumacleError) -> bool:
    """Whether the database is away or busy; what was lost at COMMIT is repeated as the same operation."""
    broken_off = isinstance(error, errors.BrokenOff) and error.exit is errors.Exit.TEMPORARY
    return broken_off or isinstance(error, errors.CommitUnknown)

"""Runs: open, keep alive and close the row of an upload.

One process holds a run, over many transactions. If that process is killed, repeating its command takes the run over.
"""

import hashlib
import json
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from dumacle_cli import errors, retry
from dumacle_cli.ingest.items import Tally, totals
from dumacle_cli.services.placement import Target
from dumacle_cli.services.transcodes import TranscodeRequest
from dumacle_cli.store import uploads
from dumacle_cli.store.database import Database

LEASE_SECONDS = 30.0
"""How long a run and its leases stay valid after the last heartbeat."""


@dataclass(frozen=True, slots=True)
class UploadRequest:
    """The sources, owner and target of an upload, and its limits (bytes); an empty pod is the owner's default.

    `allow_empty` accepts folders without files. `checksum` compares contents even if size and mtime are equal, and
    `force` uploads without comparing.
    """

    sources: Sequence[bytes]
    owner: str
    pod: str
    prefix: str
    operation: str
    max_file_size: int
    large_file_size: int
    concurrency: int
    """The most small files sent at once; 0 is as many as help."""
    patience: float = 300
    """Seconds for which an outage of the store or the database is waited out."""
    bandwidth: int = 0
    """The most bytes sent in a second; 0 is no limit."""
    stop_after: int = 0
    allow_empty: bool = False
    checksum: bool = False
    force: bool = False
    transcode: TranscodeRequest | None = None

    @property
    def selection(self) -> bytes:
        """A hash of the sources, which distinguishes runs with the same owner, pod and prefix."""
        absolute = b"\0".join(sorted(os.path.abspath(source) for source in self.sources))  # noqa: PTH100 - bytes
        return hashlib.sha256(absolute).digest()


@dataclass(frozen=True, slots=True)
class Run:
    """A run that this process holds, or a preview with the id 0."""

    id: int
    request: UploadRequest
    target: Target


def this_process() -> tuple[str, int]:
    """Return the host and pid that identify the holder of a run."""
    return socket.gethostname(), os.getpid()


@contextmanager
def opened(
    database: Database, request: UploadRequest, target: Target, tally: Tally, patience: retry.Patience
) -> Iterator[Run]:
    """Open a run, or take over one with a dead process, and close it with its totals; raises RunBusy.

    If closing fails as well, the next run of the same command closes it.
    """
    run = patience.call(lambda: retry.on_lock(lambda: _open(database, request, target)))
    try:
        yield run
    except BaseException as error:
        with suppress(errors.DumacleError):
            _close(database, run, "failed" if isinstance(error, Exception) else "interrupted", tally)
        raise
    patience.call(lambda: _close(database, run, "partial" if tally.failures else "done", tally))


def _open(database: Database, request: UploadRequest, target: Target) -> Run:
    host, pid = this_process()
    with database.session() as session:
        uploads.reap_leases(session)
        row = uploads.open_run(
            session,
            name=f"{target.owner} to {target.pod}",
            pod=target.pod_id,
            owner=target.owner_id,
            prefix=request.prefix,
            selection=request.selection,
            host=host,
            pid=pid,
        )
        if not row.made:
            is_gone = row.host == host and not _is_alive(row.pid)
            if row.silent < LEASE_SECONDS and not is_gone:
                raise errors.RunBusy(run=row.id, host=row.host, pid=row.pid)
            uploads.take_over_run(session, row.id, host, pid)
        return Run(int(row.id), request, target)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid != os.getpid()


def keep_alive(database: Database, run: Run, percents: dict[int, int]) -> None:
    """Send a heartbeat, and the progress of large files in percent; raises RunBusy if another process holds the run."""
    host, pid = this_process()
    with database.session() as session:
        if percents:
            uploads.record_progress(session, percents)
        if not uploads.heartbeat(session, run.id, host, pid, LEASE_SECONDS):
            holder = uploads.holder(session, run.id)
            raise errors.RunBusy(run=run.id, host=holder.host, pid=holder.pid)


def _close(database: Database, run: Run, status: str, tally: Tally) -> None:
    host, pid = this_process()
    values = {"host": host, "pid": pid, "status": status, "files": tally.planned, "size": tally.planned_bytes}

    def close() -> None:
        with database.session() as session:
            uploads.close_run(session, run.id, **values, totals=json.dumps(totals(tally)))

    retry.on_lock(close)

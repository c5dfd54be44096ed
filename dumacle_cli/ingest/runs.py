"""Runs: open, join, keep alive and close the rows of an upload.

Each process of a run holds a row of its own, over many transactions. If all of them are killed, repeating the command
takes the run over. A process that was silent for longer than its leases last is passed over: what it still records is
refused.
"""

import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from dumacle_cli import errors, retry
from dumacle_cli.ingest.items import Tally, totals
from dumacle_cli.ingest.selection import EVERYTHING, Rules
from dumacle_cli.services.placement import Target
from dumacle_cli.services.transcode_request import TranscodeRequest
from dumacle_cli.store import runs, uploads
from dumacle_cli.store.database import Database

OnChange: TypeAlias = Literal["version", "keep", "fail"]
LEASE_SECONDS = runs.LEASE_SECONDS
"""How long a process of a run, and its leases, stay valid after its last heartbeat."""


@dataclass(frozen=True, slots=True)
class UploadRequest:
    """The sources, owner and target of an upload, and its limits (bytes); an empty pod is the owner's default.

    `rules` say what is taken of the sources. `checksum` compares contents even if size and mtime are equal, and
    `force` uploads without comparing. `on_change` says what happens to other content at a path: a new version, kept as
    it is, or refused. `dedupe` does not send contents that the owner has in the pod already. `delete_source` deletes
    sources that are proven to be stored. `join` takes part in a run that other processes have open. `parameters` is
    what was typed, with which the run can be repeated.
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
    rules: Rules = EVERYTHING
    checksum: bool = False
    force: bool = False
    on_change: OnChange = "version"
    dedupe: bool = False
    delete_source: bool = False
    transcode: TranscodeRequest | None = None
    join: bool = False
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def selection(self) -> bytes:
        """A hash of the sources and rules, which distinguishes runs with the same owner, pod and prefix."""
        return self.rules.identity(self.sources)


@dataclass(frozen=True, slots=True)
class Run:
    """This process's part in a run, or a preview with the id 0; `first` is the id of the run as a whole."""

    id: int
    request: UploadRequest
    target: Target
    first: int = 0
    tally: Tally = field(default_factory=Tally)


def this_process() -> tuple[str, int]:
    """Return the host and pid that identify the holder of a run."""
    return socket.gethostname(), os.getpid()


@contextmanager
def opened(
    database: Database, request: UploadRequest, target: Target, tally: Tally, patience: retry.Patience
) -> Iterator[Run]:
    """Open a run, join it or take over one with dead processes, and leave it with the totals; raises RunBusy.

    The last process closes the run. If that fails as well, the next run of the same command or `files reap` closes it.
    """
    run = patience.call(lambda: retry.on_lock(lambda: _open(database, request, target, tally)))
    try:
        yield run
    except BaseException as error:
        with suppress(errors.DumacleError):
            _leave(database, run, "failed" if isinstance(error, Exception) else "interrupted", tally, str(error))
        raise
    patience.call(lambda: _leave(database, run, "partial" if tally.failures else "done", tally))


def _open(database: Database, request: UploadRequest, target: Target, tally: Tally) -> Run:
    (host, pid), parameters = this_process(), json.dumps(dict(request.parameters))
    with database.session() as session:
        uploads.reap_leases(session)
        first = runs.open_run(
            session,
            name=f"{target.owner} to {target.pod}",
            pod=target.pod_id,
            owner=target.owner_id,
            prefix=request.prefix,
            selection=request.selection,
            host=host,
            pid=pid,
            parameters=parameters,
        )
        if first.made:
            return Run(first.id, request, target, first.id, tally)
        others = runs.processes(session, first.id)
        live = [each for each in others if not _is_gone(each)]
        if live and not request.join:
            raise errors.RunBusy(run=first.id, host=live[0].host, pid=live[0].pid)
        runs.expel(session, [each.id for each in others if _is_gone(each)])
        if live:
            return Run(runs.join(session, first.id, host, pid), request, target, first.id, tally)
        runs.take_over(session, first.id, host=host, pid=pid, parameters=parameters)
        return Run(first.id, request, target, first.id, tally)


def _is_gone(process: Any) -> bool:
    return process.silent >= LEASE_SECONDS or (process.host == socket.gethostname() and not _is_alive(process.pid))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid != os.getpid()


def keep_alive(database: Database, run: Run, percents: dict[int, int]) -> None:
    """Send a heartbeat, and the progress of large files in percent.

    Raises RunBusy if another process took the run over, and RunCancelled.
    """
    host, pid = this_process()
    with database.session() as session:
        if percents:
            uploads.record_progress(session, percents)
        cancelled = runs.heartbeat(session, run.id, run.first, host, pid, LEASE_SECONDS)
        if cancelled is None:
            holder = runs.holder(session, run.id)
            raise errors.RunBusy(run=run.id, host=holder.host, pid=holder.pid)
        runs.report(session, run.id, **_counted(run.tally))
    if cancelled:
        raise errors.RunCancelled(run=run.first)


def _leave(database: Database, run: Run, status: str, tally: Tally, error: str | None = None) -> None:
    host, pid = this_process()
    values = {"host": host, "pid": pid, "error": error or None, **_counted(tally)}

    def leave() -> None:
        with database.session() as session:
            first = runs.lock(session, run.first)
            if not runs.leave(session, run.id, status=status, **values):
                return
            others = runs.processes(session, run.first)
            runs.expel(session, [each.id for each in others if _is_gone(each)])
            uploads.end_attempts(session, run.first, keep_parts=not first.cancelled)
            if all(_is_gone(each) for each in others):
                runs.close(session, run.first, "cancelled" if first.cancelled else status)

    retry.on_lock(leave)


def _counted(tally: Tally) -> dict[str, Any]:
    return {"files": tally.planned, "size": tally.planned_bytes, "totals": json.dumps(totals(tally))}

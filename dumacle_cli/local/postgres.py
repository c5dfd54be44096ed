"""The embedded PostgreSQL: one server on `<folder>/postgres`, reached through a unix socket there."""

import hashlib
import os
import signal
from contextlib import suppress
from pathlib import Path

from dumacle_cli.errors import EmbeddedFailed, ToolFailed
from dumacle_cli.local.address import SOCKET
from dumacle_cli.local.folder import Account, Secrets
from dumacle_cli.local.process import Identity, end, launch, wait

START_SECONDS = 120.0
LEFTOVER_SECONDS = 15.0
STOP_STEPS = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 10.0))


def running(folder: Path) -> int | None:
    """Return the pid of the PostgreSQL that accepts connections, or None."""
    pid, state = _read_pid_file(folder)
    return pid if pid and state == "ready" and _identity(folder).runs_as(pid) else None


def start(folder: Path, secrets: Secrets, account: Account) -> int:
    """Start PostgreSQL unless it runs, creating the cluster on first use; returns its pid.

    Call it while holding the folder's lock. Raises EmbeddedFailed, MissingExtra.
    """
    from dumacle_cli.local import cluster

    executables = cluster.programs(folder, account)
    if cluster.cluster_version(folder) is None:
        cluster.create(folder, executables, secrets, account)
    found = _await_existing(folder)
    if found:
        return found
    _clear_leftovers(folder)
    data = folder / "postgres"
    cluster.configure(data, _cluster_name(data), account)
    return _launch(folder, executables, cluster.ENVIRONMENT, account)


def stop(folder: Path) -> bool:
    """Stop PostgreSQL and end its connections; returns whether it was running. Raises ToolFailed if it cannot."""
    pid, _ = _read_pid_file(folder)
    identity = _identity(folder)
    if not pid or not identity.runs_as(pid):
        return False
    if not end(identity, pid, STOP_STEPS):
        raise ToolFailed(tool="PostgreSQL", reason=f"process {pid} does not stop")
    return True


def _launch(folder: Path, executables: Path, environment: dict[str, str], account: Account) -> int:
    log, data = folder / "postgres.log", folder / "postgres"
    start_of_log = log.stat().st_size if log.exists() else 0
    process = launch(
        executables / "postgres", ["-D", str(data)], account, folder=data, log=log, environment=environment
    )
    wait(lambda: process.poll() is not None or running(folder) is not None, START_SECONDS)
    if running(folder) is None:
        raise EmbeddedFailed(server="PostgreSQL", reason=_last_error(log, start_of_log), log=log)
    return process.pid


def _await_existing(folder: Path) -> int | None:
    # It may still be recovering after the command that launched it died, or it may be shutting down.
    pid, _ = _read_pid_file(folder)
    identity = _identity(folder)
    if pid and identity.runs_as(pid):
        wait(lambda: running(folder) is not None or not identity.runs_as(pid), START_SECONDS)
    return running(folder)


def _clear_leftovers(folder: Path) -> None:
    identity, data = _identity(folder), folder / "postgres"
    for pid in identity.leftovers():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGQUIT)
    if not wait(lambda: not identity.leftovers(), LEFTOVER_SECONDS):
        reason = f"processes {identity.leftovers()} of the previous server do not end"
        raise EmbeddedFailed(server="PostgreSQL", reason=reason, log=folder / "postgres.log")
    pid, _ = _read_pid_file(folder)
    if not pid or not identity.runs_program(pid):
        # Otherwise PostgreSQL mistakes any other live process with that pid for the previous server.
        (data / "postmaster.pid").unlink(missing_ok=True)
        (data / f"{SOCKET}.lock").unlink(missing_ok=True)


def _read_pid_file(folder: Path) -> tuple[int, str]:
    try:
        lines = (folder / "postgres" / "postmaster.pid").read_text().splitlines()
        return int(lines[0]), lines[7].strip() if len(lines) > 7 else ""
    except (FileNotFoundError, ValueError, IndexError):
        return 0, ""


def _identity(folder: Path) -> Identity:
    data = folder / "postgres"
    return Identity("postgres", data, f"postgres: {_cluster_name(data)}: ")


def _cluster_name(data: Path) -> str:
    return f"dumacle-{hashlib.sha256(os.fsencode(data)).hexdigest()[:16]}"


def _last_error(log: Path, offset: int) -> str:
    with log.open("rb") as file:
        file.seek(offset)
        lines = file.read().decode(errors="replace").splitlines()
    fatal = [line for line in lines if "FATAL" in line or "PANIC" in line]
    return (fatal or lines or [f"it was not ready after {START_SECONDS:.0f} s"])[-1]

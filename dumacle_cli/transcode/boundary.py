"""Whether the system keeps programs that read media away from files and the network: found out by trying."""

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from socket import create_server

from dumacle_cli.transcode.child import confined

SECONDS = 20
# What an attacker would try from within a decoder.
TRY = """
import json, socket, sys
def open_file():
    open(sys.argv[1]).read()
def connect():
    socket.create_connection(("127.0.0.1", int(sys.argv[2])), 5).close()
def succeeds(attempt):
    try:
        attempt()
    except OSError:
        return False
    return True
print(json.dumps([succeeds(open_file), succeeds(connect)]))
"""


@dataclass(frozen=True, slots=True)
class Boundary:
    """Which boundaries hold."""

    files: bool
    network: bool


def boundary() -> Boundary:
    """Try to pass the boundaries: to read a file of this account, and to connect to a port of this machine."""
    with tempfile.NamedTemporaryFile() as secret, create_server(("127.0.0.1", 0)) as trap:
        command = [sys.executable, "-I", "-S", "-c", TRY, secret.name, str(trap.getsockname()[1])]
        with (
            tempfile.TemporaryDirectory() as folder,
            tempfile.TemporaryFile() as answer,
            confined(command, Path(folder), {}, answer, subprocess.DEVNULL) as process,
        ):
            process.wait(SECONDS)
            answer.seek(0)
            read, connected = json.load(answer)
    return Boundary(files=not read, network=not connected)

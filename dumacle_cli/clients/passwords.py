"""Where a login's password comes from if its URL has none; libpq's own sources come last."""

import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

from dumacle_cli.clients import sessions
from dumacle_cli.errors import LoginExpired, PasswordFileRefused, ToolFailed
from dumacle_cli.settings import Settings, password_of

CREDENTIAL = "dumacle-password"
TIMEOUT = 10.0
LONGEST = 4096
LIBPQ = "libpq: PGPASSFILE or ~/.pgpass, if any"


@dataclass(frozen=True, slots=True)
class Source:
    """The source of a login's password; without `read`, libpq finds one itself.

    `valid_until` is when a session expires.
    """

    name: str
    login: str
    read: Callable[[], str] | None = None
    valid_until: datetime | None = None
    in_keyring: bool = False


def source(url: str, settings: Settings, environ: Mapping[str, str]) -> Source:
    """Return the source of the password for a URL, without reading it; raises NotLoggedIn for a damaged session."""
    login = login_of(url)
    if password_of(url):
        return Source("the URL", login)
    if settings.password_file:
        return Source(f"password_file {settings.password_file}", login, partial(read, settings.password_file))
    if credential := _credential(environ):
        return Source(f"systemd credential {CREDENTIAL}", login, partial(_given, credential))
    if settings.password_command:
        return Source("password_command", login, partial(_printed, settings.password_command, environ))
    if session := sessions.find(environ, bare(url)):
        read_session = partial(sessions.password, session)
        name, in_keyring = f"session, stored in the {session.store}", session.store == "keyring"
        return Source(name, session.login, read_session, session.valid_until, in_keyring)
    return Source(LIBPQ, login)


def complete(url: str, source: Source) -> str:
    """Return a URL with the password from its source.

    Raises PasswordFileRefused, ToolFailed, NotLoggedIn, LoginExpired.
    """
    if source.valid_until and source.valid_until <= datetime.now(UTC):
        raise LoginExpired(until=source.valid_until)
    return with_login(url, source.login, source.read()) if source.read else url


def read(file: Path) -> str:
    """Return the password from a file that only its owner can read; raises PasswordFileRefused."""
    return lines(file)[0]


def lines(file: Path) -> list[str]:
    """Return the lines, at least one, of a file that only its owner can read; raises PasswordFileRefused."""
    try:
        with file.open(encoding="utf-8") as handle:
            if stat.S_IMODE(os.fstat(handle.fileno()).st_mode) & 0o077:
                raise PasswordFileRefused(file=file, reason="can be read by others", advice=f"chmod 600 {file}")
            found = handle.read(LONGEST).splitlines()
    except (OSError, UnicodeDecodeError) as fault:
        reason = fault.strerror if isinstance(fault, OSError) else "it is not text"
        raise PasswordFileRefused(file=file, reason=f"cannot be read: {reason}", advice="name another file") from None
    if not found or not found[0]:
        raise PasswordFileRefused(file=file, reason="is empty", advice="write the password on its first line")
    return found


def _credential(environ: Mapping[str, str]) -> Path | None:
    folder = environ.get("CREDENTIALS_DIRECTORY")
    file = Path(folder, CREDENTIAL) if folder else None
    return file if file and file.exists() else None


def _given(credential: Path) -> str:
    # No mode check: systemd itself keeps others out, sometimes by an ACL that looks like group permissions.
    return credential.read_text("utf-8").rstrip("\n")


def _printed(command: str, environ: Mapping[str, str]) -> str:
    import shlex
    import subprocess  # imported here because it slows down every start

    try:
        done = subprocess.run(
            shlex.split(command),
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ToolFailed(tool="password_command", reason=f"no response within {TIMEOUT:g} s") from None
    except (OSError, ValueError) as fault:
        raise ToolFailed(tool="password_command", reason=getattr(fault, "strerror", None) or str(fault)) from None
    found = done.stdout.decode("utf-8", "replace").splitlines()
    if done.returncode or not found or not found[0]:
        reason = f"it failed with exit {done.returncode}" if done.returncode else "it printed nothing"
        raise ToolFailed(tool="password_command", reason=reason)
    return found[0]


# URLs


def login_of(url: str) -> str:
    """Return the login in a URL, or an empty string if libpq chooses it."""
    return unquote(urlsplit(url).username or "")


def with_login(url: str, login: str, password: str) -> str:
    """Return a URL with this login and password, otherwise unchanged."""
    parts = urlsplit(bare(url))
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{quote(login, safe='')}:{quote(password, safe='')}@{host}").geturl()


def bare(url: str) -> str:
    """Return a URL without its password, in the authority or the query, otherwise unchanged."""
    parts = urlsplit(url)
    login, at, host = parts.netloc.rpartition("@")
    query = "&".join(pair for pair in parts.query.split("&") if unquote(pair.partition("=")[0]) != "password")
    # `geturl` would drop the slashes of a URL that names no host.
    return f"{parts.scheme}://{login.partition(':')[0]}{at}{host}{parts.path}{'?' if query else ''}{query}"


def place(url: str) -> str:
    """Return the host and database of a URL."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2] or "".join(parse_qs(parts.query).get("host", ["localhost"])[:1])
    return f"{host}{parts.path}"

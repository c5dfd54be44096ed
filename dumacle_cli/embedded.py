"""The embedded default made ready for use: both servers up, the owner and the database there, the schema current."""

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dumacle_cli.local import servers
from dumacle_cli.local.lock import READY, locked
from dumacle_cli.store import revisions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dumacle_cli.config_file import FileChange
    from dumacle_cli.local.servers import Servers

PROFILE = "local"


def start(folder: Path) -> "Servers":
    """Start both servers and make or upgrade what Dumacle needs in them; safe to repeat.

    Whoever owns the folder becomes a superadmin, with a login of his own like anybody else's.
    Raises FolderUnreachable, EmbeddedFailed, MissingExtra, MigrationRunning, SchemaTooNew.
    """
    with _taking_turns(folder) as up:
        return _make_ready(up)


def ensure(folder: Path) -> "Servers":
    """Start both servers, and make ready only what is not; of ten at once, one does it. Raises like start."""
    with _taking_turns(folder) as up:
        return up if _is_current(up) else _make_ready(up)


def keep_current(up: "Servers") -> "Servers":
    """Finish what an interrupted start left, and upgrade the schema where a newer release of Dumacle now runs."""
    return up if _is_current(up) else ensure(up.folder)


@contextmanager
def _taking_turns(folder: Path) -> "Iterator[Servers]":
    made = servers.start(folder)
    with locked(made.folder, READY):
        yield servers.start(made.folder)


def _is_current(up: "Servers") -> bool:
    try:
        return (up.folder / servers.SCHEMA).read_text("ascii").strip() == revisions.OWN
    except FileNotFoundError:
        return False


def _make_ready(up: "Servers") -> "Servers":
    from dumacle_cli.store import bootstrap, schema
    from dumacle_cli.store.database import translated

    with translated():
        bootstrap.bootstrap(up.admin_url, servers.DATABASE, servers.OWNER, up.owner_password)
        bootstrap.close_others(up.admin_url)
        schema.upgrade(servers.owner_url(up))
    up = _log_in(up)
    servers.note_schema(up.folder, revisions.OWN)
    return up


def _log_in(up: "Servers") -> "Servers":
    from dumacle_cli.services import seed
    from dumacle_cli.store.database import Database, Timeouts
    from dumacle_cli.store.models import Login

    owner = Database(servers.owner_url(up), Timeouts())
    try:
        with owner.session() as session:
            if up.login and session.get(Login, up.login) is not None:
                return up
            login = seed.superadmin(session, seed.EMAIL, up.login_password)
    finally:
        owner.close()
    return servers.keep_login(up, login)


def profile(file: Path, folder: Path, *, in_use: bool) -> "FileChange":
    """Work out the change that makes the profile `local`, the one in use where none is and `in_use` says so."""
    from dumacle_cli import config_file

    values = {"embedded": str(folder.resolve()), "default_provider": "local"}
    return config_file.prepare_profile(file, PROFILE, values, in_use=in_use)

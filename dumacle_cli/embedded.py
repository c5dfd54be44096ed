"""Prepare the embedded servers for use: both running, the database and its owner created, the schema current."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dumacle_cli import private, settings
from dumacle_cli.local import servers
from dumacle_cli.local.lock import READY, locked
from dumacle_cli.store import revisions

if TYPE_CHECKING:
    from dumacle_cli.config_file import FileChange
    from dumacle_cli.local.servers import Servers
    from dumacle_cli.sources import Resolved

PROFILE = "local"


def start(folder: Path) -> "Servers":
    """Start both servers, and create or upgrade the database and the owner's login; safe to repeat.

    The owner of the folder becomes a superadmin, with an ordinary login.
    Raises FolderUnreachable, EmbeddedFailed, MissingExtra, MigrationRunning, SchemaTooNew.
    """
    with _one_at_a_time(folder) as running:
        return _prepare(running)


def ensure(folder: Path) -> "Servers":
    """Start both servers, and prepare them if needed; of several commands at the same time, one does it.

    Raises the same errors as `start`.
    """
    with _one_at_a_time(folder) as running:
        return running if _is_current(running) else _prepare(running)


def keep_current(running: "Servers") -> "Servers":
    """Complete an interrupted start, and upgrade the schema after a newer release was installed."""
    return running if _is_current(running) else ensure(running.folder)


@contextmanager
def _one_at_a_time(folder: Path) -> "Iterator[Servers]":
    started = servers.start(folder)
    with locked(started.folder, READY):
        yield servers.start(started.folder)


def _is_current(running: "Servers") -> bool:
    try:
        return (running.folder / servers.SCHEMA).read_text("ascii").strip() == revisions.OWN
    except FileNotFoundError:
        return False


def _prepare(running: "Servers") -> "Servers":
    # Imported here for start-up time: with a current schema, none of it is needed.
    from dumacle_cli.store import bootstrap, schema
    from dumacle_cli.store.database import translated

    with translated():
        bootstrap.bootstrap(running.admin_url, servers.DATABASE, servers.OWNER, running.owner_password)
        bootstrap.close_others(running.admin_url)
        schema.upgrade(servers.owner_url(running))
    running = _ensure_login(running)
    servers.save_revision(running.folder, revisions.OWN)
    return running


def _ensure_login(running: "Servers") -> "Servers":
    from dumacle_cli.services import seed
    from dumacle_cli.store.database import Database, Timeouts
    from dumacle_cli.store.models import Login

    owner = Database(servers.owner_url(running), Timeouts())
    try:
        with owner.session() as session:
            if running.login and session.get(Login, running.login) is not None:
                return running
            login = seed.superadmin(session, seed.EMAIL, running.login_password)
    finally:
        owner.close()
    return servers.save_login(running, login)


def profile(resolved: "Resolved", environ: Mapping[str, str], folder: Path) -> "FileChange":
    """Prepare the change to the user's configuration file that adds the profile `local`.

    It becomes the default profile unless there is one, or a file configures a database. Raises UnwritableConfig if
    root would create the file in another account's folder.
    """
    from dumacle_cli import config_file

    configured = resolved.origins.get("database_url")
    values = {"embedded": str(folder.resolve()), "default_provider": "local"}
    in_use = configured is None or configured.kind == "environment"
    file = settings.user_file(environ)
    private.refuse_foreign(file)
    return config_file.prepare_profile(file, PROFILE, values, in_use=in_use)

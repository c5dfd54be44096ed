"""The embedded servers made ready for use: both running, the owner and the database created, the schema current."""

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
    """Start both servers, and create or upgrade what Dumacle needs in them; safe to repeat.

    The owner of the folder becomes a superadmin, with a login like any other user's.
    Raises FolderUnreachable, EmbeddedFailed, MissingExtra, MigrationRunning, SchemaTooNew.
    """
    with _one_at_a_time(folder) as up:
        return _prepare(up)


def ensure(folder: Path) -> "Servers":
    """Start both servers, and prepare them only where needed: of ten commands at once, one does it.

    Raises what start raises.
    """
    with _one_at_a_time(folder) as up:
        return up if _is_current(up) else _prepare(up)


def keep_current(up: "Servers") -> "Servers":
    """Finish what an interrupted start left, and upgrade the schema after a newer release was installed."""
    return up if _is_current(up) else ensure(up.folder)


@contextmanager
def _one_at_a_time(folder: Path) -> "Iterator[Servers]":
    made = servers.start(folder)
    with locked(made.folder, READY):
        yield servers.start(made.folder)


def _is_current(up: "Servers") -> bool:
    try:
        return (up.folder / servers.SCHEMA).read_text("ascii").strip() == revisions.OWN
    except FileNotFoundError:
        return False


def _prepare(up: "Servers") -> "Servers":
    # Imported here for start-up time: a current schema needs none of it.
    from dumacle_cli.store import bootstrap, schema
    from dumacle_cli.store.database import translated

    with translated():
        bootstrap.bootstrap(up.admin_url, servers.DATABASE, servers.OWNER, up.owner_password)
        bootstrap.close_others(up.admin_url)
        schema.upgrade(servers.owner_url(up))
    up = _ensure_login(up)
    servers.keep_revision(up.folder, revisions.OWN)
    return up


def _ensure_login(up: "Servers") -> "Servers":
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


def profile(resolved: "Resolved", environ: Mapping[str, str], folder: Path) -> "FileChange":
    """Prepare the change of the user's file that adds the profile `local`.

    It becomes the profile in use, unless another one is or a file configures a database. Raises UnwritableConfig
    where root would make the file in another account's folder.
    """
    from dumacle_cli import config_file

    configured = resolved.origins.get("database_url")
    values = {"embedded": str(folder.resolve()), "default_provider": "local"}
    in_use = configured is None or configured.kind == "environment"
    file = settings.user_file(environ)
    private.refuse_foreign(file)
    return config_file.prepare_profile(file, PROFILE, values, in_use=in_use)

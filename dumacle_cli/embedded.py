"""The embedded default made ready for use: both servers up, the owner and the database there, the schema current."""

from pathlib import Path
from typing import TYPE_CHECKING

from dumacle_cli.local import servers
from dumacle_cli.store import revisions

if TYPE_CHECKING:
    from dumacle_cli.config_file import FileChange
    from dumacle_cli.local.servers import Servers

PROFILE = "local"


def start(folder: Path) -> "Servers":
    """Start both servers and make or upgrade what Dumacle needs in them; safe to repeat.

    Raises FolderUnreachable, EmbeddedFailed, MissingExtra, MigrationRunning, SchemaTooNew.
    """
    from dumacle_cli.store import bootstrap, schema
    from dumacle_cli.store.database import translated

    up = servers.start(folder)
    with translated():
        bootstrap.bootstrap(up.admin_url, servers.DATABASE, servers.OWNER, up.owner_password)
        schema.upgrade(servers.owner_url(up))
    servers.note_schema(up.folder, revisions.OWN)
    return up


def keep_current(folder: Path) -> None:
    """Finish what an interrupted start left, and upgrade the schema where a newer release of Dumacle now runs."""
    try:
        current = (folder / servers.SCHEMA).read_text("ascii").strip() == revisions.OWN
    except FileNotFoundError:
        current = False
    if not current:
        start(folder)


def profile(file: Path, folder: Path) -> "FileChange":
    """Work out the configuration file with the profile `local`, which becomes the one in use where none is."""
    from dumacle_cli import config_file

    values = {"embedded": str(folder.resolve()), "default_provider": "local"}
    return config_file.prepare_profile(file, PROFILE, values)

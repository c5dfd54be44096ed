"""`dumacle local`: the embedded PostgreSQL and S3 server on this machine."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from dumacle_cli import embedded
from dumacle_cli.commands.contract import command, group
from dumacle_cli.context import Context
from dumacle_cli.errors import NotEmbedded
from dumacle_cli.local import servers
from dumacle_cli.output.forms import Shown
from dumacle_cli.units import Bytes, show_size

app = group("local", "The embedded PostgreSQL and S3 server on this machine.")


Copied = Annotated[str, "link"]
"""Never folded on a terminal, because it is copied."""


@dataclass(frozen=True, slots=True)
class Server:
    """One embedded server; `folder` holds the data of both, `size` is its own data on disk."""

    folder: Copied
    server: str
    status: str
    pid: int | None
    address: Copied | None
    version: str | None
    size: Bytes
    log: Copied


@dataclass(frozen=True, slots=True)
class Reset:
    """What a reset deleted."""

    folder: str
    freed: Bytes


@command(
    app,
    "start",
    returns=Server,
    many=True,
    columns=("server", "status", "address"),
    example="dumacle local start",
    mutates=True,
    outside=True,
    offline=True,
    configures=True,
)
def start(context: Context) -> Shown:
    """Start both servers, make database and schema, and write the profile `local`; repeat it at will."""
    folder = _folder(context)
    was_running = servers.running(folder) is not None
    change = embedded.profile(context.resolved, context.environ, folder)
    if not context.dry_run:
        embedded.start(folder)
        change.write()
    notes = [f"servers in {folder}", *([f"profile local in {change.file}"] if change.changed else [])]
    if database := context.resolved.origins.get("database_url"):
        notes.append(f"other commands use the database of {database}" if context.settings.database_url else "")
    note = "\n".join(filter(None, notes))
    return Shown(_status(folder), change.changed or not was_running, dry_run=context.dry_run, note=note)


def _folder(context: Context) -> Path:
    """Return the folder that this is about; raises NotEmbedded where a profile was named that has another database."""
    named = context.options.get("profile") or context.environ.get("DUMACLE_PROFILE")
    database = context.resolved.origins.get("database_url")
    if named and context.settings.database_url and database and database.kind == f"profile {named}":
        command = context.command.replace(".", " ")
        raise NotEmbedded(profile=named, origin=database.place, command=command)
    return context.data_dir


@command(
    app,
    "stop",
    returns=Server,
    many=True,
    columns=("server", "status"),
    example="dumacle local stop",
    mutates=True,
    outside=True,
    offline=True,
)
def stop(context: Context) -> Shown:
    """Stop both servers; their data stays."""
    folder = _folder(context)
    stopped = any(server.running for server in servers.status(folder))
    if not context.dry_run:
        servers.stop(folder)
    return Shown(_status(folder), stopped, dry_run=context.dry_run, note=f"servers in {folder}")


@command(app, "status", returns=Server, many=True, example="dumacle local status", offline=True)
def status(context: Context) -> list[Server]:
    """Show what runs, where, and how big it is; starts nothing."""
    return _status(_folder(context))


@command(
    app,
    "reset",
    returns=Reset,
    example="dumacle local reset --yes",
    mutates=True,
    outside=True,
    confirms=True,
    offline=True,
)
def reset(context: Context) -> Shown:
    """Stop both servers and delete their data for good: every row and every object."""
    folder = _folder(context)
    size = sum(server.size for server in servers.status(folder))
    question = f"This deletes {show_size(size)} in {folder}: every row and every object."
    context.confirm(question, name="reset", where=_named_by(context))
    freed = size if context.dry_run else servers.reset(folder)
    return Shown(Reset(str(folder), freed), freed > 0, dry_run=context.dry_run)


def _named_by(context: Context) -> str:
    """Return what names the folder: a profile, a variable, a flag, or nothing at all."""
    origin = context.resolved.origins.get("embedded") or context.resolved.origins.get("data_dir")
    return "" if origin is None else origin.kind if origin.kind.startswith("profile ") else origin.place


def _status(folder: Path) -> list[Server]:
    return [
        Server(
            folder=str(folder),
            server=found.server,
            status="running" if found.running else "stopped",
            pid=found.pid,
            address=found.address,
            version=found.version,
            size=found.size,
            log=str(found.log),
        )
        for found in servers.status(folder)
    ]

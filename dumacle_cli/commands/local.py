"""`dumacle local`: the embedded PostgreSQL and S3 server on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from dumacle_cli import embedded
from dumacle_cli.commands.command import CommandGroup
from dumacle_cli.context import Context
from dumacle_cli.errors import NotEmbedded
from dumacle_cli.local import servers
from dumacle_cli.output.result import Result, Rows
from dumacle_cli.units import Bytes, show_size

app = CommandGroup("local")

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


@app.acts_outside(
    "start",
    columns=("server", "status", "address"),
    example="dumacle local start",
    offline=True,
    writes_config=True,
)
def start(context: Context) -> Rows[Server]:
    """Start both servers, create the database and write the profile `local`; safe to repeat."""
    folder = _folder(context)
    was_running = servers.running(folder) is not None
    change = embedded.profile(context.resolved, context.environ, folder)
    if not context.options.dry_run:
        embedded.start(folder)
        change.write()
    notes = [f"servers in {folder}", *([f"profile local in {change.file}"] if change.changed else [])]
    if database := context.resolved.origins.get("database_url"):
        notes.append(f"other commands use the database of {database}" if context.settings.database_url else "")
    note = "\n".join(filter(None, notes))
    return Result(_status(folder), change.changed or not was_running, note=note)


def _folder(context: Context) -> Path:
    """Return the folder of the servers; raises NotEmbedded if the given profile has another database."""
    named = context.options.profile or context.environ.get("DUMACLE_PROFILE")
    database = context.resolved.origins.get("database_url")
    if named and context.settings.database_url and database and database.kind == f"profile {named}":
        command = context.command.replace(".", " ")
        raise NotEmbedded(profile=named, origin=database.place, command=command)
    return context.data_dir


@app.acts_outside("stop", columns=("server", "status"), example="dumacle local stop", offline=True)
def stop(context: Context) -> Rows[Server]:
    """Stop both servers; their data is kept."""
    folder = _folder(context)
    stopped = any(server.running for server in servers.status(folder))
    if not context.options.dry_run:
        servers.stop(folder)
    return Result(_status(folder), stopped, note=f"servers in {folder}")


@app.reads("status", example="dumacle local status", offline=True)
def status(context: Context) -> list[Server]:
    """Show status, address and size of both servers without starting them."""
    return _status(_folder(context))


@app.acts_outside("reset", example="dumacle local reset --yes", confirms=True, offline=True)
def reset(context: Context) -> Result[Reset]:
    """Stop both servers and permanently delete their data: all rows and objects."""
    folder = _folder(context)
    size = sum(server.size for server in servers.status(folder))
    question = f"This deletes {show_size(size)} in {folder}: all rows and objects."
    context.console.confirm(question, name="reset", where=_named_by(context))
    freed = size if context.options.dry_run else servers.reset(folder)
    return Result(Reset(str(folder), freed), freed > 0)


def _named_by(context: Context) -> str:
    """Return where the folder is configured: a profile, a variable, a flag, or ''."""
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

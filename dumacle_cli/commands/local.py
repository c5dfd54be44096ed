"""`dumacle local`: the embedded PostgreSQL and S3 server on this machine."""

from dataclasses import dataclass

from dumacle_cli import embedded, settings
from dumacle_cli.commands.contract import command, group
from dumacle_cli.context import Context
from dumacle_cli.local import servers
from dumacle_cli.output.forms import Shown
from dumacle_cli.units import Bytes, show_size

app = group("local", "The embedded PostgreSQL and S3 server on this machine.")


@dataclass(frozen=True, slots=True)
class Server:
    """One embedded server; `size` is its data on disk."""

    server: str
    status: str
    pid: int | None
    address: str | None
    version: str | None
    size: Bytes
    log: str


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
)
def start(context: Context) -> Shown:
    """Start both servers, make database and schema, and write the profile `local`; repeat it at will."""
    was_running = servers.running(context.data_dir) is not None
    change = embedded.profile(settings.user_file(context.environ), context.data_dir)
    if not context.dry_run:
        embedded.start(context.data_dir)
        change.write()
    note = f"profile local in {change.file}" if change.changed else ""
    return Shown(_status(context), change.changed or not was_running, dry_run=context.dry_run, note=note)


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
    stopped = any(server.running for server in servers.status(context.data_dir))
    if not context.dry_run:
        servers.stop(context.data_dir)
    return Shown(_status(context), stopped, dry_run=context.dry_run)


@command(app, "status", returns=Server, many=True, example="dumacle local status", offline=True)
def status(context: Context) -> list[Server]:
    """Show what runs, where, and how big it is; starts nothing."""
    return _status(context)


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
    folder = context.data_dir
    size = sum(server.size for server in servers.status(folder))
    context.confirm(f"This deletes {show_size(size)} in {folder}: every row and every object.", name="reset")
    freed = size if context.dry_run else servers.reset(folder)
    return Shown(Reset(str(folder), freed), freed > 0, dry_run=context.dry_run)


def _status(context: Context) -> list[Server]:
    return [
        Server(
            server=found.server,
            status="running" if found.running else "stopped",
            pid=found.pid,
            address=found.address,
            version=found.version,
            size=found.size,
            log=str(found.log),
        )
        for found in servers.status(context.data_dir)
    ]

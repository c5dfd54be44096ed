"""`dumacle audit`: search the audit log."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated

import typer

from dumacle_cli.commands.command import CommandGroup
from dumacle_cli.commands.paging import listing, stream
from dumacle_cli.context import Context
from dumacle_cli.output.result import Result, Rows
from dumacle_cli.services import audit
from dumacle_cli.units import parse_age, parse_instant

app = CommandGroup("audit")

COLUMNS = ("id", "at", "actor", "action", "target")
_DATE = re.compile(r"\s*\d{4}-|\s*\d{8}(T|\s*$)")
EMPTY = "no changes found"

Actor = Annotated[str | None, typer.Option("--actor", metavar="USER", help="Filter by user: e-mail address or id.")]
Login = Annotated[str | None, typer.Option("--login", metavar="NAME", help="Filter by login.")]
Target = Annotated[
    str | None,
    typer.Option("--target", metavar="TABLE[:ID]", help="Filter by table, or by row such as users:7 or users:EMAIL."),
]
ACTION = typer.Option("--action", help="Filter by kind of change.")
Operation = Annotated[str | None, typer.Option("--operation", metavar="ID", help="Filter by operation id.")]
Since = Annotated[
    str | None,
    typer.Option("--since", metavar="TIME", help="Start: ISO 8601 in UTC, or an age: 15min, 12h, 7d, 12mo, 1y."),
]
Until = Annotated[str | None, typer.Option("--until", metavar="TIME", help="End, in the same formats.")]


@app.lists(
    "list",
    columns=COLUMNS,
    empty=EMPTY,
    example="dumacle audit list --target users --since 7d",
    role="superadmin",
)
def list_(
    context: Context,
    actor: Actor = None,
    login: Login = None,
    target: Target = None,
    action: Annotated[audit.Action | None, ACTION] = None,
    operation: Operation = None,
    since: Since = None,
    until: Until = None,
) -> Rows[audit.Change]:
    """List changes, most recent first."""
    search = audit.Search(
        actor, login, target, action, operation, _instant(since, "--since"), _instant(until, "--until")
    )
    return listing(context, audit.list_, search)


@app.reads("show", example="dumacle audit show 1", role="superadmin")
def show(
    context: Context,
    change: Annotated[str, typer.Argument(metavar="ID", help="The change's id.")],
) -> audit.ChangeDetail:
    """Show a change with each column before and after."""
    with context.session() as session:
        return audit.show(session, change)


@app.reads("export", columns=COLUMNS, empty=EMPTY, example="dumacle audit export --since 1d", role="superadmin")
def export(
    context: Context,
    actor: Actor = None,
    login: Login = None,
    target: Target = None,
    action: Annotated[audit.Action | None, ACTION] = None,
    operation: Operation = None,
    since: Since = None,
    until: Until = None,
) -> Rows[audit.ChangeRecord]:
    """Export all changes with values before and after, oldest first; -o jsonl and csv stream."""
    search = audit.Search(
        actor, login, target, action, operation, _instant(since, "--since"), _instant(until, "--until")
    )

    return Result(stream(context, audit.export, search, limit=1000))


def _instant(typed: str | None, name: str) -> datetime | None:
    if typed is None:
        return None
    return parse_instant(typed, name) if _DATE.match(typed) else parse_age(typed, name, datetime.now(UTC))

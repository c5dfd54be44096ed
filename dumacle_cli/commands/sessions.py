"""`dumacle auth sessions`: your open sessions."""

from __future__ import annotations

from typing import Annotated

import typer

from dumacle_cli.commands.command import CommandGroup
from dumacle_cli.commands.paging import listing
from dumacle_cli.context import Context
from dumacle_cli.errors import UsageError
from dumacle_cli.output.result import Result, Rows
from dumacle_cli.services import logins

app = CommandGroup("auth sessions", "Manage your open sessions.")


@app.lists(
    "list",
    empty="no open sessions; log in with: dumacle auth login",
    example="dumacle auth sessions list",
    role="enduser",
)
def list_(context: Context) -> Rows[logins.OpenSession]:
    """List your open sessions; admins see those of all users."""
    return listing(context, logins.list_)


@app.acts_outside("revoke", example="dumacle auth sessions revoke --all", role="enduser")
def revoke(
    context: Context,
    login: Annotated[str, typer.Argument(metavar="LOGIN", help="The session's login, as `list` shows it.")] = "",
    every: Annotated[bool, typer.Option("--all", help="End all your sessions except this one.")] = False,
) -> Result[logins.Revoked]:
    """End a session and its running queries immediately."""
    if bool(login) == every:
        raise UsageError("give either a LOGIN or --all", "dumacle auth sessions revoke")
    if context.options.dry_run:
        with context.session() as session:
            planned = logins.preview_end(session, login or None)
        return Result(planned, bool(planned.logins))
    return context.change(lambda session: logins.end(session, login or None))


@app.changes("limit", example="dumacle auth sessions limit 12", role="superadmin")
def limit(
    context: Context,
    hours: Annotated[
        int, typer.Argument(metavar="HOURS", min=1, max=logins.MAX_SESSION_HOURS, help="The longest duration in hours.")
    ],
) -> Result[logins.SessionLimit]:
    """Set the longest duration of a session; open sessions keep theirs."""
    return context.change(lambda session: logins.set_session_limit(session, hours))

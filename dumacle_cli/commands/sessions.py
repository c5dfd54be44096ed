"""`dumacle auth sessions`: where one is logged in."""

from typing import TYPE_CHECKING, Annotated

import typer

from dumacle_cli.commands.contract import command, group
from dumacle_cli.commands.listing import After, All, Limit, listing
from dumacle_cli.context import Context
from dumacle_cli.errors import UsageError
from dumacle_cli.output.forms import Shown
from dumacle_cli.services import logins

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dumacle_cli.store.paging import Page

app = group("auth sessions", "Sessions that are open.")


@command(
    app,
    "list",
    returns=logins.OpenSession,
    many=True,
    empty="no session is open; open one with: dumacle auth login",
    example="dumacle auth sessions list",
    role="enduser",
)
def list_(context: Context, limit: Limit = 50, after: After = "", everything: All = False) -> Shown:
    """List your open sessions; admins see those of everybody."""

    def fetch(session: "Session", token: str | None) -> "Page[logins.OpenSession]":
        return logins.list_(session, after=token, limit=limit)

    return listing(context, fetch, after, everything)


@command(
    app,
    "revoke",
    returns=logins.Revoked,
    example="dumacle auth sessions revoke --all",
    mutates=True,
    outside=True,
    role="enduser",
)
def revoke(
    context: Context,
    login: Annotated[str, typer.Argument(metavar="LOGIN", help="The session, as the list names it.")] = "",
    every: Annotated[bool, typer.Option("--all", help="All of yours but the one in use.")] = False,
) -> Shown:
    """End a session and what runs in it at once."""
    if bool(login) == every:
        raise UsageError("give either a LOGIN or --all", "dumacle auth sessions revoke")
    if context.dry_run:
        with context.session() as session:
            planned = logins.preview_end(session, login or None)
        return Shown(planned, bool(planned.logins), dry_run=True)
    return context.change(lambda session: logins.end(session, login or None))


@command(
    app,
    "limit",
    returns=logins.SessionLimit,
    example="dumacle auth sessions limit 12",
    mutates=True,
    role="superadmin",
)
def limit(
    context: Context,
    hours: Annotated[
        int, typer.Argument(metavar="HOURS", min=1, max=logins.MAX_SESSION_HOURS, help="At most this long.")
    ],
) -> Shown:
    """Say how long a session of anybody may last; those that are open keep their end."""
    return context.change(lambda session: logins.set_session_limit(session, hours))

"""`dumacle users`: create, look at, change and remove users."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dumacle_cli.commands.contract import command, group
from dumacle_cli.commands.listing import After, All, Limit, listing
from dumacle_cli.context import Context
from dumacle_cli.output.forms import Shown
from dumacle_cli.services import users

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dumacle_cli.store.paging import Page

app = group("users", "Create, look at, change and remove users.")


@command(app, "create", returns=users.User, example="dumacle users create ada@example.com", mutates=True)
def create(
    context: Context,
    email: Annotated[str, typer.Argument(metavar="EMAIL", help="The user's e-mail address.")],
    name: Annotated[str, typer.Option("--name", help="The person's name.")] = "",
    role: Annotated[users.Role, typer.Option("--role", help="superadmin, admin, enduser or service.")] = "enduser",
) -> Shown:
    """Create a user."""
    return context.change(lambda session: users.create(session, email, name=name, role=role))


@command(
    app,
    "list",
    returns=users.User,
    many=True,
    columns=("id", "email", "name", "role", "status"),
    empty="there are no users yet: dumacle users create EMAIL",
    example="dumacle users list --role admin",
)
def list_(
    context: Context,
    role: Annotated[users.Role | None, typer.Option("--role", help="Only users of this role.")] = None,
    status: Annotated[Literal["active", "disabled"] | None, typer.Option("--status", help="Only these.")] = None,
    sort: Annotated[Literal["id", "email"], typer.Option("--sort", help="id or email.")] = "id",
    limit: Limit = 50,
    after: After = "",
    everything: All = False,
) -> Shown:
    """List users."""

    def fetch(session: "Session", token: str | None) -> "Page[users.User]":
        return users.list_(session, role=role, status=status, sort=sort, after=token, limit=limit)

    return listing(context, fetch, after, everything)

"""`dumacle audit`: who changed what, when and how."""

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from dumacle_cli.commands.contract import command, group
from dumacle_cli.commands.listing import After, All, Limit, listing
from dumacle_cli.context import Context
from dumacle_cli.output.forms import Shown
from dumacle_cli.services import audit
from dumacle_cli.units import parse_age, parse_instant

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dumacle_cli.store.paging import Page

app = group("audit", "Who changed what, when and how; for superadmins.")

COLUMNS = ("id", "at", "actor", "action", "target")
_DATE = re.compile(r"\s*\d{4}-|\s*\d{8}(T|\s*$)")
EMPTY = "no such change is recorded"

Actor = Annotated[str | None, typer.Option("--actor", metavar="USER", help="Changes made by this e-mail or id.")]
Login = Annotated[str | None, typer.Option("--login", metavar="NAME", help="Changes made with this login.")]
Target = Annotated[
    str | None,
    typer.Option(
        "--target", metavar="TABLE[:ID]", help="Changes of a table, or of a row such as users:7 or users:EMAIL."
    ),
]
Action = Annotated[audit.Action | None, typer.Option("--action", help="Only changes of this kind.")]
Operation = Annotated[
    str | None, typer.Option("--operation", metavar="ID", help="Changes of this operation, as its login named it.")
]
Since = Annotated[
    str | None,
    typer.Option("--since", metavar="TIME", help="From then on: ISO 8601 in UTC, or an age: 15min, 12h, 7d, 12mo, 1y."),
]
Until = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Before then, in the same forms.")]


@command(
    app,
    "list",
    returns=audit.Change,
    many=True,
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
    action: Action = None,
    operation: Operation = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
    after: After = "",
    everything: All = False,
) -> Shown:
    """List changes, the latest first."""
    search = audit.Search(
        actor, login, target, action, operation, _instant(since, "--since"), _instant(until, "--until")
    )

    def fetch(session: "Session", token: str | None) -> "Page[audit.Change]":
        return audit.list_(session, search, after=token, limit=limit)

    return listing(context, fetch, after, everything)


@command(app, "show", returns=audit.ChangeDetail, example="dumacle audit show 1", role="superadmin")
def show(
    context: Context, change: Annotated[str, typer.Argument(metavar="ID", help="The change.")]
) -> audit.ChangeDetail:
    """Show a change, each column before and after."""
    with context.session() as session:
        return audit.show(session, change)


@command(
    app,
    "export",
    returns=audit.ChangeRecord,
    many=True,
    columns=COLUMNS,
    empty=EMPTY,
    example="dumacle audit export --since 1d",
    role="superadmin",
)
def export(
    context: Context,
    actor: Actor = None,
    login: Login = None,
    target: Target = None,
    action: Action = None,
    operation: Operation = None,
    since: Since = None,
    until: Until = None,
) -> Shown:
    """Write all changes with what was before and after, the earliest first; with -o jsonl or csv as a stream."""
    search = audit.Search(
        actor, login, target, action, operation, _instant(since, "--since"), _instant(until, "--until")
    )

    def fetch(session: "Session", token: str | None) -> "Page[audit.ChangeRecord]":
        return audit.export(session, search, after=token, limit=1000)

    return listing(context, fetch, "", True)


def _instant(typed: str | None, name: str) -> datetime | None:
    if typed is None:
        return None
    return parse_instant(typed, name) if _DATE.match(typed) else parse_age(typed, name, datetime.now(UTC))

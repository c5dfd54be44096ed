"""`dumacle users`: create, look at, change and remove users."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from dumacle_cli.commands import logins
from dumacle_cli.commands.contract import command, group
from dumacle_cli.commands.listing import After, All, Limit, listing
from dumacle_cli.context import Context
from dumacle_cli.errors import Exit, NotFound, UsageError
from dumacle_cli.escapes import visible
from dumacle_cli.output.forms import Shown
from dumacle_cli.services import account_status, erasure, imports, users
from dumacle_cli.units import parse_size, show_size

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dumacle_cli.store.paging import Page

app = group("users", "Create, look at, change and remove users.")

User = Annotated[str, typer.Argument(metavar="USER", help="The user's id or e-mail address.")]


@command(
    app,
    "create",
    returns=users.User,
    example="dumacle users create ida@example.com --plan starter",
    mutates=True,
    blank=("name",),
)
def create(
    context: Context,
    email: Annotated[str, typer.Argument(metavar="EMAIL", help="The user's e-mail address.")],
    name: Annotated[str, typer.Option("--name", help="The person's name.")] = "",
    role: Annotated[users.Role, typer.Option("--role", help="What he may do.")] = "enduser",
    plan: Annotated[
        str | None, typer.Option("--plan", metavar="PLAN", help="Plan to start with; without one he cannot upload.")
    ] = None,
) -> Shown:
    """Create a user; a plan's default pod is granted with it."""
    return context.change(lambda session: users.create(session, email, name=name, role=role, plan=plan))


@command(
    app,
    "list",
    returns=users.User,
    many=True,
    columns=("id", "email", "name", "role", "status"),
    empty="there are no such users; create one with: dumacle users create EMAIL",
    example="dumacle users list --role admin",
    role="enduser",
)
def list_(
    context: Context,
    role: Annotated[users.Role | None, typer.Option("--role", help="Only users of this role.")] = None,
    status: Annotated[users.UserStatus | None, typer.Option("--status", help="Only users of this status.")] = None,
    deleted: Annotated[bool, typer.Option("--deleted", help="Those who are deleted and can be restored.")] = False,
    sort: Annotated[users.Sort, typer.Option("--sort", metavar="ORDER", help="What to sort by.")] = "id",
    limit: Limit = 50,
    after: After = "",
    everything: All = False,
) -> Shown:
    """List users."""

    def fetch(session: "Session", token: str | None) -> "Page[users.User]":
        return users.list_(session, role=role, status=status, deleted=deleted, sort=sort, after=token, limit=limit)

    return listing(context, fetch, after, everything)


@command(app, "show", returns=account_status.UserDetail, example="dumacle users show ada@example.com", role="enduser")
def show(
    context: Context,
    user: User,
    size: Annotated[
        str, typer.Option("--size", metavar="SIZE", help="Say why a file of 500MiB, 500MB or so many bytes is refused.")
    ] = "",
    pod: Annotated[str, typer.Option("--pod", metavar="POD", help="Say why an upload into this pod is refused.")] = "",
) -> account_status.UserDetail:
    """Show a user with plan, pods and quotas, and why they cannot upload."""
    asked = parse_size(size, "--size") if size else None
    with context.session() as session:
        found = account_status.show(session, user, size=asked, pod=pod, max_file_size=context.settings.max_file_size)
    return replace(found, reasons=[replace(each, fix=context.runnable(each.fix)) for each in found.reasons])


@command(
    app,
    "update",
    returns=users.Changed,
    example="dumacle users update ada@example.com --plan pro",
    mutates=True,
    blank=("name",),
)
def update(
    context: Context,
    user: User,
    plan: Annotated[
        str | None, typer.Option("--plan", metavar="PLAN", help="Plan to switch to at once; usage carries on.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="The person's name.")] = None,
    email: Annotated[str | None, typer.Option("--email", help="A new e-mail address.")] = None,
    role: Annotated[users.Role | None, typer.Option("--role", help="What he may do from now on.")] = None,
) -> Shown:
    """Change a user's plan, name, e-mail address or role; another role ends what `set-role` says."""

    def work(session: "Session") -> tuple[users.Changed, bool]:
        return users.update(session, user, email=email, name=name, role=role, plan=plan)

    return logins.told(context.change(work))


@command(app, "disable", returns=users.User, example="dumacle users disable bob@example.com", mutates=True)
def disable(context: Context, user: User) -> Shown:
    """Keep a user from doing anything; what is his stays."""
    return context.change(lambda session: users.disable(session, user))


@command(app, "enable", returns=users.User, example="dumacle users enable eve@example.com", mutates=True)
def enable(context: Context, user: User) -> Shown:
    """Let a disabled user act again."""
    return context.change(lambda session: users.enable(session, user))


@command(app, "delete", returns=users.User, example="dumacle users delete bob@example.com", mutates=True)
def delete(context: Context, user: User) -> Shown:
    """Disable and hide a user; his files stay, and `restore` brings him back."""
    return context.change(lambda session: users.delete(session, user))


@command(app, "restore", returns=users.User, example="dumacle users restore bob@example.com", mutates=True)
def restore(context: Context, user: User) -> Shown:
    """Bring a deleted user back, enabled."""
    return context.change(lambda session: users.restore(session, user))


@command(
    app,
    "purge",
    returns=erasure.Erased,
    example="dumacle users purge ada@example.com --yes",
    mutates=True,
    outside=True,
    recorded=True,
    confirms=True,
)
def purge(context: Context, user: User) -> Shown:
    """Erase a user with all files for good; killed in the middle, it goes on when repeated.

    No e-mail, name or path of theirs stays in the database. The audit log keeps who did what, when and to which id;
    what Stripe, the servers' logs and backups hold is beyond reach.
    """
    doomed = _doomed(context, user)
    if doomed:
        size = show_size(doomed.bytes)
        context.confirm(
            f"Erase {visible(doomed.email)} with {doomed.files} files ({size}) for good?", name=doomed.email
        )
    if doomed and context.dry_run:
        return Shown(doomed, True, dry_run=True)
    shown = context.change(lambda session: erasure.begin(session, user))
    if doomed:
        erasure.finish(context.database, context.store, doomed.id)
    return shown


def _doomed(context: Context, user: str) -> erasure.Erased | None:
    """Return who goes; None where there is nobody, or where this operation erased him before."""
    try:
        with context.session() as session:
            return erasure.plan(session, user)
    except NotFound:
        return None


@command(
    app,
    "import",
    returns=imports.Imported,
    many=True,
    empty="there was no line to import",
    example="dumacle users import users.csv",
    mutates=True,
)
def import_(
    context: Context,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="CSV with a header, or JSON lines: email, name, role, plan; - is standard input."
        ),
    ],
    form: Annotated[
        imports.Format | None, typer.Option("--format", help="What the file is, where its name does not say it.")
    ] = None,
) -> Shown:
    """Create many users, one a line; who exists is left as he is, and exit 3 says that some lines failed."""
    form = form or _format(file)
    entries = imports.read(_stream(file), form)
    shown = Shown((), changed=False, operation=context.operation, dry_run=context.dry_run)
    results = _import(context, entries, shown)
    if context.quiet:
        failed = (line for line in results if line.result == "failed")
        shown.data = chain([first], failed) if (first := next(failed, None)) else ()
    else:
        shown.data = results
    return shown


def _format(file: str) -> imports.Format:
    found = imports.FORMATS.get(Path(file).suffix.lower())
    if found is None:
        raise UsageError(f"the name {file} does not say its format: give --format csv or jsonl", "dumacle users import")
    return found


def _stream(file: str) -> BinaryIO:
    try:
        return sys.stdin.buffer if file == "-" else Path(file).open("rb")
    except OSError as fault:
        raise UsageError(f"{file} cannot be read: {fault.strerror}", "dumacle users import") from None


def _import(context: Context, entries: Iterator[imports.Entry], shown: Shown) -> Iterator[imports.Imported]:
    """Yield the result of each line as its batch is committed, and tell in `shown` what it came to."""
    counts = dict.fromkeys(("created", "unchanged", "failed"), 0)
    for lines, changed in context.change_many(imports.batches(entries), imports.create):
        shown.changed = shown.changed or changed
        for line in lines:
            found = imports.from_stored(line)
            counts[found.result] += 1
            if found.result == "failed":
                shown.exit = Exit.PARTIAL
            yield found
    shown.note = ", ".join(f"{number} {result}" for result, number in counts.items())


logins.register(app)  # behind all others, as help lists them

"""`dumacle users`: create, show, change and remove users."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from dumacle_cli.commands import billing, logins
from dumacle_cli.commands.command import CommandGroup
from dumacle_cli.commands.paging import listing
from dumacle_cli.commands.parameters import User
from dumacle_cli.context import Context
from dumacle_cli.errors import Exit, NotFound, UsageError
from dumacle_cli.escapes import visible
from dumacle_cli.output.result import Result, Rows
from dumacle_cli.services import account_status, erasure, imports, users
from dumacle_cli.units import parse_size, show_size

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

app = CommandGroup("users")


@app.changes("create", example="dumacle users create ida@example.com --plan starter", may_be_empty=("name",))
def create(
    context: Context,
    email: Annotated[str, typer.Argument(metavar="EMAIL", help="The user's e-mail address.")],
    name: Annotated[str, typer.Option("--name", help="The user's name.")] = "",
    role: Annotated[users.Role, typer.Option("--role", help="What they may do.")] = "enduser",
    plan: Annotated[
        str | None, typer.Option("--plan", metavar="PLAN", help="The plan; users without one cannot upload.")
    ] = None,
) -> Result[users.User]:
    """Create a user, and grant the plan's default pod."""
    return context.change(lambda session: users.create(session, email, name=name, role=role, plan=plan))


@app.lists(
    "list",
    columns=("id", "email", "name", "role", "status"),
    empty="no users found; create one with: dumacle users create EMAIL",
    example="dumacle users list --role admin",
    role="enduser",
)
def list_(
    context: Context,
    role: Annotated[users.Role | None, typer.Option("--role", help="Filter by role.")] = None,
    status: Annotated[users.UserStatus | None, typer.Option("--status", help="Filter by status.")] = None,
    deleted: Annotated[bool, typer.Option("--deleted", help="Show deleted users, who can be restored.")] = False,
    sort: Annotated[users.Sort, typer.Option("--sort", metavar="ORDER", help="Sort by this column.")] = "id",
) -> Rows[users.User]:
    """List users."""
    return listing(context, users.list_, role=role, status=status, deleted=deleted, sort=sort)


@app.reads("show", example="dumacle users show ada@example.com", role="enduser")
def show(
    context: Context,
    user: User,
    size: Annotated[
        str,
        typer.Option(
            "--size", metavar="SIZE", help="Explain why a file of this size is refused: 500MiB, 500MB or bytes."
        ),
    ] = "",
    pod: Annotated[
        str, typer.Option("--pod", metavar="POD", help="Explain why uploads into this pod are refused.")
    ] = "",
) -> account_status.UserDetail:
    """Show a user's plan, pods and quotas, and why they cannot upload."""
    asked = parse_size(size, "--size") if size else None
    with context.session() as session:
        found = account_status.show(session, user, size=asked, pod=pod, max_file_size=context.settings.max_file_size)
    return replace(found, reasons=[replace(each, fix=context.console.runnable(each.fix)) for each in found.reasons])


@app.acts_outside(
    "update", example="dumacle users update ada@example.com --plan pro", takes_op_id=True, may_be_empty=("name",)
)
def update(
    context: Context,
    user: User,
    plan: Annotated[
        str | None, typer.Option("--plan", metavar="PLAN", help="Switch to this plan immediately; usage is kept.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="The user's name.")] = None,
    email: Annotated[str | None, typer.Option("--email", help="The new e-mail address.")] = None,
    role: Annotated[users.Role | None, typer.Option("--role", help="Their new role.")] = None,
) -> Result[users.Changed]:
    """Change a user's plan, name, e-mail address or role.

    A new role ends the user's sessions, as with `set-role`. A plan is not changed while Stripe bills the user.
    """
    if plan is not None:
        billing.refresh(context, user)

    def work(session: Session) -> tuple[users.Changed, bool]:
        return users.update(session, user, email=email, name=name, role=role, plan=plan)

    return logins.add_note(context.change(work))


@app.acts_outside("disable", example="dumacle users disable bob@example.com", takes_op_id=True)
def disable(context: Context, user: User) -> Result[users.User]:
    """Disable a user; their files and pods are kept.

    Pages on which they could still pay are closed; a subscription that Stripe goes on charging is a warning.
    """
    return billing.withdraw(
        context, context.change(lambda session: billing.reviewed(session, users.disable(session, user)))
    )


@app.changes("enable", example="dumacle users enable eve@example.com")
def enable(context: Context, user: User) -> Result[users.User]:
    """Enable a disabled user."""
    return context.change(lambda session: billing.reviewed(session, users.enable(session, user)))


@app.acts_outside("delete", example="dumacle users delete bob@example.com", takes_op_id=True)
def delete(context: Context, user: User) -> Result[users.User]:
    """Delete a user; their files are kept, and `restore` undoes it.

    Pages on which they could still pay are closed; a subscription that Stripe goes on charging is a warning.
    """
    return billing.withdraw(
        context, context.change(lambda session: billing.reviewed(session, users.delete(session, user)))
    )


@app.changes("restore", example="dumacle users restore bob@example.com")
def restore(context: Context, user: User) -> Result[users.User]:
    """Restore and enable a deleted user."""
    return context.change(lambda session: billing.reviewed(session, users.restore(session, user)))


@app.acts_outside("purge", example="dumacle users purge bob@example.com --yes", takes_op_id=True, confirms=True)
def purge(context: Context, user: User) -> Result[erasure.Erased]:
    """Permanently erase a user and all their files; if interrupted, repeat it to continue.

    Their e-mail addresses, names and paths are removed from the database. The audit log keeps ids, actions and times.
    Data at Stripe, in server logs and in backups is not erased.
    """
    billing.close_pages(context, user)
    planned = _plan(context, user)
    if planned:
        size = show_size(planned.bytes)
        context.confirm(
            f"Permanently erase {visible(planned.email)} with {planned.files} files ({size})?", name=planned.email
        )
    if planned and context.options.dry_run:
        return Result(planned, True)
    result = context.change(lambda session: erasure.begin(session, user))
    if planned:
        erasure.finish(context.database, context.stores.open, planned.id)
    return result


def _plan(context: Context, user: str) -> erasure.Erased | None:
    """Return what would be erased; None if there is no such user, or this operation has erased them already."""
    try:
        with context.session() as session:
            return erasure.plan(session, user)
    except NotFound:
        return None


@app.changes("import", empty="no lines to import", example="dumacle users import users.csv")
def import_(
    context: Context,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="CSV with a header, or JSON Lines: email, name, role, plan; - is standard input."
        ),
    ],
    form: Annotated[
        imports.Format | None, typer.Option("--format", help="Format of the file, if not clear from its name.")
    ] = None,
) -> Rows[imports.Imported]:
    """Create many users, one per line; existing users are not modified. Exit 3 means some lines failed."""
    form = form or _format(file)
    entries = imports.read(_stream(file), form)
    result: Rows[imports.Imported] = Result((), changed=False)
    results = _import(context, entries, result)
    if context.options.quiet:
        failed = (line for line in results if line.result == "failed")
        result.data = chain([first], failed) if (first := next(failed, None)) else ()
    else:
        result.data = results
    return result


def _format(file: str) -> imports.Format:
    found = imports.FORMATS.get(Path(file).suffix.lower())
    if found is None:
        raise UsageError(
            f"the format of {file} is unclear from its name: give --format csv or jsonl", "dumacle users import"
        )
    return found


def _stream(file: str) -> BinaryIO:
    try:
        return sys.stdin.buffer if file == "-" else Path(file).open("rb")
    except OSError as fault:
        raise UsageError(f"{file} cannot be read: {fault.strerror}", "dumacle users import") from None


def _import(
    context: Context, entries: Iterator[imports.Entry], result: Rows[imports.Imported]
) -> Iterator[imports.Imported]:
    """Yield the result of each line when its batch is committed, and count the results in `result`."""
    counts = dict.fromkeys(("created", "unchanged", "failed"), 0)
    for lines, changed in context.change_many(imports.batches(entries), imports.create):
        result.changed = result.changed or changed
        for line in lines:
            found = imports.from_stored(line)
            counts[found.result] += 1
            if found.result == "failed":
                result.exit = Exit.PARTIAL
            yield found
    result.note = ", ".join(f"{number} {result}" for result, number in counts.items())


app.include(logins.app)

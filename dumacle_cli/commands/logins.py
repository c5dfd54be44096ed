"""`dumacle users grant-login|revoke-login|set-role`: logins and roles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from dumacle_cli.clients import passwords
from dumacle_cli.commands.command import CommandGroup
from dumacle_cli.commands.parameters import User
from dumacle_cli.context import Context
from dumacle_cli.errors import UsageError
from dumacle_cli.output.result import Result
from dumacle_cli.services import logins, users

app = CommandGroup("users")

FOR_SERVICE = typer.Option("--service", metavar="DUTY", help="A service instead of a user.")
CAUTION = """\
In psql this login sees no rows of other users, but it can infer what they hold,
including e-mail addresses and paths (docs/security.md). Most endusers need no
login; to remove it: dumacle users revoke-login USER"""
VOID = """\
{user} has no password any more, because others may know the old one, and all
their sessions ended; give them a new one: dumacle users grant-login {user}"""
Grantable = Literal["superadmin", "admin", "enduser"]


@app.changes("grant-login", example="dumacle users grant-login ada@example.com")
def grant_login(
    context: Context,
    user: User = "",
    service: Annotated[logins.Duty | None, FOR_SERVICE] = None,
    password_file: Annotated[
        str,
        typer.Option(
            "--password-file",
            metavar="FILE",
            help="Read the password from this file (- is stdin); else a random one is shown once.",
        ),
    ] = "",
) -> Result[logins.NewLogin]:
    """Give a user or a service a PostgreSQL login, or a new password if they have one."""
    _either(user, service, "grant-login")
    password = _password(context, password_file) if password_file else None
    if service:
        return context.change(lambda session: logins.grant_service(session, service, password))
    granted = context.change(lambda session: logins.grant(session, user, password))
    trusting = isinstance(granted.data, logins.NewLogin) and granted.data.role == "enduser"
    return replace(granted, note=CAUTION) if trusting else granted


@app.acts_outside("revoke-login", example="dumacle users revoke-login bob@example.com")
def revoke_login(
    context: Context, user: User = "", service: Annotated[logins.Duty | None, FOR_SERVICE] = None
) -> Result[logins.Revoked]:
    """Remove all logins of a user or a service, and end their running queries immediately."""
    _either(user, service, "revoke-login")
    who = logins.service(service) if service else user
    if context.options.dry_run:
        with context.session() as session:
            return Result(logins.preview_revocation(session, who), True)
    return context.change(lambda session: logins.revoke(session, who))


@app.changes(
    "set-role", example="dumacle users set-role ada@example.com superadmin --yes", confirms=True, role="superadmin"
)
def set_role(
    context: Context,
    user: Annotated[str, typer.Argument(metavar="USER", help="The user's id or e-mail address.")],
    role: Annotated[Grantable, typer.Argument(metavar="ROLE", help="The new role.")],
) -> Result[users.Changed]:
    """Change a user's role: their sessions end, and a higher role also voids their password."""
    if role == "superadmin":
        context.confirm(f"Make {user} a superadmin, with all rights?", name=user)
    return add_note(context.change(lambda session: users.set_role(session, user, role)))


def add_note(result: Result[users.Changed]) -> Result[users.Changed]:
    """Add a note on what ended with the old role."""
    changed = result.data
    if not (isinstance(changed, users.Changed) and changed.logins_ended):
        return result
    if changed.password_void:
        note = VOID.format(user=changed.email)
    else:
        note = f"the sessions of {changed.email} ended; the password stays"
    return replace(result, note=note)


def _either(user: str, service: str | None, name: str) -> None:
    if bool(user) == bool(service):
        raise UsageError("give either a USER or --service", f"dumacle users {name}")


def _password(context: Context, file: str) -> str:
    return context.console.read_value("-", "password") if file == "-" else passwords.read(Path(file))

"""`dumacle users grant-login|revoke-login|set-role`: who may log in, and with which rights."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from dumacle_cli.clients import passwords
from dumacle_cli.commands.contract import command
from dumacle_cli.context import Context
from dumacle_cli.errors import UsageError
from dumacle_cli.output.forms import Shown
from dumacle_cli.services import logins, users

Person = Annotated[str, typer.Argument(metavar="USER", help="The user's id or e-mail address.")]
Service = Annotated[
    logins.Duty | None, typer.Option("--service", metavar="DUTY", help="A service instead of a person.")
]
CAUTION = """\
By psql this login is shown no row of others, but it can find out what these
hold, e-mail addresses and paths too (docs/security.md). Most endusers need no
login; to take it away: dumacle users revoke-login USER"""
VOID = """\
{user} has no password any more, because others may know the old one, and all
sessions ended; give them a new one: dumacle users grant-login {user}"""
Grantable = Literal["superadmin", "admin", "enduser"]


def register(app: typer.Typer) -> None:
    """Add the commands about logins and roles to the group of users."""
    changes = partial(command, app, mutates=True)
    grants = partial(changes, "grant-login", returns=logins.NewLogin)
    grants(example="dumacle users grant-login ada@example.com")(grant_login)
    revokes = partial(changes, "revoke-login", returns=logins.Revoked, outside=True)
    revokes(example="dumacle users revoke-login bob@example.com")(revoke_login)
    sets = partial(changes, "set-role", returns=users.Changed, confirms=True, role="superadmin")
    sets(example="dumacle users set-role ada@example.com superadmin --yes")(set_role)


def grant_login(
    context: Context,
    user: Person = "",
    service: Service = None,
    password_file: Annotated[
        str,
        typer.Option(
            "--password-file", metavar="FILE", help="The password; without it a random one is shown, once. - is stdin."
        ),
    ] = "",
) -> Shown:
    """Let a user or a service log in to PostgreSQL; who could already gets a new password."""
    _either(user, service, "grant-login")
    password = _password(context, password_file) if password_file else None
    if service:
        return context.change(lambda session: logins.grant_service(session, service, password))
    granted = context.change(lambda session: logins.grant(session, user, password))
    trusting = isinstance(granted.data, logins.NewLogin) and granted.data.role == "enduser"
    return replace(granted, note=CAUTION) if trusting else granted


def revoke_login(context: Context, user: Person = "", service: Service = None) -> Shown:
    """End all logins of a user or a service, and what runs in them, at once."""
    _either(user, service, "revoke-login")
    who = logins.service(service) if service else user
    if context.dry_run:
        with context.session() as session:
            return Shown(logins.preview_revocation(session, who), True, dry_run=True)
    return context.change(lambda session: logins.revoke(session, who))


def set_role(
    context: Context,
    user: Annotated[str, typer.Argument(metavar="USER", help="The user's id or e-mail address.")],
    role: Annotated[Grantable, typer.Argument(metavar="ROLE", help="What he may do from now on.")],
) -> Shown:
    """Give a user another role: sessions and all that runs end, and with a higher role the password is void."""
    if role == "superadmin":
        context.confirm(f"Make {user} a superadmin, who may do everything?", name=user)
    return told(context.change(lambda session: users.set_role(session, user, role)))


def told(shown: Shown) -> Shown:
    """Say what ended with another role, to whom the fields of the document are not shown."""
    changed = shown.data
    if not (isinstance(changed, users.Changed) and changed.logins_ended):
        return shown
    if changed.password_void:
        note = VOID.format(user=changed.email)
    else:
        note = f"the sessions of {changed.email} ended; the password stays"
    return replace(shown, note=note)


def _either(user: str, service: str | None, name: str) -> None:
    if bool(user) == bool(service):
        raise UsageError("give either a USER or --service", f"dumacle users {name}")


def _password(context: Context, file: str) -> str:
    return context.typed("-", "password") if file == "-" else passwords.read(Path(file))

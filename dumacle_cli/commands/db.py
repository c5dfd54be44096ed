"""`dumacle db`: make the database, bring its schema up and down, seed it, check it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dumacle_cli.commands.contract import command, group
from dumacle_cli.context import Context
from dumacle_cli.errors import Conflict, Exit, InvalidValue, NoServer, UsageError
from dumacle_cli.output.forms import Shown
from dumacle_cli.services import checks, owner, seed

if TYPE_CHECKING:
    from sqlalchemy import Connection

LONGEST_SLUG = 40
UPGRADE = "dumacle db upgrade"
ROLES_MADE = (
    "roles and rights that were missing, as after a restore, are there again; "
    "give people their logins anew: dumacle users grant-login EMAIL"
)
app = group("db", "The database: bootstrap, schema, seed, check.")


@dataclass(frozen=True, slots=True)
class Migrated:
    """What a migration did: the revisions before and after it, each step, and whether lost roles were made again."""

    before: str | None
    after: str | None
    steps: tuple[str, ...]
    roles_made: bool = False


@dataclass(frozen=True, slots=True)
class Current:
    """Where the schema stands, and what an upgrade would run."""

    revision: str | None
    needed: str
    pending: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Revision:
    """A migration that was written for a developer to fill."""

    file: str


@command(
    app,
    "bootstrap",
    returns=owner.Bootstrapped,
    example="dumacle db bootstrap --password-file owner-password",
    mutates=True,
    outside=True,
    offline=True,
)
def bootstrap(
    context: Context,
    password_file: Annotated[
        str,
        typer.Option(
            "--password-file", metavar="FILE", help="The owner's password; made at random if not there; - is stdin."
        ),
    ],
    database: Annotated[str, typer.Option("--database", metavar="NAME", help="The database to make.")] = "dumacle",
    role: Annotated[str, typer.Option("--owner", metavar="ROLE", help="Its owner's role.")] = "dumacle_owner",
) -> Shown:
    """Make the owner's role and the database, as a superuser (setting admin_database_url); repeat it at will.

    A superuser also makes the database refuse all DDL that is not its owner's; a role with CREATEROLE and CREATEDB
    does the rest.
    """
    admin = context.settings.admin_database_url
    if admin is None:
        raise NoServer()
    place = owner.Place(admin.get_secret_value(), database, role, context.settings.connect_timeout)
    if context.dry_run:
        done, changed = owner.plan(place, password_file)
    else:
        done, changed = owner.bootstrap(place, password_file, lambda: context.typed("-", "password"))
    return Shown(
        done, changed, dry_run=context.dry_run, note="next: set DUMACLE_DATABASE_URL, then: dumacle db upgrade"
    )


@command(app, "upgrade", returns=Migrated, example="dumacle db upgrade", mutates=True, outside=True, role="owner")
def upgrade(
    context: Context,
    revision: Annotated[str, typer.Argument(metavar="REVISION", help="Go up to this one only.")] = "head",
) -> Shown:
    """Bring the schema up to this release's revision, as its owner; after a restore, make the lost roles again."""
    from dumacle_cli.store import identity, revisions, schema

    with _owned(context) as connection:
        before = schema.current(connection)
        last = revision if revision == "head" else _known(revision)
        steps = [step for step in _revisions() if step[:4] > (before or "") and (last == "head" or step[:4] <= last)]
        damaged = before == revisions.OWN and not identity.is_complete(connection)
        if steps and not context.dry_run:
            schema.upgrade(connection, revision)
        elif damaged and not context.dry_run:
            schema.repair(connection)
    return _migrated(context, before, steps, steps[-1][:4] if steps else before, roles_made=damaged)


@command(
    app,
    "downgrade",
    returns=Migrated,
    example="dumacle db downgrade 0008 --yes",
    mutates=True,
    outside=True,
    confirms=True,
    role="owner",
)
def downgrade(
    context: Context,
    revision: Annotated[str, typer.Argument(metavar="REVISION", help="The one to go back to, or `base`.")],
) -> Shown:
    """Take the schema back to a revision, as its owner; what the later ones held is lost."""
    from dumacle_cli.store import schema

    target = "" if revision == "base" else _known(revision)
    with _owned(context) as connection:
        before = schema.current(connection)
    steps = [step for step in reversed(_revisions()) if target < step[:4] <= (before or "")]
    if steps:
        context.confirm(f"This undoes, with all the data they hold: {', '.join(steps)}.", name="downgrade")
    if steps and not context.dry_run:
        with _owned(context) as connection:
            if (found := schema.current(connection)) != before:
                reason = f"the schema went from {before} to {found} meanwhile"
                raise Conflict(reason=reason, advice="see what it is now: dumacle db current")
            schema.downgrade(connection, revision)
    return _migrated(context, before, steps, (target or None) if steps else before)


@command(app, "current", returns=Current, example="dumacle db current", role="owner")
def current(context: Context) -> Current:
    """Show the schema's revision, and what an upgrade would run."""
    from dumacle_cli.store import revisions, schema

    with context.connection() as connection:
        found = schema.current(connection)
    return Current(found, revisions.OWN, tuple(step for step in _revisions() if step[:4] > (found or "")))


@command(
    app,
    "revision",
    returns=Revision,
    example="dumacle db revision 'Colours of pods' --dry-run",
    mutates=True,
    outside=True,
    role="owner",
)
def revision(
    context: Context,
    purpose: Annotated[str, typer.Argument(metavar="PURPOSE", help="What the migration is for, in a few words.")],
) -> Shown:
    """Write the next, empty migration; for developers, in a checkout and with a database that has all the others."""
    from dumacle_cli.store import schema

    last = _revisions()[-1][:4]
    with context.connection() as connection:
        if (found := schema.current(connection)) != last:
            raise Conflict(reason=f"the database is at {found}, and the last migration is {last}", advice=UPGRADE)
    name = f"{int(last) + 1:04}_{_slug(purpose)}.py"
    file = schema.folder() / "versions" / name if context.dry_run else schema.revision(purpose)
    return Shown(Revision(str(file)), True, dry_run=context.dry_run)


@command(app, "seed", returns=seed.Seeded, example="dumacle db seed root@example.com", mutates=True, role="superadmin")
def seed_(
    context: Context,
    email: Annotated[str, typer.Argument(metavar="EMAIL", help="The first superadmin's e-mail.")] = seed.EMAIL,
) -> Shown:
    """Make the first superadmin, whose password is shown this once, and the plans free, starter and pro."""
    return context.change(lambda session: seed.seed(session, email))


@command(
    app,
    "check",
    returns=checks.Check,
    many=True,
    columns=("check", "status", "finding", "fix"),
    example="dumacle db check",
    role="owner",
)
def check(context: Context) -> Shown:
    """Compare server, schema, tables and functions with what this release needs; exit 1 where they differ."""
    with context.connection() as connection:
        found = [checks.server(connection), checks.tried("schema", lambda: checks.schema(connection))]
        if checks.worst(found) != "failed":
            found += [*checks.models(connection), checks.functions(connection)]
    return Shown(found, exit=Exit.FAILED if checks.worst(found) == "failed" else Exit.DONE)


@contextmanager
def _owned(context: Context) -> Iterator["Connection"]:
    """Connect as the owner of the schema; raises NotOwner for anybody else."""
    from dumacle_cli.store import schema

    with context.connection() as connection:
        schema.require_owner(connection)
        yield connection


def _migrated(
    context: Context, before: str | None, steps: list[str], after: str | None, *, roles_made: bool = False
) -> Shown:
    done = Migrated(before, after, tuple(steps), roles_made)
    note = ROLES_MADE if roles_made else ""
    return Shown(done, bool(steps) or roles_made, dry_run=context.dry_run, note=note)


def _revisions() -> list[str]:
    """Return every migration by number and purpose, such as `0004_quotas`."""
    from dumacle_cli.store import schema

    return sorted(file.stem for file in Path(schema.folder(), "versions").glob("[0-9]*.py"))


def _known(revision: str) -> str:
    if revision not in {step[:4] for step in _revisions()}:
        raise UsageError(f"there is no revision {revision}", "dumacle db current")
    return revision


def _slug(purpose: str) -> str:
    slug = "_".join(re.findall(r"\w+", purpose)).lower()
    if not 0 < len(slug) <= LONGEST_SLUG:
        raise InvalidValue(name="PURPOSE", value=repr(purpose), reason=f"it names a file: 1 to {LONGEST_SLUG} letters")
    return slug

"""`dumacle db`: create, upgrade, seed and check the database."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dumacle_cli.commands.command import CommandGroup
from dumacle_cli.context import Context
from dumacle_cli.errors import Conflict, Exit, InvalidValue, NoServer, UsageError
from dumacle_cli.output.result import Result, Rows
from dumacle_cli.services import checks, owner, seed

if TYPE_CHECKING:
    from sqlalchemy import Connection

LONGEST_SLUG = 40
UPGRADE = "dumacle db upgrade"
SUPERADMIN = "root@example.com"
ROLES_MADE = (
    "missing roles and rights were created again, as after a restore; "
    "give users their logins again: dumacle users grant-login EMAIL"
)
app = CommandGroup("db")


@dataclass(frozen=True, slots=True)
class Migrated:
    """The revisions before and after a migration, its steps, and whether missing roles were created again."""

    before: str | None
    after: str | None
    steps: tuple[str, ...]
    roles_made: bool = False


@dataclass(frozen=True, slots=True)
class Current:
    """The revision of the schema, and the migrations that an upgrade would run."""

    revision: str | None
    needed: str
    pending: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Revision:
    """A new, empty migration."""

    file: str


@app.acts_outside("bootstrap", example="dumacle db bootstrap --password-file owner-password", offline=True)
def bootstrap(
    context: Context,
    password_file: Annotated[
        str,
        typer.Option(
            "--password-file",
            metavar="FILE",
            help="File with the owner's password, created at random if missing; - is stdin.",
        ),
    ],
    database: Annotated[str, typer.Option("--database", metavar="NAME", help="Name of the database.")] = "dumacle",
    role: Annotated[str, typer.Option("--owner", metavar="ROLE", help="Name of the owner's role.")] = "dumacle_owner",
) -> Result[owner.Bootstrapped]:
    """Create the owner's role and the database as a superuser (setting admin_database_url); safe to repeat.

    A role with CREATEROLE and CREATEDB is enough, except for the guard that refuses DDL of anyone but the owner.
    """
    admin = context.settings.admin_database_url
    if admin is None:
        raise NoServer()
    place = owner.Place(admin.get_secret_value(), database, role, context.settings.connect_timeout)
    if context.options.dry_run:
        done, changed = owner.plan(place, password_file)
    else:
        done, changed = owner.bootstrap(place, password_file, lambda: context.console.read_value("-", "password"))
    return Result(done, changed, note="next: set DUMACLE_DATABASE_URL, then: dumacle db upgrade")


@app.acts_outside("upgrade", example="dumacle db upgrade", role="owner")
def upgrade(
    context: Context,
    revision: Annotated[str, typer.Argument(metavar="REVISION", help="Upgrade to this revision only.")] = "head",
) -> Result[Migrated]:
    """Upgrade the database schema, as its owner; after a restore from a backup, create missing roles again."""
    from dumacle_cli.store import identity, revisions, schema

    with _owned(context) as connection:
        before = schema.current(connection)
        last = revision if revision == "head" else _known(revision)
        steps = [step for step in _revisions() if step[:4] > (before or "") and (last == "head" or step[:4] <= last)]
        damaged = before == revisions.OWN and not identity.is_complete(connection)
        if steps and not context.options.dry_run:
            schema.upgrade(connection, revision)
        elif damaged and not context.options.dry_run:
            schema.repair(connection)
    return _migrated(before, steps, steps[-1][:4] if steps else before, roles_made=damaged)


@app.acts_outside("downgrade", example="dumacle db downgrade 0008 --yes", confirms=True, role="owner")
def downgrade(
    context: Context,
    revision: Annotated[str, typer.Argument(metavar="REVISION", help="Downgrade to this revision, or `base`.")],
) -> Result[Migrated]:
    """Downgrade the schema as its owner; data of later revisions is lost."""
    from dumacle_cli.store import schema

    target = "" if revision == "base" else _known(revision)
    with _owned(context) as connection:
        before = schema.current(connection)
    steps = [step for step in reversed(_revisions()) if target < step[:4] <= (before or "")]
    if steps:
        context.confirm(f"This undoes these migrations and deletes their data: {', '.join(steps)}.", name="downgrade")
    if steps and not context.options.dry_run:
        with _owned(context) as connection:
            if (found := schema.current(connection)) != before:
                reason = f"the schema changed from {before} to {found} in the meantime"
                raise Conflict(reason=reason, advice="see what it is now: dumacle db current")
            schema.downgrade(connection, revision)
    return _migrated(before, steps, (target or None) if steps else before)


@app.reads("current", example="dumacle db current", role="owner")
def current(context: Context) -> Current:
    """Show the schema's revision and pending migrations."""
    from dumacle_cli.store import revisions, schema

    with context.connection() as connection:
        found = schema.current(connection)
    return Current(found, revisions.OWN, tuple(step for step in _revisions() if step[:4] > (found or "")))


@app.acts_outside("revision", example="dumacle db revision 'Colours of pods' --dry-run", role="owner")
def revision(
    context: Context,
    purpose: Annotated[str, typer.Argument(metavar="PURPOSE", help="Purpose of the migration, in a few words.")],
) -> Result[Revision]:
    """Create an empty migration; for developers, in a checkout and with an upgraded database."""
    from dumacle_cli.store import schema

    last = _revisions()[-1][:4]
    with context.connection() as connection:
        if (found := schema.current(connection)) != last:
            raise Conflict(reason=f"the database is at {found}, and the last migration is {last}", advice=UPGRADE)
    name = f"{int(last) + 1:04}_{_slug(purpose)}.py"
    file = schema.folder() / "versions" / name if context.options.dry_run else schema.revision(purpose)
    return Result(Revision(str(file)), True)


@app.changes("seed", example="dumacle db seed root@example.com", role="superadmin")
def seed_(
    context: Context,
    email: Annotated[str, typer.Argument(metavar="EMAIL", help="The first superadmin's e-mail address.")] = SUPERADMIN,
) -> Result[seed.Seeded]:
    """Create the first superadmin, showing their password once, and the plans free, starter and pro."""
    return context.change(lambda session: seed.seed(session, email))


@app.reads("check", columns=("check", "status", "finding", "fix"), example="dumacle db check", role="owner")
def check(context: Context) -> Rows[checks.Check]:
    """Compare server, schema, tables and functions with this release; exit 1 if they differ."""
    with context.connection() as connection:
        found = [checks.server(connection), checks.tried("schema", lambda: checks.schema(connection))]
        if checks.worst(found) != "failed":
            found += [*checks.models(connection), checks.functions(connection)]
    return Result(found, exit=Exit.FAILED if checks.worst(found) == "failed" else Exit.DONE)


@contextmanager
def _owned(context: Context) -> Iterator[Connection]:
    """Connect as the owner of the schema; raises NotOwner for any other login."""
    from dumacle_cli.store import schema

    with context.connection() as connection:
        schema.require_owner(connection)
        yield connection


def _migrated(before: str | None, steps: list[str], after: str | None, *, roles_made: bool = False) -> Result[Migrated]:
    done = Migrated(before, after, tuple(steps), roles_made)
    note = ROLES_MADE if roles_made else ""
    return Result(done, bool(steps) or roles_made, note=note)


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
        raise InvalidValue(
            name="PURPOSE", value=repr(purpose), reason=f"it becomes a file name of 1 to {LONGEST_SLUG} letters"
        )
    return slug

"""`dumacle key`: the key that credentials are encrypted with."""

from dataclasses import dataclass
from typing import Annotated

import typer

from dumacle_cli.commands.contract import command, group
from dumacle_cli.context import Context
from dumacle_cli.errors import Exit
from dumacle_cli.output.forms import Shown
from dumacle_cli.services import keys

app = group("key", "The key that credentials are encrypted with.")

LOSS = """\
This key opens every credential in the database. Who loses it loses them all: no backup of the database holds it, and
nobody can recover it. The keys to the buckets must then be made anew at the providers. Who has it and the database
has the buckets. Keep a copy where neither the database nor its backups are (an escrow)."""


@dataclass(frozen=True, slots=True)
class Created:
    """A new key: where it is, and its id, which is not known before it is made."""

    source: str
    key_id: str | None


@command(
    app,
    "create",
    returns=Created,
    example="dumacle key create file:fresh.key --yes",
    mutates=True,
    outside=True,
    confirms=True,
    offline=True,
)
def create(
    context: Context,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Where to: file:/path or keyring:NAME.")],
) -> Shown:
    """Make a key, after telling what losing it means; none is overwritten."""
    from dumacle_cli.clients import keys as sources

    sources.check_free(source)
    context.say(*LOSS.splitlines())
    context.confirm(f"Make a key at {source}?")
    key_id = None if context.dry_run else sources.create(source).id
    note = f"now copy it to the escrow, then: dumacle config set key_source {source}"
    return Shown(Created(source, key_id), changed=True, dry_run=context.dry_run, note=note)


@command(
    app,
    "check",
    returns=keys.KeyUse,
    many=True,
    columns=("key_id", "available", "credentials", "unopened"),
    example="dumacle key check",
    cron=True,
    role="superadmin",
)
def check(context: Context) -> Shown:
    """Open every credential with the key, and say which need another; exit 12 where one does not open."""
    with context.session():
        key = context.key  # inside, so that a database that is away is told of first
    found = keys.check(context.database, key)
    failed = sum(each.failed for each in found)
    note = f"{sum(each.credentials for each in found)} credentials, {failed} do not open"
    return Shown(found, exit=Exit.INTEGRITY if failed else Exit.DONE, note=note)

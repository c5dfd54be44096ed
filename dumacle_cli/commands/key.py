"""`dumacle key`: the key that credentials are encrypted with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from dumacle_cli.commands.command import CommandGroup
from dumacle_cli.context import Context
from dumacle_cli.errors import Exit
from dumacle_cli.output.result import Result, Rows
from dumacle_cli.services import keys

app = CommandGroup("key")

LOSS = """\
This key opens every credential in the database. Who loses it loses them all: no backup of the database holds it, and
nobody can recover it. The keys to the buckets must then be made anew at the providers. Who has it and the database
has the buckets. Keep a copy where neither the database nor its backups are (an escrow)."""


@dataclass(frozen=True, slots=True)
class Created:
    """A new key: where it is, and its id, which is not known before it is made."""

    source: str
    key_id: str | None


@app.acts_outside("create", example="dumacle key create file:fresh.key --yes", confirms=True, offline=True)
def create(
    context: Context,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Where to: file:/path or keyring:NAME.")],
) -> Result[Created]:
    """Make a key, after telling what losing it means; none is overwritten."""
    from dumacle_cli.clients import keys as sources

    sources.check_free(source)
    context.console.say(*LOSS.splitlines())
    context.console.confirm(f"Make a key at {source}?", where="")
    key_id = None if context.options.dry_run else sources.create(source).id
    note = f"now copy it to the escrow, then: dumacle config set key_source {source}"
    return Result(Created(source, key_id), changed=True, note=note)


@app.reads(
    "check",
    columns=("key_id", "at_hand", "credentials", "unopened"),
    example="dumacle key check",
    cron=True,
    role="superadmin",
)
def check(context: Context) -> Rows[keys.KeyUse]:
    """Open every credential with the key, and say which need another; exit 12 where one does not open."""
    with context.session():
        key = context.stores.key  # inside, so that a database that is away is told of first
    found = keys.check(context.database, key)
    failed = sum(each.failed for each in found)
    note = f"{sum(each.credentials for each in found)} credentials, {failed} do not open"
    return Result(found, exit=Exit.INTEGRITY if failed else Exit.DONE, note=note)

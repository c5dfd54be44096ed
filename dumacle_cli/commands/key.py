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
This key decrypts every credential in the database. If it is lost, all credentials are lost: no database backup
contains it, it cannot be recovered, and new access keys must be created at the providers. Anyone with both the key
and the database can read the buckets. Keep a copy away from the database and its backups (an escrow)."""


@dataclass(frozen=True, slots=True)
class Created:
    """A new key: where it is, and its id, which a dry run does not know."""

    source: str
    key_id: str | None


@app.acts_outside("create", example="dumacle key create file:fresh.key --yes", confirms=True, offline=True)
def create(
    context: Context,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Where to store it: file:/path or keyring:NAME.")],
) -> Result[Created]:
    """Create a key after a warning about losing it; existing keys are not overwritten."""
    from dumacle_cli.clients import keys as sources

    sources.check_free(source)
    context.console.say(*LOSS.splitlines())
    context.console.confirm(f"Create a key at {source}?", where="")
    key_id = None if context.options.dry_run else sources.create(source).id
    note = f"next: copy it to the escrow, then: dumacle config set key_source {source}"
    return Result(Created(source, key_id), changed=True, note=note)


@app.reads(
    "check",
    columns=("key_id", "available", "credentials", "unopened"),
    example="dumacle key check",
    cron=True,
    role="superadmin",
)
def check(context: Context) -> Rows[keys.KeyUse]:
    """Decrypt every credential with the key and list the keys that are needed; exit 12 if one fails."""
    with context.session():
        key = context.stores.key  # inside, so that an unreachable database is reported first
    found = keys.check(context.database, key)
    failed = sum(each.failed for each in found)
    note = f"{sum(each.credentials for each in found)} credentials, {failed} cannot be decrypted"
    return Result(found, exit=Exit.INTEGRITY if failed else Exit.DONE, note=note)

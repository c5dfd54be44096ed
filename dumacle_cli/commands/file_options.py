"""Options that several commands of `dumacle files` take, and what follows from them."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from dumacle_cli.context import Context
from dumacle_cli.services import downloads
from dumacle_cli.units import parse_age

if TYPE_CHECKING:
    from dumacle_cli.retry import Patience
    from dumacle_cli.services import files

AGE = "Only files {} before this age: 90s, 15min, 12h, 365d, 2w, 12mo, 1y"
Status = Annotated["files.UploadStatus | None", typer.Option("--status", help="Filter by upload status.")]
VersionId = Annotated[
    int | None, typer.Option("--version", metavar="ID", min=1, help="Use this version; see: files versions.")
]
OlderThan = Annotated[str, typer.Option("--older-than", metavar="AGE", help=f"{AGE.format('created')}.")]


def instant(age: str) -> datetime | None:
    """Return the instant of an age, computed once per command; raises InvalidValue."""
    return parse_age(age, "--older-than", datetime.now(UTC)) if age else None


def patience(context: Context) -> "Patience":
    """Return how long the command waits for stores that do not answer."""
    return downloads.patient(context.settings.patience, context.console.say)

"""`dumacle quotas`: limits, what is left of them, and the closing of the months that ended."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dumacle_cli.commands.contract import command, group
from dumacle_cli.commands.listing import After, All, Limit, listing
from dumacle_cli.context import Context
from dumacle_cli.errors import InvalidValue, UsageError
from dumacle_cli.output.forms import Form, Shown
from dumacle_cli.plain import plain
from dumacle_cli.services import quotas
from dumacle_cli.units import parse_size, show_duration, show_size

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dumacle_cli.store.database import Change
    from dumacle_cli.store.operations import Request
    from dumacle_cli.store.paging import Page

app = group("quotas", "Monthly limits and their counters.")

COLUMNS = ("metric", "limit", "used", "reserved", "left", "period_end", "source")

UserName = Annotated[str, typer.Argument(metavar="USER", help="The user's e-mail address or id.")]


@command(
    app,
    "show",
    returns=quotas.Quota,
    many=True,
    columns=COLUMNS,
    example="dumacle quotas show ada@example.com",
    role="enduser",
)
def show(context: Context, user: UserName) -> Shown:
    """Show a user's limits and what is left of them."""
    with context.session() as session:
        return _shown(context, Shown(quotas.show(session, user)))


@command(
    app,
    "set",
    returns=quotas.Quota,
    many=True,
    columns=COLUMNS,
    example="dumacle quotas set ada@example.com --storage 1TiB --upload unlimited",
    mutates=True,
)
def set_(
    context: Context,
    user: UserName,
    storage: Annotated[
        str, typer.Option("--storage", metavar="SIZE", help="At a time: 500GiB, 500GB, bytes, unlimited or plan.")
    ] = "",
    upload: Annotated[
        str, typer.Option("--upload", metavar="SIZE", help="A month: 500GiB, 500GB, bytes, unlimited or plan.")
    ] = "",
    transcode: Annotated[
        str, typer.Option("--transcode-minutes", metavar="N", help="Minutes a month, unlimited or plan.")
    ] = "",
) -> Shown:
    """Give a user limits of his own; `plan` takes them away again."""
    limits: dict[quotas.Metric, quotas.Limit] = {}
    if storage:
        limits["storage"] = _limit(storage, parse_size, "storage")
    if upload:
        limits["upload"] = _limit(upload, parse_size, "upload")
    if transcode:
        limits["transcode"] = _limit(transcode, _minutes, "transcode-minutes")
    if not limits:
        raise UsageError("nothing was asked for: give --storage, --upload or --transcode-minutes", "dumacle quotas set")
    return _shown(context, context.change(lambda session: quotas.set_(session, user, limits)))


def _limit(typed: str, parse: Callable[[str, str], int], name: str) -> quotas.Limit:
    if typed == "plan":
        return "plan"
    return None if typed == "unlimited" else parse(typed, name)


def _minutes(typed: str, name: str) -> int:
    """Read whole minutes and return seconds; raises InvalidValue."""
    if not (typed.isascii() and typed.isdigit() and len(typed) < 16):
        raise InvalidValue(name=name, value=repr(typed), reason="it is a whole number of minutes")
    return int(typed) * 60


@command(
    app,
    "grant",
    returns=quotas.Quota,
    many=True,
    columns=COLUMNS,
    example="dumacle quotas grant ada@example.com --upload 5GiB --reason wedding",
    mutates=True,
)
def grant(
    context: Context,
    user: UserName,
    upload: Annotated[str, typer.Option("--upload", metavar="SIZE", help="More to upload: 5GiB, 5GB or bytes.")] = "",
    transcode: Annotated[str, typer.Option("--transcode-minutes", metavar="N", help="More minutes.")] = "",
    reason: Annotated[str, typer.Option("--reason", help="Why; kept with the grant.")] = "",
) -> Shown:
    """Add to a user's monthly limits for the present period; for storage, set a limit instead."""
    amounts: dict[quotas.Metric, int] = {}
    if upload:
        amounts["upload"] = parse_size(upload, "upload")
    if transcode:
        amounts["transcode"] = _minutes(transcode, "transcode-minutes")
    if not amounts:
        raise UsageError("nothing was asked for: give --upload or --transcode-minutes", "dumacle quotas grant")
    return _shown(context, context.change(lambda session: quotas.grant(session, user, amounts, reason=reason)))


@command(app, "reset", returns=quotas.Reset, example="dumacle quotas reset", mutates=True, cron=True)
def reset(context: Context) -> Shown:
    """Close the periods that ended, also of missed months; for cron, safe to repeat and to run several at once.

    A new period begins by itself; closing writes down what the old one came to.
    """
    if context.dry_run:
        return context.change(quotas.preview)
    leases = context.change(quotas.reap)
    sessions = context.database.change(_request(context, "sessions"), quotas.sweep)
    closed = list(_batches(context, "", quotas.close_batch))
    pruned = list(_batches(context, "operations:", quotas.prune_batch))
    done = quotas.Reset(_sum(closed), int(str(leases.data)), sessions.data, _sum(pruned))
    return replace(leases, data=done, changed=any(each.changed for each in (leases, sessions, *closed, *pruned)))


def _sum(batches: "list[Change[int]]") -> int:
    return sum(batch.data for batch in batches)


def _request(context: Context, step: str) -> "Request":
    from dumacle_cli.store.operations import Request

    return Request(f"{context.operation}:{step}", context.command, {})


def _batches(context: Context, step: str, work: "Callable[[Session], tuple[int, bool]]") -> "Iterator[Change[int]]":
    """Work in transactions of their own, each an operation, so that a repeat goes on where the first ended."""
    for number in count(1):
        batch = context.database.change(_request(context, f"{step}{number}"), work)
        yield batch
        if not batch.data:
            return


@command(
    app,
    "history",
    returns=quotas.Closing,
    many=True,
    columns=("metric", "period_start", "period_end", "used", "limit", "plan"),
    empty="no period of this user was closed yet",
    example="dumacle quotas history ada@example.com",
    role="enduser",
)
def history(context: Context, user: UserName, limit: Limit = 50, after: After = "", everything: All = False) -> Shown:
    """Show what a user's finished periods came to, the latest first."""

    def fetch(session: "Session", token: str | None) -> "Page[quotas.Closing]":
        return quotas.history(session, user, after=token, limit=limit)

    return _shown(context, listing(context, fetch, after, everything))


def _shown(context: Context, shown: Shown) -> Shown:
    """Show amounts as a person reads them, because bytes and seconds share a column."""
    if context.form is not Form.TABLE:
        return shown
    rows: Any = shown.data
    readable = (_readable(plain(row)) for row in rows)
    return replace(shown, data=list(readable) if isinstance(rows, list) else readable)


def _readable(row: dict[str, Any]) -> dict[str, Any]:
    show_amount = show_size if row["unit"] == "bytes" else show_duration
    amounts = {name: row[name] for name in ("limit", "used", "reserved", "left") if name in row}
    return row | {name: "unlimited" if amount is None else show_amount(amount) for name, amount in amounts.items()}

"""`dumacle quotas`: limits and their counters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from dumacle_cli.commands.command import CommandGroup
from dumacle_cli.commands.paging import listing
from dumacle_cli.commands.parameters import User
from dumacle_cli.context import Context
from dumacle_cli.errors import Exit, InvalidValue, UsageError
from dumacle_cli.output.result import Result, Rows
from dumacle_cli.plain import plain
from dumacle_cli.services import quotas
from dumacle_cli.store import subscriptions
from dumacle_cli.units import parse_size, show_duration, show_size

if TYPE_CHECKING:
    from dumacle_cli.store.operations import Request

app = CommandGroup("quotas")
T = TypeVar("T")

COLUMNS = ("metric", "limit", "used", "reserved", "left", "period_end", "source")


@app.reads("show", columns=COLUMNS, example="dumacle quotas show ada@example.com", role="enduser")
def show(context: Context, user: User) -> Rows[quotas.Quota]:
    """Show a user's limits and remaining amounts."""
    with context.session() as session:
        return _readable(context, Result(quotas.show(session, user)))


@app.changes("set", columns=COLUMNS, example="dumacle quotas set ada@example.com --storage 1TiB --upload unlimited")
def set_(
    context: Context,
    user: User,
    storage: Annotated[
        str, typer.Option("--storage", metavar="SIZE", help="Storage limit: 500GiB, 500GB, bytes, unlimited or plan.")
    ] = "",
    upload: Annotated[
        str,
        typer.Option("--upload", metavar="SIZE", help="Monthly upload limit: 500GiB, 500GB, bytes, unlimited or plan."),
    ] = "",
    transcode: Annotated[
        str,
        typer.Option("--transcode-minutes", metavar="N", help="Monthly transcode limit in minutes, unlimited or plan."),
    ] = "",
) -> Rows[quotas.Quota]:
    """Set a user's own limits; `plan` restores those of their plan."""
    limits: dict[quotas.Metric, quotas.Limit] = {}
    if storage:
        limits["storage"] = _limit(storage, parse_size, "storage")
    if upload:
        limits["upload"] = _limit(upload, parse_size, "upload")
    if transcode:
        limits["transcode"] = _limit(transcode, _minutes, "transcode-minutes")
    if not limits:
        raise UsageError("nothing to change: give --storage, --upload or --transcode-minutes", "dumacle quotas set")
    return _readable(context, context.change(lambda session: quotas.set_(session, user, limits)))


def _limit(typed: str, parse: Callable[[str, str], int], name: str) -> quotas.Limit:
    if typed == "plan":
        return "plan"
    return None if typed == "unlimited" else parse(typed, name)


def _minutes(typed: str, name: str) -> int:
    """Read whole minutes and return seconds; raises InvalidValue."""
    if not (typed.isascii() and typed.isdigit() and len(typed) < 16):
        raise InvalidValue(name=name, value=repr(typed), reason="it is a whole number of minutes")
    return int(typed) * 60


@app.changes("grant", columns=COLUMNS, example="dumacle quotas grant ada@example.com --upload 5GiB --reason wedding")
def grant(
    context: Context,
    user: User,
    upload: Annotated[
        str, typer.Option("--upload", metavar="SIZE", help="Additional upload: 5GiB, 5GB or bytes.")
    ] = "",
    transcode: Annotated[
        str, typer.Option("--transcode-minutes", metavar="N", help="Additional transcode minutes.")
    ] = "",
    reason: Annotated[str, typer.Option("--reason", help="The reason, stored with the grant.")] = "",
) -> Rows[quotas.Quota]:
    """Add to a user's monthly limits for the current period; for storage, use `set` instead."""
    amounts: dict[quotas.Metric, int] = {}
    if upload:
        amounts["upload"] = parse_size(upload, "upload")
    if transcode:
        amounts["transcode"] = _minutes(transcode, "transcode-minutes")
    if not amounts:
        raise UsageError("nothing to change: give --upload or --transcode-minutes", "dumacle quotas grant")
    return _readable(context, context.change(lambda session: quotas.grant(session, user, amounts, reason=reason)))


@app.changes("reset", example="dumacle quotas reset", cron=True)
def reset(context: Context) -> Result[quotas.Reset]:
    """Close all ended periods; for cron, safe to repeat and to run in parallel.

    New periods begin automatically; closing stores the final usage of the old ones. Subscriptions whose end Stripe
    refused to keep (`end_due_at`) are ended up to 90 minutes before it; exit 3 means that one was not.
    """
    if context.options.dry_run:
        return context.change(quotas.preview)
    leases = context.change(quotas.reap)
    sessions = context.database.change(_request(context, "sessions"), quotas.sweep)
    steps = {
        "closed": ("", quotas.close_batch),
        "operations": ("operations:", quotas.prune_batch),
        "entries": ("entries:", quotas.prune_entries_batch),
        "events": ("events:", quotas.prune_events_batch),
        "bodies": ("bodies:", quotas.prune_bodies_batch),
    }
    batches = {name: list(context.in_batches(step, work)) for name, (step, work) in steps.items()}
    counts = {name: sum(batch.data for batch in done) for name, done in batches.items()}
    ended, failed = _end_due(context)
    changed = any(each.changed for each in (leases, sessions, *chain.from_iterable(batches.values())))
    done = quotas.Reset(leases=int(str(leases.data)), sessions=sessions.data, ended=ended, **counts)
    return Result(done, changed or ended > 0, exit=Exit.PARTIAL if failed else Exit.DONE)


def _end_due(context: Context) -> tuple[int, int]:
    """End subscriptions that are due and that Stripe does not end; return how many were, and how many were not."""
    with context.session() as session:
        if not subscriptions.ends_due(session):
            return 0, 0
    from dumacle_cli.commands.billing import billing
    from dumacle_cli.services.billing import due_ends

    done = list(due_ends.carry_out(billing(context)))
    failures = [each for each in done if each]
    for each in failures:
        message = f"subscription {each.subscription} of {each.user} is due to end, and has not ended: {each.error}"
        context.console.warn(message, fix=each.error.remedy)
    return len(done) - len(failures), len(failures)


def _request(context: Context, step: str) -> Request:
    from dumacle_cli.store.operations import Request

    return Request(f"{context.operation}:{step}", context.command, {})


@app.changes(
    "adjust", columns=COLUMNS, example="dumacle quotas adjust ada@example.com --upload 1GiB --reason correction"
)
def adjust(
    context: Context,
    user: User,
    upload: Annotated[
        str, typer.Option("--upload", metavar="SIZE", help="Upload to add, or with a minus to give back: -5GiB.")
    ] = "",
    transcode: Annotated[
        str, typer.Option("--transcode-minutes", metavar="N", help="Minutes to add, or with a minus to give back.")
    ] = "",
    reason: Annotated[str, typer.Option("--reason", help="The reason, stored in the ledger.")] = "",
) -> Rows[quotas.Quota]:
    """Correct what a user used in the current period, or refund some of it."""
    amounts: dict[quotas.Metric, int] = {}
    if upload:
        amounts["upload"] = _signed(upload, parse_size, "upload")
    if transcode:
        amounts["transcode"] = _signed(transcode, _minutes, "transcode-minutes")
    if not amounts:
        raise UsageError("nothing to change: give --upload or --transcode-minutes", "dumacle quotas adjust")
    given = {"operation": context.operation, "reason": reason}
    return _readable(context, context.change(lambda session: quotas.adjust(session, user, amounts, **given)))


def _signed(typed: str, parse: Callable[[str, str], int], name: str) -> int:
    return -parse(typed[1:], name) if typed.startswith("-") else parse(typed, name)


@app.reads(
    "verify",
    columns=("user", "metric", "period_start", "used", "booked"),
    empty="every counter agrees with the ledger",
    example="dumacle quotas verify",
    role="enduser",
)
def verify(
    context: Context,
    user: Annotated[str, typer.Argument(metavar="USER", help="E-mail address or id; default: all users.")] = "",
) -> Rows[quotas.Difference]:
    """Compare usage with the ledger, for 90 days after a period was closed; exit 12 if they differ."""
    with context.session() as session:
        found = quotas.verify(session, user or None)
    return _readable(context, Result(found, exit=Exit.INTEGRITY if found else Exit.DONE))


@app.lists(
    "history",
    columns=("metric", "period_start", "period_end", "used", "limit", "plan"),
    empty="no closed periods found",
    example="dumacle quotas history ada@example.com",
    role="enduser",
)
def history(context: Context, user: User) -> Rows[quotas.Closing]:
    """Show the final usage of a user's closed periods, most recent first."""
    return _readable(context, listing(context, quotas.history, user))


def _readable(context: Context, result: Rows[T]) -> Rows[T]:
    """Write amounts in units in a table, because bytes and seconds share a column."""
    if not context.options.is_table:
        return result
    rows: Any = result.data
    readable: Any = (_in_units(plain(row)) for row in rows)
    return replace(result, data=list(readable) if isinstance(rows, list) else readable)


def _in_units(row: dict[str, Any]) -> dict[str, Any]:
    show_amount = show_size if row["unit"] == "bytes" else show_duration
    amounts = {name: row[name] for name in ("limit", "used", "reserved", "left", "booked") if name in row}
    return row | {name: "unlimited" if amount is None else show_amount(amount) for name, amount in amounts.items()}

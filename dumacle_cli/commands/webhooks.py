"""`dumacle webhooks`: receive webhooks from Stripe, and inspect the inbox."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dumacle_cli.commands import endpoints
from dumacle_cli.commands.command import CommandGroup
from dumacle_cli.commands.paging import listing
from dumacle_cli.commands.run import admit
from dumacle_cli.context import Context
from dumacle_cli.errors import UsageError
from dumacle_cli.output.result import Result, Rows
from dumacle_cli.services.billing import inbox
from dumacle_cli.units import parse_age, show_minute

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

app = CommandGroup("webhooks")
events = CommandGroup("webhooks events", "Inspect and retry received events.")
app.add(events)
app.add(endpoints.app)

EventId = Annotated[str, typer.Argument(metavar="EVENT", help="The event's id, such as evt_1.")]
OfType = Annotated[str, typer.Option("--type", metavar="PREFIX", help="Filter by type, such as invoice.")]
OlderThan = Annotated[
    str, typer.Option("--older-than", metavar="AGE", help="Only events received before this age, such as 2h or 30d.")
]
Failed = Literal["dead", "parked"]
Settled = Literal["applied", "ignored", "foreign"]
Prunable = Literal["applied", "ignored", "foreign", "dead"]
RETRY = "dumacle webhooks events retry"


@app.serves("serve", example="dumacle webhooks serve", cron=True, role="superadmin")
def serve(context: Context) -> int:
    """Receive webhooks from Stripe until SIGTERM and store them; `dumacle worker` applies them.

    Run it behind a TLS proxy that forwards POST /webhooks/stripe to listen_host and listen_port.
    """
    # Report a missing or outdated database, or a login without the rights, before any delivery.
    admit(context, "listener")
    from dumacle_cli import listener
    from dumacle_cli.rotation import SecretsInForce

    chosen = context.settings
    secrets = SecretsInForce(context.webhook_secrets, context.config_files, context.console.say)
    listening = listener.Listener(context.database, secrets, context.console.warn)
    try:
        listening.note_secrets()
        listener.serve(listening, chosen.listen_host, chosen.listen_port, chosen.webhook_max_size, context.console.say)
    finally:
        listening.close()
    return 0


@events.lists(
    "list",
    columns=("id", "type", "object_id", "status", "deliveries", "received_at", "error"),
    empty="no events found",
    example="dumacle webhooks events list --status dead",
)
def list_(
    context: Context,
    status: Annotated[inbox.Status | None, typer.Option("--status", help="Filter by status.")] = None,
    object_: Annotated[str, typer.Option("--object", metavar="ID", help="Filter by object, such as sub_1.")] = "",
) -> Rows[inbox.Event]:
    """List events, most recent first."""
    return listing(context, inbox.list_, status=status, object_id=object_ or None)


@events.reads("show", example="dumacle webhooks events show evt_1")
def show(context: Context, event: EventId) -> Result[inbox.EventDetail]:
    """Show an event with its body and the status of its object."""
    with context.session() as session:
        return Result(inbox.show(session, event))


@events.changes(
    "retry",
    columns=("id", "type", "object_id", "status"),
    empty="no such events found",
    example="dumacle webhooks events retry evt_1",
    role="superadmin",
    bulk=True,
)
def retry(
    context: Context,
    event: Annotated[list[str] | None, typer.Argument(metavar="EVENT", help="Ids of events, such as evt_1.")] = None,
    status: Annotated[Failed | None, typer.Option("--status", help="Filter by status; default: both.")] = None,
    type_: OfType = "",
    older_than: OlderThan = "",
    all_: Annotated[bool, typer.Option("--all-failed", help="All events that failed.")] = False,
) -> Rows[inbox.Event]:
    """Retry events: a worker fetches and applies their objects again."""
    filtered = bool(status or type_ or older_than or all_)
    if filtered == bool(event):
        raise UsageError("name events, or choose failed ones by --status, --type, --older-than or --all-failed", RETRY)
    if event:
        return context.change(lambda session: inbox.retry(session, event))
    statuses = (status,) if status else inbox.FAILED
    return _requeue(context, statuses, type_, older_than)


@events.changes(
    "replay",
    columns=("id", "type", "object_id", "status"),
    empty="no such events found",
    example="dumacle webhooks events replay --status applied --type invoice.paid",
    role="superadmin",
    bulk=True,
)
def replay(
    context: Context,
    status: Annotated[Settled | None, typer.Option("--status", help="Filter by status; default: all three.")] = None,
    type_: OfType = "",
    older_than: OlderThan = "",
) -> Rows[inbox.Event]:
    """Apply settled events again: a worker fetches the present state of their objects."""
    return _requeue(context, (status,) if status else inbox.SETTLED, type_, older_than)


def _requeue(context: Context, statuses: tuple[str, ...], type_: str, older_than: str) -> Rows[inbox.Event]:
    before = parse_age(older_than, "--older-than", datetime.now(UTC)) if older_than else None
    maximum = context.options.maximum
    return context.change(lambda session: inbox.requeue(session, statuses, type_, before, maximum))


@events.changes(
    "prune",
    columns=("events",),
    example="dumacle webhooks events prune --older-than 90d --yes",
    role="admin",
    confirms=True,
    bulk=True,
)
def prune(
    context: Context,
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="AGE", help="Only events received before this age, such as 90d.")
    ],
    status: Annotated[
        Prunable | None, typer.Option("--status", help="Filter by status; default: settled ones.")
    ] = None,
    type_: OfType = "",
) -> Result[inbox.Pruned]:
    """Delete old events with their bodies; those that are still to be applied stay."""
    before = parse_age(older_than, "--older-than", datetime.now(UTC))
    statuses = (status,) if status else inbox.SETTLED
    with context.session() as session:
        found = inbox.count(session, statuses, type_, before, context.options.maximum)
    if context.options.dry_run:
        return Result(inbox.Pruned(found), bool(found))
    context.confirm(f"Delete {found} events that were received before {show_minute(before)}")

    def work(session: Session) -> tuple[int, bool]:
        return inbox.prune_batch(session, statuses, type_, before)

    first = int(str(context.change(work).data))
    pruned = first + sum(batch.data for batch in context.in_batches("", work)) if first else 0
    return Result(inbox.Pruned(pruned), bool(pruned))

"""`dumacle webhooks`: listening to Stripe, and the inbox of what it delivered."""

from typing import TYPE_CHECKING, Annotated

import typer

from dumacle_cli.commands.contract import Kind, admit, command, group
from dumacle_cli.commands.listing import After, All, Limit, listing
from dumacle_cli.context import Context
from dumacle_cli.output.forms import Shown
from dumacle_cli.services.billing import inbox

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dumacle_cli.store.paging import Page

app = group("webhooks", "Listen to Stripe; look at what it delivered.")
events = group("webhooks events", "What Stripe delivered, and what became of it.")
app.add_typer(events)

EventId = Annotated[str, typer.Argument(metavar="EVENT", help="The event's id, such as evt_1.")]
EventIds = Annotated[list[str], typer.Argument(metavar="EVENT", help="Ids of events, such as evt_1.")]


@command(app, "serve", example="dumacle webhooks serve", kind=Kind.SERVICE, cron=True, role="superadmin")
def serve(context: Context) -> int:
    """Listen for Stripe's deliveries until SIGTERM, and keep them; `dumacle worker` applies them.

    Bind it to this machine (listen_host, listen_port) behind a proxy that speaks TLS and passes POST /webhooks/stripe.
    """
    # A database that is not there or of another release, or a login that keeps nothing, is told before any delivery.
    admit(context, "listener")
    from dumacle_cli import listener

    chosen = context.settings
    listening = listener.Listener(context.database, context.webhook_secrets, context.warn)
    try:
        listener.serve(listening, chosen.listen_host, chosen.listen_port, chosen.webhook_max_size, context.say)
    finally:
        listening.close()
    return 0


@command(
    events,
    "list",
    returns=inbox.Event,
    many=True,
    columns=("id", "type", "object_id", "status", "deliveries", "received_at", "error"),
    empty="Stripe delivered nothing like that yet",
    example="dumacle webhooks events list --status dead",
)
def list_(
    context: Context,
    status: Annotated[inbox.Status | None, typer.Option("--status", help="Only those of this status.")] = None,
    object_: Annotated[
        str, typer.Option("--object", metavar="ID", help="Only those about this object, such as sub_1.")
    ] = "",
    limit: Limit = 50,
    after: After = "",
    everything: All = False,
) -> Shown:
    """List events, the latest received first."""

    def fetch(session: "Session", token: str | None) -> "Page[inbox.Event]":
        return inbox.list_(session, status=status, object_id=object_ or None, after=token, limit=limit)

    return listing(context, fetch, after, everything)


@command(events, "show", returns=inbox.EventDetail, example="dumacle webhooks events show evt_1")
def show(context: Context, event: EventId) -> Shown:
    """Show an event with the state of its object and its body."""
    with context.session() as session:
        return Shown(inbox.show(session, event))


@command(
    events,
    "retry",
    returns=inbox.Event,
    many=True,
    columns=("id", "type", "object_id", "status"),
    example="dumacle webhooks events retry evt_1",
    mutates=True,
    role="superadmin",
)
def retry(context: Context, event: EventIds) -> Shown:
    """Let a worker fetch and apply the objects of events once more."""
    return context.change(lambda session: inbox.retry(session, event))

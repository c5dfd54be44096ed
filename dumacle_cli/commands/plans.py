"""`dumacle plans`: prices and limits."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dumacle_cli.commands import changing, invoices, publishing, selling, subscriptions, syncing
from dumacle_cli.commands.command import CommandGroup
from dumacle_cli.commands.paging import listing
from dumacle_cli.commands.parameters import AllowTypes, MaxFileSize, Plan
from dumacle_cli.context import Context
from dumacle_cli.errors import InvalidValue, UsageError
from dumacle_cli.output.result import Result, Rows
from dumacle_cli.services import limits, plans
from dumacle_cli.services.billing import catalog, findings
from dumacle_cli.units import parse_currency, parse_price, parse_size

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

app = CommandGroup("plans")

Price = typer.Option("--price", metavar="AMOUNT", help="Price per interval, such as 9.99.")
Currency = typer.Option("--currency", metavar="CODE", help="Currency code, such as EUR.")
OtherPrice = typer.Option(
    "--other-price", metavar="CODE=AMOUNT", help="Price in another currency, such as USD=10.99; repeat it for more."
)
Interval = typer.Option("--interval", help="Billing interval.")
Storage = typer.Option("--storage", metavar="SIZE", help="Storage limit: 500GiB, 500GB, bytes or unlimited.")
Upload = typer.Option("--upload", metavar="SIZE", help="Monthly upload limit: 500GiB, 500GB, bytes or unlimited.")
Minutes = typer.Option("--transcode-minutes", metavar="N", help="Monthly transcode limit in minutes, or unlimited.")
UNLIMITED = "unlimited"


@app.changes(
    "create",
    example="dumacle plans create family --price 9.99 --storage 500GiB --upload 100GiB --default-pod films",
    role="superadmin",
)
def create(
    context: Context,
    name: Plan,
    price: Annotated[str, Price],
    storage: Annotated[str, Storage],
    upload: Annotated[str, Upload],
    transcode_minutes: Annotated[str, Minutes] = "0",
    currency: Annotated[str, Currency] = "EUR",
    other_price: Annotated[list[str] | None, OtherPrice] = None,
    interval: Annotated[plans.Interval, Interval] = "month",
    default_pod: Annotated[
        str | None, typer.Option("--default-pod", metavar="POD", help="Pod to grant to new subscribers.")
    ] = None,
    allow_types: AllowTypes = None,
    max_file_size: MaxFileSize = None,
) -> Result[plans.Plan]:
    """Create a plan."""
    values = _values(price, currency, interval, storage, upload, transcode_minutes) | _other_prices(other_price)
    values |= limits.columns(allow_types, max_file_size)
    return context.change(lambda session: plans.create(session, name, values, default_pod))


@app.lists(
    "list",
    columns=(
        "name",
        "price",
        "currency",
        "interval",
        "storage_limit",
        "upload_limit",
        "transcode_limit",
        "default_pod",
    ),
    empty="no plans found; create one with: dumacle plans create NAME --price 9.99 --storage 500GiB --upload 100GiB",
    example="dumacle plans list",
    role="enduser",
)
def list_(
    context: Context,
    archived: Annotated[bool, typer.Option("--archived", help="Show archived plans.")] = False,
) -> Rows[plans.Plan]:
    """List plans by name."""
    return listing(context, plans.list_, archived=archived)


@app.reads("show", example="dumacle plans show starter", role="enduser")
def show(context: Context, plan: Plan) -> plans.PlanDetail:
    """Show a plan, its number of live subscriptions, and how it differs from what Stripe sells."""
    with context.session() as session:
        found = plans.show(session, plan)
        told = findings.list_(session, object_ids=[findings.plan_object(found.id)])
    for each in told:
        context.console.warn(each.finding, fix=each.fix)
    return found


@app.changes(
    "update",
    example="dumacle plans update starter --storage 300GiB",
    may_be_empty=("default_pod", "other_price"),
    role="superadmin",
)
def update(
    context: Context,
    plan: Plan,
    name: Annotated[str | None, typer.Option("--name", help="The new name.")] = None,
    price: Annotated[str | None, Price] = None,
    currency: Annotated[str | None, Currency] = None,
    other_price: Annotated[
        list[str] | None,
        typer.Option("--other-price", metavar="CODE=AMOUNT", help="All prices in other currencies; '' for none."),
    ] = None,
    interval: Annotated[plans.Interval | None, Interval] = None,
    storage: Annotated[str | None, Storage] = None,
    upload: Annotated[str | None, Upload] = None,
    transcode_minutes: Annotated[str | None, Minutes] = None,
    default_pod: Annotated[
        str | None, typer.Option("--default-pod", metavar="POD", help="Pod to grant to new subscribers; '' for none.")
    ] = None,
    allow_types: AllowTypes = None,
    max_file_size: MaxFileSize = None,
) -> Result[plans.Plan]:
    """Change a plan; new limits apply to its subscribers immediately."""
    if (price is None) is not (currency is None):
        raise UsageError("--price and --currency must be given together", "dumacle plans update")
    values = _values(price, currency, interval, storage, upload, transcode_minutes) | _other_prices(other_price)
    values |= limits.columns(allow_types, max_file_size)

    told: list[findings.Found] = []

    def work(session: Session) -> tuple[plans.Plan, bool]:
        done, changed = plans.update(session, plan, values, name, default_pod)
        told[:] = catalog.note_unpushed(session, done.id)
        return done, changed

    result = context.change(work)
    for found in told:
        context.console.warn(found.sentence, fix=found.fix)
    return result


@app.changes("archive", example="dumacle plans archive pro", role="superadmin")
def archive(context: Context, plan: Plan) -> Result[plans.Plan]:
    """Archive a plan; its subscribers keep it."""
    return context.change(lambda session: plans.archive(session, plan))


@app.changes("restore", example="dumacle plans restore pro", role="superadmin")
def restore(context: Context, plan: Plan) -> Result[plans.Plan]:
    """Restore an archived plan."""
    return context.change(lambda session: plans.restore(session, plan))


for part in (publishing.app, selling.app, changing.app, invoices.refunding, syncing.app):
    app.include(part)
app.add(subscriptions.app)
app.add(invoices.app)


def _values(
    price: str | None,
    currency: str | None,
    interval: str | None,
    storage: str | None,
    upload: str | None,
    minutes: str | None,
) -> dict[str, Any]:
    """Return the columns for the options that were given."""
    values: dict[str, Any] = {"interval": interval} if interval else {}
    if price is not None and currency is not None:
        values |= {"currency": parse_currency(currency), "price": parse_price(price, currency)}
    for column, size in (("storage_limit", storage), ("upload_limit", upload)):
        if size is not None:
            values[column] = None if size == UNLIMITED else parse_size(size, column.replace("_", " "))
    if minutes is not None:
        values["transcode_limit"] = None if minutes == UNLIMITED else _seconds(minutes)
    return values


def _other_prices(given: list[str] | None) -> dict[str, Any]:
    """Return the column for the prices in other currencies, if there are any; one empty text means none."""
    if not given:
        return {}
    prices: dict[str, int] = {}
    for each in [] if given == [""] else given:
        code, is_given, amount = each.partition("=")
        if not is_given:
            raise InvalidValue(name="--other-price", value=repr(each), reason="it is CODE=AMOUNT, such as USD=10.99")
        code = parse_currency(code)
        if code in prices:
            raise InvalidValue(name="--other-price", value=repr(each), reason="each currency has one price")
        prices[code] = parse_price(amount, code)
    return {"other_prices": prices}


def _seconds(minutes: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", minutes):
        raise InvalidValue(name="transcode minutes", value=repr(minutes), reason="it is a whole number, or unlimited")
    return int(minutes) * 60

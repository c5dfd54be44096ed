"""`dumacle plans invoices|refund`: what Stripe charged, and paying it back."""

from __future__ import annotations

from typing import Annotated

import typer

from dumacle_cli.commands.billing import billing
from dumacle_cli.commands.command import CommandGroup
from dumacle_cli.context import Context
from dumacle_cli.errors import NotFound
from dumacle_cli.output.result import Result, Rows
from dumacle_cli.services.billing import accounts, refunds
from dumacle_cli.store import stripe
from dumacle_cli.units import parse_price

app = CommandGroup("plans invoices", "Show what Stripe charged users.")
refunding = CommandGroup("plans")
Invoice = Annotated[str, typer.Argument(metavar="INVOICE", help="The invoice's id at Stripe.")]


@app.reads(
    "list",
    columns=("id", "subscription", "status", "total", "paid", "currency", "created_at"),
    empty="no invoices found",
    example="dumacle plans invoices list",
)
def list_(
    context: Context,
    user: Annotated[str, typer.Option("--user", metavar="USER", help="Filter by user: e-mail address or id.")] = "",
) -> Rows[refunds.Invoice]:
    """List invoices at Stripe, the newest first."""
    with context.session() as session:
        known = accounts.account(session, user, context.settings.installation) if user else None
        if not (known.customer if known else stripe.has_customers(session)):
            return Result(())
    return Result(refunds.invoices(billing(context), known.customer if known else None))


@app.reads("show", example="dumacle plans invoices show in_1")
def show(context: Context, invoice: Invoice) -> refunds.InvoiceDetail:
    """Show an invoice: its lines, what was paid and refunded, and the page where it can be paid."""
    _require_customers(context, invoice)
    return refunds.invoice(billing(context), invoice)


def _require_customers(context: Context, invoice: str) -> None:
    """Refuse an invoice where no user is a customer; raises NotFound."""
    with context.session() as session:
        if not stripe.has_customers(session):
            raise NotFound("invoice", invoice)


@refunding.acts_outside("refund", example="dumacle plans refund in_1 --yes", takes_op_id=True, confirms=True)
def refund(
    context: Context,
    invoice: Invoice,
    amount: Annotated[
        str,
        typer.Option("--amount", metavar="AMOUNT", help="How much, such as 5.00; default: all that is left."),
    ] = "",
) -> Result[refunds.Refund]:
    """Refund an invoice to the payment method it was paid with; the subscription goes on."""
    _require_customers(context, invoice)
    minor = parse_price(amount, refunds.currency_of(billing(context), invoice)) if amount else None
    planned, due = refunds.due_of_invoice(billing(context), invoice, minor)
    if due:
        context.confirm(f"Refund {planned.amount} {planned.currency} of invoice {invoice}?")
    if not context.options.dry_run:
        refunds.pay_back(billing(context), due)
    return Result(planned, bool(due))

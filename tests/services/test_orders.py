"""Selling: what two who sell at once to the same user may and may not do, and what a sale is made of."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from dumacle_cli.clients.stripe import Terms
from dumacle_cli.errors import DumacleError, SaleBusy
from dumacle_cli.services.billing import BillingContext, apply, catalog, orders
from dumacle_cli.store import stripe
from dumacle_cli.store.database import Database
from tests.factories import make_plan, make_user
from tests.stripe_double.double import StripeDouble

pytestmark = pytest.mark.integration

ADA = "ada@example.com"
HOME = "here"
Sales = list[tuple[BillingContext, orders.Order]]


@pytest.fixture
def sales(database: Database, stripe_double: StripeDouble) -> Iterator[Sales]:
    """Two operators who are about to sell the same plan to Ada, and know nothing of each other."""
    with database.session() as session:
        make_user(session, ADA, name="Ada")
        make_plan(session, "pro", price=999)
    with database.session() as session:
        offers = catalog.offers(session, ["pro"], HOME)
    account = stripe_double.billing()
    catalog.publish(BillingContext(database, account, HOME, "push"), offers[0])
    with database.session() as session:
        placed = [orders.order(session, ADA, "pro", HOME, Terms()) for _ in range(2)]
    yield [(BillingContext(database, account, HOME, f"sale {number}"), order) for number, order in enumerate(placed)]
    account.close()


def test_a_user_becomes_one_customer(sales: Sales, stripe_double: StripeDouble, database: Database) -> None:
    portals = [orders.portal(context, order.buyer, "https://example.com") for context, order in sales]
    (customer,) = stripe_double.all("customer")
    assert {portal.customer_id for portal in portals} == {customer["id"]}
    assert (customer["email"], customer["name"]) == (ADA, "Ada")
    assert customer["metadata"] == {"app": "dumacle", "installation": HOME, "user": str(sales[0][1].buyer.id)}
    with database.session() as session:
        assert stripe.customer_of(session, sales[0][1].buyer.id) == customer["id"]


def test_a_second_sale_is_the_first_one_before_its_event_came(sales: Sales, stripe_double: StripeDouble) -> None:
    (first, order), (second, same) = sales
    page, _ = orders.checkout(first, order, "https://example.com/yes", "https://example.com/no")
    assert (page.status, page.plan, page.user) == ("open", "pro", ADA)
    (session,) = stripe_double.all("checkout.session")
    paid = stripe_double.complete(session["id"])
    again, changed = orders.subscribe(second, same)
    assert (again.stripe_id, again.status, changed) == (paid["id"], "active", False)
    assert len(stripe_double.all("subscription")) == 1


def test_what_another_is_billed_for_hinders_no_sale(
    sales: Sales, stripe_double: StripeDouble, database: Database
) -> None:
    (first, _), (second, order) = sales
    with database.session() as session:
        bobs = orders.order(session, make_user(session, "bob@example.com").email, "pro", HOME, Terms())
    stripe_double.add_card(orders.ensure_customer(first, bobs.buyer))
    assert orders.subscribe(first, bobs)[0].status == "active"
    assert orders.checkout(second, order, "https://example.com/yes", "https://example.com/no")[0].status == "open"


def test_two_at_once_charge_once(sales: Sales, stripe_double: StripeDouble) -> None:
    context, order = sales[0]
    customer = orders.ensure_customer(context, order.buyer)
    stripe_double.add_card(customer)

    def sell(sale: tuple[BillingContext, orders.Order]) -> str:
        try:
            return orders.subscribe(*sale)[0].status
        except DumacleError as error:
            return error.code

    with ThreadPoolExecutor(2) as both:
        came = sorted(both.map(sell, sales))
    assert came in (["active", "active"], ["active", "sale-busy"])
    assert len(stripe_double.all("subscription")) == 1


def test_nobody_else_charges_meanwhile(sales: Sales, stripe_double: StripeDouble) -> None:
    (first, order), (second, same) = sales
    customer = orders.ensure_customer(first, order.buyer)
    stripe_double.add_card(customer)
    with orders.locked(first, customer, ADA):
        with pytest.raises(SaleBusy):
            orders.subscribe(second, same)
        # A worker that was woken for the customer finds him held, too.
        assert apply.apply_object(first, customer) is None
    assert stripe_double.all("subscription") == []
    assert orders.subscribe(second, same)[0].status == "active"


def test_a_customer_is_let_go_where_the_sale_fails(sales: Sales, stripe_double: StripeDouble) -> None:
    context, order = sales[0]
    with pytest.raises(DumacleError, match="Stripe refused"):
        orders.subscribe(context, order)
    stripe_double.add_card(orders.ensure_customer(context, order.buyer))
    assert orders.subscribe(*sales[1])[0].status == "active"

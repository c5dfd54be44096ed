"""The double's templates have no field that the installed SDK does not declare, and their kinds are its names."""

import inspect
import re
from pathlib import Path

import pytest
import stripe

from tests.stripe_double import routes
from tests.stripe_double.account import PREFIXES, TEMPLATES, Object
from tests.stripe_double.api import ROUTES

CLASSES: dict[str, type[stripe.StripeObject]] = {
    "billing_portal.session": stripe.billing_portal.Session,
    "checkout.session": stripe.checkout.Session,
    "coupon": stripe.Coupon,
    "customer": stripe.Customer,
    "event": stripe.Event,
    "invoice": stripe.Invoice,
    "invoice_payment": stripe.InvoicePayment,
    "line_item": stripe.InvoiceLineItem,
    "price": stripe.Price,
    "product": stripe.Product,
    "refund": stripe.Refund,
    "subscription": stripe.Subscription,
    "subscription_item": stripe.SubscriptionItem,
    "subscription_schedule": stripe.SubscriptionSchedule,
    "webhook_endpoint": stripe.WebhookEndpoint,
}


def declared(known: type) -> set[str]:
    return {name for each in known.__mro__ for name in inspect.get_annotations(each)}


def undeclared(template: Object, known: type) -> set[str]:
    return set(template) - declared(known)


@pytest.mark.unit
@pytest.mark.parametrize("kind", sorted(TEMPLATES))
def test_the_sdk_declares_every_field_of_a_template(kind: str) -> None:
    assert undeclared(TEMPLATES[kind], CLASSES[kind]) == set()
    assert TEMPLATES[kind]["object"] == CLASSES[kind].OBJECT_NAME  # type: ignore[attr-defined]


@pytest.mark.unit
def test_every_kind_that_is_made_has_a_template() -> None:
    assert set(TEMPLATES) == set(PREFIXES) == set(CLASSES)


@pytest.mark.unit
def test_a_field_that_the_sdk_dropped_is_found() -> None:
    assert undeclared(TEMPLATES["invoice"] | {"subscription": None}, stripe.Invoice) == {"subscription"}


@pytest.mark.unit
@pytest.mark.parametrize(
    ("known", "field"),
    [
        (stripe.SubscriptionItem, "current_period_start"),
        (stripe.SubscriptionItem, "current_period_end"),
        (stripe.Subscription, "billing_cycle_anchor"),
        (stripe.Subscription, "cancel_at_period_end"),
        (stripe.Subscription, "cancel_at"),
        (stripe.Subscription, "pause_collection"),
        (stripe.Subscription, "schedule"),
        (stripe.Subscription, "trial_end"),
        (stripe.SubscriptionSchedule, "current_phase"),
        (stripe.SubscriptionSchedule, "phases"),
        (stripe.InvoicePayment, "amount_paid"),
        (stripe.InvoicePayment, "payment"),
    ],
)
def test_what_is_read_is_where_the_sdk_says(known: type, field: str) -> None:
    assert field in declared(known)


@pytest.mark.unit
def test_the_list_of_what_is_imitated_names_existing_tests() -> None:
    here = Path(__file__).parent
    named = re.findall(r"`([\w./]+\.py)::(\w+)`", (here / "README.md").read_text("utf-8"))
    assert len(named) > 15
    assert [(file, name) for file, name in named if f"def {name}(" not in (here / file).read_text("utf-8")] == []


def test_every_route_is_listed_with_its_page() -> None:
    text = Path(routes.__file__).with_name("README.md").read_text("utf-8")
    listed = re.findall(r"^\| (GET|POST|DELETE) (\S+) \|.*\| docs\.stripe\.com/\S+", text, re.MULTILINE)
    patterns = {(method, path.replace("{id}", "([^/]+)")) for method, path in listed}
    assert patterns == {(method, pattern.pattern) for method, pattern, _ in ROUTES}

"""Plans: names, prices, default pods, archiving, subscribers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from dumacle_cli import currencies
from dumacle_cli.clients.stripe import Price
from dumacle_cli.errors import AlreadyExists, InvalidValue, NotFound, StripeRefused
from dumacle_cli.services import plans, users
from dumacle_cli.units import parse_price, show_price
from tests.factories import make_pod
from tests.stripe_double.double import StripeDouble

VALUES = {"price": 999, "currency": "eur", "interval": "month", "storage_limit": 10, "upload_limit": None}


@pytest.mark.unit
@pytest.mark.parametrize(
    ("text", "currency", "minor"),
    [
        ("9.99", "EUR", 999),
        ("9.9", "eur", 990),
        ("10", "USD", 1000),
        ("0", "EUR", 0),
        ("980", "JPY", 980),
        ("1.5", "KWD", 1500),
    ],
)
def test_prices_are_exact(text: str, currency: str, minor: int) -> None:
    assert parse_price(text, currency) == minor


@pytest.mark.unit
@pytest.mark.parametrize(
    ("text", "currency"),
    [
        ("9.999", "EUR"),
        ("9.5", "JPY"),
        ("-1", "EUR"),
        ("1e3", "EUR"),
        ("", "EUR"),
        ("9,99", "EUR"),
        ("٣", "EUR"),
        ("1" * 16, "EUR"),
    ],
)
def test_prices_that_cannot_be(text: str, currency: str) -> None:
    with pytest.raises(InvalidValue):
        parse_price(text, currency)


@pytest.mark.unit
@given(st.integers(0, 10**12), st.sampled_from(["eur", "jpy", "kwd"]))
def test_a_price_that_is_shown_is_read_back(minor: int, currency: str) -> None:
    assert parse_price(show_price(minor, currency), currency) == minor


CHARGED = [
    ("5.00", "eur"),
    ("999999.99", "usd"),
    ("99999999", "jpy"),
    ("5.12", "kwd"),
    ("99999.99", "bhd"),
    ("5", "isk"),
    ("999999", "ugx"),
    ("9999999999.99", "idr"),
]
NOT_CHARGED = [
    ("1000000", "usd", "Stripe charges at most 999999.99 USD"),
    ("100000000", "jpy", "Stripe charges at most 99999999 JPY"),
    ("5.124", "kwd", "Stripe charges KWD in steps of 0.010"),
    ("0.001", "tnd", "Stripe charges TND in steps of 0.010"),
    ("100000", "omr", "Stripe charges at most 99999.999 OMR"),
    ("5.50", "isk", "Stripe charges ISK in steps of 1.00"),
    ("1000.01", "ugx", "Stripe charges UGX in steps of 1.00"),
    ("10000000000", "idr", "Stripe charges at most 9999999999.99 IDR"),
]


@pytest.mark.integration
def test_what_stripe_does_not_charge_is_refused_when_the_plan_is_made(session: Session) -> None:
    for number, (price, currency) in enumerate(CHARGED):
        values = VALUES | {"price": parse_price(price, currency), "currency": currency}
        plans.create(session, f"plan{number}", values, None)
        plans.update(session, f"plan{number}", {"storage_limit": 5}, None, None)
    for price, currency, reason in NOT_CHARGED:
        values = VALUES | {"price": parse_price(price, currency), "currency": currency}
        with pytest.raises(InvalidValue, match=reason):
            plans.create(session, "refused", values, None)
        with pytest.raises(InvalidValue, match=reason):
            plans.update(session, "plan0", {"price": values["price"], "currency": currency}, None, None)


@pytest.mark.integration
@pytest.mark.parametrize("code", sorted({*currencies.TABLE, "eur", "huf", "twd"}))
def test_the_double_charges_what_a_plan_may_cost(stripe_double: StripeDouble, code: str) -> None:
    known = currencies.currency(code)
    client = stripe_double.billing()
    product = client.ensure_product(None, code, "", {}, code)[0]["id"]
    for amount in (known.step, known.largest // known.step * known.step):
        assert client.ensure_price(Price(f"{code}{amount}", product, amount, code, "month", {}), f"{amount}")[1]
    for amount in ({known.step + 1} if known.step > 1 else set()) | {known.largest + 1}:
        with pytest.raises(StripeRefused):
            client.ensure_price(Price(f"{code}{amount}", product, amount, code, "month", {}), f"{amount}")
    client.close()


@pytest.mark.integration
def test_a_plan_is_made_shown_and_changed(session: Session) -> None:
    make_pod(session, "films")
    made, changed = plans.create(session, "starter", VALUES, "films")
    assert changed
    assert (made.price, made.currency, made.upload_limit, made.default_pod) == ("9.99", "EUR", None, "films")
    with pytest.raises(AlreadyExists):
        plans.create(session, "starter", VALUES, None)
    assert not plans.update(session, "starter", VALUES, "starter", "films")[1]
    new, changed = plans.update(session, "starter", {"storage_limit": None, "upload_limit": 5}, "basic", "")
    assert changed
    assert (new.name, new.storage_limit, new.upload_limit, new.default_pod, new.price) == (
        "basic",
        None,
        5,
        None,
        "9.99",
    )
    plans.create(session, "pro", VALUES, None)
    with pytest.raises(AlreadyExists):
        plans.update(session, "pro", {}, "basic", None)


@pytest.mark.integration
@pytest.mark.parametrize("name", ["", " a", "a ", "a\nb", "a\0", "\udcff", "ü" * 128])
def test_names_that_cannot_be(session: Session, name: str) -> None:
    with pytest.raises(InvalidValue):
        plans.create(session, name, VALUES, None)
    with pytest.raises(NotFound):
        plans.get(session, name)


@pytest.mark.integration
def test_pods_must_be_there(session: Session) -> None:
    with pytest.raises(NotFound, match="pod"):
        plans.create(session, "starter", VALUES, "nowhere")


@pytest.mark.integration
def test_archiving_keeps_subscribers_and_is_undone(session: Session) -> None:
    plans.create(session, "starter", VALUES, None)
    users.create(session, "ada@x", plan="starter")
    for step in (plans.archive, plans.restore, plans.archive):
        assert step(session, "starter")[1]
        assert not step(session, "starter")[1]
    shown = plans.show(session, "starter")
    assert (shown.status, shown.subscribers) == ("archived", 1)
    assert [plan.name for plan in plans.list_(session, archived=True, after=None, limit=9).items] == ["starter"]
    assert plans.list_(session, archived=False, after=None, limit=9).items == []


@pytest.mark.integration
def test_plans_are_listed_by_name_in_pages(session: Session) -> None:
    for name in ("pro", "free", "starter"):
        plans.create(session, name, VALUES, None)
    first = plans.list_(session, archived=False, after=None, limit=2)
    second = plans.list_(session, archived=False, after=first.after, limit=2)
    assert [plan.name for plan in [*first.items, *second.items]] == ["free", "pro", "starter"]
    assert second.after is None

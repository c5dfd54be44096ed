"""Plans: names, prices, default pods, archiving, subscribers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from dumacle_cli.errors import AlreadyExists, InvalidValue, NotFound
from dumacle_cli.services import plans, users
from dumacle_cli.units import parse_price, show_price
from tests.factories import make_pod

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

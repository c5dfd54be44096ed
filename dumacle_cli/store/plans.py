"""Queries about plans."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from sqlalchemy import Select, and_, func, or_, select
from sqlalchemy import update as sql_update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from dumacle_cli.store import accounts, functions, paging
from dumacle_cli.store.models import Plan, PlanPrice, Pod, Subscription

Lock = Literal["update", "archive"]
"""Lock a row so that others cannot change it, or (`archive`) cannot insert references to it either."""


def find(session: Session, name: str, *, lock: Lock | None = None) -> Plan | None:
    """Return the plan of this name, archived or not, or None."""
    query = select(Plan).where(Plan.name == name)
    return session.scalars(query.with_for_update(key_share=lock == "update") if lock else query).one_or_none()


def named(session: Session, names: set[str]) -> dict[str, Plan]:
    """Return the plans of these names, keyed by name."""
    return {plan.name: plan for plan in session.scalars(select(Plan).where(Plan.name.in_(names)))}


def create(session: Session, **values: Any) -> int | None:
    """Insert a plan and return its id, or None if the name is taken."""
    statement = insert(Plan).values(**values).on_conflict_do_nothing().returning(Plan.id)
    return session.scalars(statement).one_or_none()


def update(session: Session, plan: Plan, **values: Any) -> bool:
    """Change a plan, or return False if the name is taken."""
    try:
        with session.begin_nested():
            session.execute(sql_update(Plan).where(Plan.id == plan.id).values(**values))
    except IntegrityError:
        return False
    return True


def archive(session: Session, plan: Plan) -> bool:
    """Set the time from which a plan is not sold any more."""
    return update(session, plan, archived_at=func.now())


def with_pod(session: Session, plan_id: int) -> tuple[Plan, str | None]:
    """Return a plan, read anew, with the name of its default pod."""
    plan, pod = session.execute(_joined().where(Plan.id == plan_id), execution_options=_FRESH).one()
    return plan, pod


def page(session: Session, *, archived: bool, after: str | None, limit: int) -> paging.Page[tuple[Plan, str | None]]:
    """Return a page of the active or the archived plans by name, with the names of their default pods."""
    query = _joined().where(Plan.archived_at.is_not(None) if archived else Plan.archived_at.is_(None))
    found = session.execute(paging.keyset(query, [Plan.name], after, limit))
    return paging.page([(plan, pod) for plan, pod in found], limit, lambda row: [row[0].name])


def subscribers(session: Session, plan_id: int) -> int:
    """Return the number of current subscriptions to a plan."""
    query = select(func.count()).select_from(Subscription)
    return session.scalars(query.where(Subscription.plan_id == plan_id, Subscription.ended_at.is_(None))).one()


def publishable(session: Session) -> Sequence[Plan]:
    """Return the active plans that have a price, and all that are already at Stripe, by name."""
    costs = and_(Plan.price > 0, Plan.archived_at.is_(None))
    known = Plan.stripe_product_id.is_not(None)
    return session.scalars(select(Plan).where(or_(costs, known)).order_by(Plan.name)).all()


def sold(session: Session, prices: Sequence[str], products: Sequence[str]) -> dict[str, Plan]:
    """Return the plans that prices and products at Stripe belong to, by these ids: old prices keep their plan."""
    is_sold = or_(Plan.stripe_price_id.in_(prices), Plan.stripe_product_id.in_(products))
    found = session.scalars(select(Plan).where(is_sold).order_by(Plan.id.desc())).all()
    by_product = {str(plan.stripe_product_id): plan for plan in found if plan.stripe_product_id in products}
    by_price = {str(plan.stripe_price_id): plan for plan in found if plan.stripe_price_id in prices}
    return by_product | by_price | _priced(session, prices)


def choose_product(session: Session, plan_id: int, product: str) -> str:
    """Save the id of a plan's product at Stripe unless it has one; return the one that it has then."""
    free = Plan.id == plan_id, Plan.stripe_product_id.is_(None)
    session.execute(sql_update(Plan).where(*free).values(stripe_product_id=product))
    return str(session.scalars(select(Plan.stripe_product_id).where(Plan.id == plan_id)).one())


def save_product(session: Session, plan_id: int, product: str) -> None:
    """Save the id of a plan's product at Stripe."""
    session.execute(sql_update(Plan).where(Plan.id == plan_id).values(stripe_product_id=product))


def save_price(session: Session, plan_id: int, price: str, lookup_key: str) -> None:
    """Save the id and the lookup key of a plan's price at Stripe; a plan that had this lookup key loses it."""
    taken = sql_update(Plan).where(Plan.lookup_key == lookup_key, Plan.id != plan_id)
    session.execute(taken.values(lookup_key=None))
    known = sql_update(Plan).where(Plan.id == plan_id)
    session.execute(known.values(stripe_price_id=price, lookup_key=lookup_key))


# Prices at Stripe, of which a plan may have had several


Others = tuple[tuple[str, int], ...]
"""Other currencies, in alphabetical order, with an amount in minor units of each."""


class Charge(NamedTuple):
    """An amount in minor units of a currency, the interval for which it is paid, and the same in other currencies."""

    amount: int
    currency: str
    interval: str
    others: Others = ()


def in_order(prices: Mapping[str, int]) -> Others:
    """Return amounts by currency in alphabetical order."""
    return tuple(sorted(prices.items()))


def charge(session: Session, plan: Plan) -> Charge:
    """Return what a plan costs; the schema of the previous release has one currency for each plan."""
    others = plan.other_prices if functions.has_column(session, "app.plans", "other_prices") else {}
    return Charge(plan.price, plan.currency, plan.interval, in_order(others))


def add_price(session: Session, plan_id: int, price: str, charge: Charge) -> bool:
    """Save a price at Stripe as one of a plan's; return whether it was not known as such."""
    if not accounts.are_known(session):
        return False
    values = {**charge._asdict(), "price_id": price, "plan_id": plan_id}
    row = insert(PlanPrice).values(other_prices=dict(values.pop("others")), **values)
    added = row.on_conflict_do_update(
        index_elements=[PlanPrice.price_id], set_={"plan_id": plan_id}, where=PlanPrice.plan_id != plan_id
    )
    return session.scalars(added.returning(PlanPrice.price_id)).one_or_none() is not None


def charge_of(session: Session, plan: Plan) -> Charge | None:
    """Return what a plan costs at Stripe, as it was pushed last, or None."""
    if plan.stripe_price_id is None or not accounts.are_known(session):
        return None
    found = session.get(PlanPrice, plan.stripe_price_id, populate_existing=True)
    return Charge(found.amount, found.currency, found.interval, in_order(found.other_prices)) if found else None


def costing(session: Session, charge: Charge) -> Sequence[int]:
    """Return the ids of the plans that cost this in one of their currencies and are not archived."""
    same = and_(Plan.price == charge.amount, Plan.currency == charge.currency)
    if functions.has_column(session, "app.plans", "other_prices"):
        same = or_(same, Plan.other_prices.contains({charge.currency: charge.amount}))
    query = select(Plan.id).where(same, Plan.interval == charge.interval, Plan.archived_at.is_(None))
    return session.scalars(query.order_by(Plan.id)).all()


def sold_prices(session: Session, prices: Sequence[str]) -> set[str]:
    """Return which of these prices at Stripe are prices of plans."""
    if not accounts.are_known(session):
        return set()
    return set(session.scalars(select(PlanPrice.price_id).where(PlanPrice.price_id.in_(prices))))


def _priced(session: Session, prices: Sequence[str]) -> dict[str, Plan]:
    if not accounts.are_known(session):
        return {}
    query = select(PlanPrice.price_id, Plan).join(Plan, Plan.id == PlanPrice.plan_id)
    found = session.execute(query.where(PlanPrice.price_id.in_(prices))).all()
    return {row[0]: row[1] for row in found}


_FRESH = {"populate_existing": True}


def _joined() -> Select[Plan, str]:
    return select(Plan, Pod.name).outerjoin(Pod, Pod.id == Plan.default_pod_id)

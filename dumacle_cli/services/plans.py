"""Plans: prices, limits, and which plan a user is put on without being billed."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

from sqlalchemy.orm import Session

from dumacle_cli.currencies import currency
from dumacle_cli.errors import AlreadyExists, Conflict, InvalidValue, NotFound
from dumacle_cli.escapes import quoted
from dumacle_cli.services import names
from dumacle_cli.store import limits, models, paging, pods, subscriptions
from dumacle_cli.store import plans as store
from dumacle_cli.units import Bytes, Seconds, show_price

Interval = Literal["month", "year"]
_NAME = re.compile(r"(?=\S)[^\x00-\x1f\x7f\ud800-\udfff]+(?<=\S)")


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan; a null limit is unlimited, the upload and transcode limits are per month."""

    id: int
    name: str
    price: str
    currency: str
    interval: str
    storage_limit: Bytes | None
    upload_limit: Bytes | None
    transcode_limit: Seconds | None
    default_pod: str | None
    status: str


@dataclass(frozen=True, slots=True)
class PlanDetail(Plan):
    """A plan with what it costs in other currencies, and the number of its current subscriptions."""

    other_prices: dict[str, str]
    subscribers: int
    allowed_types: list[str] | None
    max_file_size: Bytes | None


def _facts(plan: models.Plan, default_pod: str | None) -> dict[str, Any]:
    return {
        "id": plan.id,
        "name": plan.name,
        "price": show_price(plan.price, plan.currency),
        "currency": plan.currency.upper(),
        "interval": plan.interval,
        "storage_limit": plan.storage_limit,
        "upload_limit": plan.upload_limit,
        "transcode_limit": plan.transcode_limit,
        "default_pod": default_pod,
        "status": "archived" if plan.archived_at else "active",
    }


def get(session: Session, name: str, *, lock: store.Lock | None = None) -> models.Plan:
    """Return the plan of this name, archived or not; raises NotFound."""
    plan = names.resolve(name, partial(store.find, session, lock=lock))
    if plan is None:
        raise names.missing("plan", name, partial(store.find, session), lambda near: near.name)
    return plan


def show(session: Session, name: str) -> PlanDetail:
    """Return a plan with its number of subscribers; raises NotFound."""
    plan, default_pod = store.with_pod(session, get(session, name).id)
    return PlanDetail(
        **_facts(plan, default_pod),
        other_prices={code.upper(): show_price(price, code) for code, price in store.charge(session, plan).others},
        subscribers=store.subscribers(session, plan.id),
        **asdict(limits.of_plan(session, plan.id)),
    )


def list_(session: Session, *, archived: bool, after: str | None, limit: int) -> paging.Page[Plan]:
    """Return a page of plans."""
    found = store.page(session, archived=archived, after=after, limit=limit)
    return paging.Page([Plan(**_facts(plan, pod)) for plan, pod in found.items], found.after)


def create(session: Session, name: str, values: Mapping[str, Any], default_pod: str | None) -> tuple[Plan, bool]:
    """Create a plan from its columns; raises InvalidValue, NotFound or AlreadyExists."""
    _require_chargeable(values["price"], values["currency"], values.get("other_prices", {}))
    pod_id = _pod_id(session, default_pod) if default_pod else None
    plan_id = store.create(session, name=_named(name), default_pod_id=pod_id, **values)
    if plan_id is None:
        raise AlreadyExists(noun="plan", name=name)
    return _shown(session, plan_id), True


def update(
    session: Session, name: str, values: Mapping[str, Any], new_name: str | None, default_pod: str | None
) -> tuple[Plan, bool]:
    """Change columns of a plan, also for its subscribers; an empty `default_pod` removes it.

    Raises InvalidValue, NotFound or AlreadyExists.
    """
    plan = get(session, name, lock="update")
    wanted = dict(values)
    if default_pod is not None:
        wanted["default_pod_id"] = _pod_id(session, default_pod) if default_pod else None
    if new_name is not None and new_name != name:
        wanted["name"] = _named(new_name)
    changes = {column: value for column, value in wanted.items() if getattr(plan, column) != value}
    if changes.keys() & {"price", "currency", "other_prices"}:
        others = wanted["other_prices"] if "other_prices" in wanted else dict(store.charge(session, plan).others)
        _require_chargeable(wanted.get("price", plan.price), wanted.get("currency", plan.currency), others)
    if changes and not store.update(session, plan, **changes):
        raise AlreadyExists(noun="plan", name=new_name)
    return _shown(session, plan.id), bool(changes)


def archive(session: Session, name: str) -> tuple[Plan, bool]:
    """Stop selling a plan; subscribers keep it; raises NotFound."""
    plan = get(session, name, lock="archive")
    changed = plan.archived_at is None and store.archive(session, plan)
    return _shown(session, plan.id), changed


def restore(session: Session, name: str) -> tuple[Plan, bool]:
    """Sell an archived plan again; raises NotFound."""
    plan = get(session, name, lock="update")
    changed = plan.archived_at is not None and store.update(session, plan, archived_at=None)
    return _shown(session, plan.id), changed


def for_sale(session: Session, name: str) -> models.Plan:
    """Return a plan that is not archived; raises NotFound or Conflict."""
    plan = get(session, name)
    if plan.archived_at:
        raise Conflict(reason=f"plan {name} is archived", advice=f"dumacle plans restore {quoted(name)}")
    return plan


def assign(session: Session, user: models.User, name: str) -> bool:
    """Put a user on a plan now, without billing; return whether they were not on it before.

    Usage so far counts, the plan's default pod is granted, other grants stay. Raises NotFound, or Conflict if the plan
    is archived or Stripe bills the user.
    """
    found = subscriptions.current(session, user.id)
    if found and found[1] == name and found[0].status in models.plans.ENTITLED_STATUSES:
        return False
    plan = for_sale(session, name)
    unassign(session, user)
    subscriptions.start(session, [user.id], [plan.id])
    return True


def unassign(session: Session, user: models.User) -> bool:
    """End the unbilled subscription of a user, if there is one; raises Conflict if Stripe bills it.

    One whose first payment was never made is not billed: it is set aside, and current again once it is paid.
    """
    found = subscriptions.current(session, user.id)
    if found is None:
        return False
    if found[0].status == "incomplete":
        subscriptions.set_current(session, user.id, None)
        return True
    if found[0].stripe_subscription_id:
        advice = f"dumacle plans change {quoted(user.email)} PLAN, or dumacle plans cancel {quoted(user.email)}"
        raise Conflict(reason=f"Stripe bills the subscription of {user.email}", advice=advice)
    subscriptions.end(session, found[0])
    return True


def _require_chargeable(price: int, code: str, others: Mapping[str, int]) -> None:
    """Check that Stripe charges these amounts of minor units, one for each currency; raises InvalidValue."""
    if code in others:
        reason = f"the plan costs {show_price(price, code)} {code.upper()} already: change that with --price"
        raise InvalidValue(name="--other-price", value=code.upper(), reason=reason)
    for currency_code, amount in [(code, price), *others.items()]:
        _require_amount(amount, currency_code)
    if others and not (price and all(others.values())):
        raise InvalidValue(name="--other-price", value="0", reason="a plan is free in all currencies or in none")


def _require_amount(price: int, code: str) -> None:
    known, name = currency(code), code.upper()
    if price % known.step:
        reason = f"Stripe charges {name} in steps of {show_price(known.step, code)}"
    elif price > known.largest:
        reason = f"Stripe charges at most {show_price(known.largest, code)} {name}"
    else:
        return
    raise InvalidValue(name="price", value=f"{show_price(price, code)} {name}", reason=reason)


def _shown(session: Session, plan_id: int) -> Plan:
    return Plan(**_facts(*store.with_pod(session, plan_id)))


def _pod_id(session: Session, name: str) -> int:
    pod = pods.find(session, name)
    if pod is None:
        raise NotFound("pod", name)
    return pod.id


def _named(name: str) -> str:
    if not _NAME.fullmatch(name) or len(name.encode()) > 255:
        raise InvalidValue(name="plan name", value=repr(name), reason="it is 1 to 255 bytes of printable text")
    return name

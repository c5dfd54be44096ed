"""Plans: what is sold, for how much, and with which limits."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from sqlalchemy.orm import Session

from dumacle_cli.errors import AlreadyExists, InvalidValue, NotFound
from dumacle_cli.services import names
from dumacle_cli.store import models, paging, pods
from dumacle_cli.store import plans as store
from dumacle_cli.units import Bytes, Seconds, show_price

Interval = Literal["month", "year"]
_NAME = re.compile(r"(?=\S)[^\x00-\x1f\x7f\ud800-\udfff]+(?<=\S)")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is sold; a limit that is null is unlimited, upload and transcode count by the month."""

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
    """A plan with how many subscriptions to it have not ended."""

    subscribers: int


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


def get(session: Session, name: str, *, lock: bool = False, going: bool = False) -> models.Plan:
    """Return the plan of this name, archived or not, locked where it is about to change or to go; raises NotFound."""
    plan = names.resolve(name, partial(store.find, session, lock=lock, going=going))
    if plan is None:
        near = names.guess(name, partial(store.find, session), lambda near: near.name)
        raise NotFound(noun="plan", name=name, guess=near)
    return plan


def show(session: Session, name: str) -> PlanDetail:
    """Return a plan with the number of its subscribers; raises NotFound."""
    plan, default_pod = store.with_pod(session, get(session, name).id)
    return PlanDetail(**_facts(plan, default_pod), subscribers=store.subscribers(session, plan.id))


def list_(session: Session, *, archived: bool, after: str | None, limit: int) -> paging.Page[Plan]:
    """Return a page of plans."""
    found = store.page(session, archived=archived, after=after, limit=limit)
    return paging.Page([Plan(**_facts(plan, pod)) for plan, pod in found.items], found.after)


def create(session: Session, name: str, values: Mapping[str, Any], default_pod: str | None) -> tuple[Plan, bool]:
    """Create a plan from its columns; raises InvalidValue, NotFound or AlreadyExists."""
    pod_id = _pod_id(session, default_pod) if default_pod else None
    plan_id = store.create(session, name=_named(name), default_pod_id=pod_id, **values)
    if plan_id is None:
        raise AlreadyExists(noun="plan", name=name)
    return _shown(session, plan_id), True


def update(
    session: Session, name: str, values: Mapping[str, Any], new_name: str | None, default_pod: str | None
) -> tuple[Plan, bool]:
    """Change the given columns of a plan, for its subscribers too; an empty `default_pod` takes it away.

    Raises InvalidValue, NotFound or AlreadyExists.
    """
    plan = get(session, name, lock=True)
    wanted = dict(values)
    if default_pod is not None:
        wanted["default_pod_id"] = _pod_id(session, default_pod) if default_pod else None
    if new_name is not None and new_name != name:
        wanted["name"] = _named(new_name)
    changes = {column: value for column, value in wanted.items() if getattr(plan, column) != value}
    if changes and not store.update(session, plan, **changes):
        raise AlreadyExists(noun="plan", name=new_name)
    return _shown(session, plan.id), bool(changes)


def archive(session: Session, name: str) -> tuple[Plan, bool]:
    """Take a plan from sale; who has it keeps it; raises NotFound."""
    plan = get(session, name, going=True)
    changed = plan.archived_at is None and store.archive(session, plan)
    return _shown(session, plan.id), changed


def restore(session: Session, name: str) -> tuple[Plan, bool]:
    """Put an archived plan on sale again; raises NotFound."""
    plan = get(session, name, lock=True)
    changed = plan.archived_at is not None and store.update(session, plan, archived_at=None)
    return _shown(session, plan.id), changed


def _shown(session: Session, plan_id: int) -> Plan:
    return Plan(**_facts(*store.with_pod(session, plan_id)))


def _pod_id(session: Session, name: str) -> int:
    pod = pods.find(session, name)
    if pod is None:
        raise NotFound(noun="pod", name=name)
    return pod.id


def _named(name: str) -> str:
    if not _NAME.fullmatch(name) or len(name.encode()) > 255:
        raise InvalidValue(name="plan name", value=repr(name), reason="it is 1 to 255 bytes of printable text")
    return name

"""How a user stands: plan, pods, quotas, and why an upload of his would be refused."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Row
from sqlalchemy.orm import Session

from dumacle_cli.services import users
from dumacle_cli.store import models
from dumacle_cli.store import quotas as quotas_store
from dumacle_cli.units import Bytes, Seconds

if TYPE_CHECKING:
    from dumacle_cli.store.models import Subscription

Quotas = dict[str, Row[Any]]
# Storage is a level: there is no period for which it could be granted.
_RAISE = {"storage": "set {user} --storage SIZE", "upload": "grant {user} --upload SIZE"}


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a user cannot upload, and the command that changes it."""

    reason: str
    fix: str


@dataclass(frozen=True, slots=True)
class GrantedPod:
    """A pod that a user may upload into, and its free room."""

    name: str
    free: Bytes
    is_default: bool


@dataclass(frozen=True, slots=True)
class UserDetail(users.User):
    """A user with plan, pods and quotas (upload and transcode by the month; a limit that is null is unlimited)."""

    plan: str | None
    subscription: str | None
    can_upload: bool
    reasons: list[Reason]
    pods: list[GrantedPod]
    storage_used: Bytes
    storage_limit: Bytes | None
    upload_used: Bytes
    upload_limit: Bytes | None
    transcode_used: Seconds
    transcode_limit: Seconds | None
    period_end: datetime | None


def show(session: Session, reference: str) -> UserDetail:
    """Return how a user stands, of a deleted one too; raises NotFound."""
    from dumacle_cli.store import pods as pods_store  # both map tables, which most commands of users need not
    from dumacle_cli.store import subscriptions

    user = users.get_any(session, reference)
    found = subscriptions.live(session, user.id)
    pods = [
        GrantedPod(pod.name, pod.capacity - pod.used - pod.reserved, is_default)
        for pod, is_default in pods_store.granted(session, user.id)
    ]
    quotas = {row.metric: row for row in quotas_store.standing(session, user.id)}
    reasons = [*_barred(user), *_without_plan(user, found, quotas), *_without_room(user, pods)]
    return UserDetail(
        **asdict(users.view(user)),
        plan=found[1] if found else None,
        subscription=found[0].status if found else None,
        can_upload=not reasons,
        reasons=reasons,
        pods=pods,
        storage_used=quotas["storage"].used,
        storage_limit=quotas["storage"].allowed,
        upload_used=quotas["upload"].used,
        upload_limit=quotas["upload"].allowed,
        transcode_used=quotas["transcode"].used,
        transcode_limit=quotas["transcode"].allowed,
        period_end=quotas["upload"].period_end,
    )


def _barred(user: models.User) -> Iterator[Reason]:
    if user.deleted_at:
        yield Reason("the user is deleted", f"dumacle users restore {user.id}")
    elif user.status == "disabled":
        yield Reason("the user is disabled", f"dumacle users enable {user.email}")


def _without_plan(user: models.User, found: "tuple[Subscription, str] | None", quotas: Quotas) -> Iterator[Reason]:
    spent = [metric for metric in ("storage", "upload") if _is_spent(quotas[metric])]
    entitled = found is not None and found[0].status in models.plans.ENTITLED_STATUSES
    if spent and not entitled:
        why = f"the subscription to {found[1]} is {found[0].status}" if found else "there is no live subscription"
        yield Reason(why, f"dumacle plans subscribe {user.email} PLAN")
    elif spent:
        for metric in spent:
            yield Reason(f"the {metric} quota is used up", f"dumacle quotas {_RAISE[metric]}".format(user=user.email))


def _is_spent(quota: Row[Any]) -> bool:
    return bool(quota.allowed is not None and quota.used + quota.reserved >= quota.allowed)


def _without_room(user: models.User, pods: list[GrantedPod]) -> Iterator[Reason]:
    if not pods:
        yield Reason("no pod is granted", f"dumacle pods grant POD {user.email}")
    elif all(pod.free <= 0 for pod in pods):
        for pod in pods:
            yield Reason(f"pod {pod.name} is full", f"dumacle pods update {pod.name} --capacity SIZE")

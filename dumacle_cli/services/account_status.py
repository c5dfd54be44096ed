"""The account status of a user: plan, pods, quotas, and why an upload would be refused."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Row
from sqlalchemy.orm import Session

from dumacle_cli.escapes import quoted
from dumacle_cli.services import users
from dumacle_cli.store import models
from dumacle_cli.store import quotas as quotas_store
from dumacle_cli.units import Bytes, Seconds, show_size

if TYPE_CHECKING:
    from dumacle_cli.store.models import Subscription

Quotas = dict[str, Row[Any]]
# Storage has no period, so an extra amount cannot be granted for one.
_RAISE = {"storage": "set {user} --storage SIZE", "upload": "grant {user} --upload SIZE"}


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason why a user cannot upload, and what fixes it."""

    reason: str
    fix: str


@dataclass(frozen=True, slots=True)
class BillingFinding:
    """Something that is wrong with a user's billing, and what puts it right."""

    kind: str
    finding: str
    fix: str


@dataclass(frozen=True, slots=True)
class GrantedPod:
    """A pod that is granted to a user, with its free space."""

    name: str
    free: Bytes
    is_default: bool


@dataclass(frozen=True, slots=True)
class UserDetail(users.User):
    """A user with plan, pods and quotas; upload and transcode are per month, a null limit is unlimited.

    `largest_upload` is the size in bytes of the largest file that the user can upload now.
    """

    plan: str | None
    subscription: str | None
    can_upload: bool
    reasons: list[Reason]
    largest_upload: Bytes | None
    pods: list[GrantedPod]
    storage_used: Bytes
    storage_limit: Bytes | None
    upload_used: Bytes
    upload_limit: Bytes | None
    transcode_used: Seconds
    transcode_limit: Seconds | None
    period_end: datetime | None
    findings: list[BillingFinding]


def show(
    session: Session, reference: str, *, size: int | None = None, pod: str = "", max_file_size: int | None = None
) -> UserDetail:
    """Return the account status of a user, deleted or not; raises NotFound.

    The reasons are those against an upload of `size` bytes (default: 1) to `pod` (default: any granted pod).
    """
    from dumacle_cli.store import findings, subscriptions  # these map tables that most commands of users do not need
    from dumacle_cli.store import pods as pods_store

    user = users.get_any(session, reference)
    found = subscriptions.current(session, user.id)
    pods = [
        GrantedPod(each.name, each.capacity - each.used - each.reserved, is_default)
        for each, is_default in pods_store.granted(session, user.id)
    ]
    quotas = {row.metric: row for row in quotas_store.status(session, user.id)}
    request = _UploadRequest(user, 1 if size is None else size, _pod_name(session, pod))
    reasons = [
        *_account_reasons(user),
        *_quota_reasons(request, found, quotas),
        *_pod_reasons(request, [each for each in pods if request.pod in (None, each.name)], session),
        *_size_reasons(request, max_file_size),
    ]
    return UserDetail(
        **asdict(users.view(user)),
        plan=found[1] if found else None,
        subscription=found[0].status if found else None,
        can_upload=not reasons,
        reasons=reasons,
        largest_upload=_largest(pods, quotas, max_file_size) if not [*_account_reasons(user)] else 0,
        pods=pods,
        storage_used=quotas["storage"].used,
        storage_limit=quotas["storage"].allowed,
        upload_used=quotas["upload"].used,
        upload_limit=quotas["upload"].allowed,
        transcode_used=quotas["transcode"].used,
        transcode_limit=quotas["transcode"].allowed,
        period_end=quotas["upload"].period_end,
        findings=[
            BillingFinding(each.kind, each.sentence, each.fix) for each in findings.page(session, user_id=user.id)
        ],
    )


@dataclass(frozen=True, slots=True)
class _UploadRequest:
    """An upload of so many bytes to this pod, or to any granted pod."""

    user: models.User
    size: int
    pod: str | None


def _pod_name(session: Session, pod: str) -> str | None:
    from dumacle_cli.services import pods as services

    return services.get_or_deleted(session, pod).name if pod else None


def _left(quota: Row[Any]) -> int | None:
    """Return the bytes left of a quota, reservations subtracted; None is unlimited."""
    return None if quota.allowed is None else max(quota.allowed - quota.used - quota.reserved, 0)


def _largest(pods: list[GrantedPod], quotas: Quotas, max_file_size: int | None) -> int | None:
    if not pods:
        return 0
    bounds = [_left(quotas["storage"]), _left(quotas["upload"]), max_file_size, max(pod.free for pod in pods)]
    return max(0, min(bound for bound in bounds if bound is not None))


def _account_reasons(user: models.User) -> Iterator[Reason]:
    if user.deleted_at:
        yield Reason("the user is deleted", f"dumacle users restore {user.id}")
    elif user.status == "disabled":
        yield Reason("the user is disabled", f"dumacle users enable {quoted(user.email)}")


def _quota_reasons(
    request: _UploadRequest, found: "tuple[Subscription, str] | None", quotas: Quotas
) -> Iterator[Reason]:
    left = {metric: _left(quotas[metric]) for metric in ("storage", "upload")}
    short = {metric: free for metric, free in left.items() if free is not None and free < request.size}
    entitled = found is not None and found[0].status in models.plans.ENTITLED_STATUSES
    user = quoted(request.user.email)
    if short and not entitled and not any(quotas[metric].overridden for metric in short):
        why = f"the subscription to {found[1]} is {found[0].status}" if found else "there is no current subscription"
        # Stripe bills it still, so that it is paid for in the portal, where another card can be given.
        owed = found is not None and found[0].stripe_subscription_id and found[0].status in ("unpaid", "paused")
        yield Reason(why, f"dumacle plans portal {user}" if owed else f"dumacle plans subscribe {user} PLAN")
        return
    for metric, free in short.items():
        yield Reason(
            _used_up(f"the {metric} quota", free, request.size), f"dumacle quotas {_RAISE[metric]}".format(user=user)
        )


def _used_up(what: str, free: int, size: int) -> str:
    if free:
        return f"{what} is too small: {show_size(free)} left, {show_size(size)} needed"
    return f"{what} is used up"


def _pod_reasons(request: _UploadRequest, pods: list[GrantedPod], session: Session) -> Iterator[Reason]:
    from dumacle_cli.store import pods as pods_store

    deleted = {pod.name for pod in pods_store.granted_before(session, request.user.id)}
    if not pods and (gone := deleted if request.pod is None else deleted & {request.pod}):
        yield from (Reason(f"pod {name} is deleted", f"dumacle pods restore {quoted(name)}") for name in sorted(gone))
    elif not pods:
        which = "no pod is granted" if request.pod is None else f"pod {request.pod} is not granted"
        named = "POD" if request.pod is None else quoted(request.pod)
        yield Reason(which, f"dumacle pods grant {named} {quoted(request.user.email)}")
    elif all(pod.free < request.size for pod in pods):
        for pod in pods:
            full = f"pod {pod.name} is full" if pod.free <= 0 else _used_up(f"pod {pod.name}", pod.free, request.size)
            yield Reason(full, f"dumacle pods update {quoted(pod.name)} --capacity SIZE")


def _size_reasons(request: _UploadRequest, limit: int | None) -> Iterator[Reason]:
    if limit is not None and request.size > limit:
        reason = f"the file is {show_size(request.size)}, and the limit for a file is {show_size(limit)}"
        yield Reason(reason, "dumacle config set max_file_size SIZE")

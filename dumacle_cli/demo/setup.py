"""The operator, pod, plans and user of the demo: created where they are missing, and enlarged where they lack room."""

from collections.abc import Callable

from sqlalchemy.orm import Session

from dumacle_cli.demo.result import OPERATOR, PLAN, POD, SMALL_PLAN, USER
from dumacle_cli.errors import NotFound
from dumacle_cli.services import plans, pods, seed, users
from dumacle_cli.store import users as users_store

MIN_CAPACITY = 256 * 1024**2
"""Capacity of the smallest pod, in bytes."""

Part = Callable[[Session], tuple[object, bool]]


def parts(bucket: str, size: int, largest: int) -> dict[str, Part]:
    """Return what creates each part, in order, with room for `size` more bytes; each is one change.

    `largest` is the size of the largest file in bytes; the first plan is too small for it.
    """
    return {
        "superadmin": _superadmin,
        "operator": lambda session: _user(session, OPERATOR, "Olga Operator", "admin", None),
        "pod": lambda session: _pod(session, bucket, size),
        "plans": lambda session: _plans(session, max(size - largest, largest - 1)),
        "user": lambda session: _user(session, USER, "Ada Example", "enduser", SMALL_PLAN),
        "grant": lambda session: pods.grant(session, POD, USER),
    }


def _superadmin(session: Session) -> tuple[seed.Seeded | None, bool]:
    """Seed the database, unless it has a superadmin of another name already."""
    if users_store.other_superadmin(session, 0) is not None:
        return None, False
    return seed.seed(session, seed.EMAIL)


def _user(session: Session, email: str, name: str, role: str, plan: str | None) -> tuple[users.User, bool]:
    try:
        return users.view(users.get(session, email)), False
    except NotFound:
        return users.create(session, email, name=name, role=role, plan=plan)


def _pod(session: Session, bucket: str, size: int) -> tuple[pods.Pod, bool]:
    try:
        found = pods.get(session, POD, lock=True)
    except NotFound:
        return pods.create(session, POD, capacity=_capacity_for(size), provider="local", bucket=bucket)
    needed = found.used + found.reserved + size
    return pods.update(session, POD, capacity=found.capacity if needed <= found.capacity else _capacity_for(needed))


def _plans(session: Session, small: int) -> tuple[plans.Plan, bool]:
    """Create one plan that stores `small` bytes, and one that stores as much as the pod."""
    _, small_changed = _plan(session, SMALL_PLAN, small, 199)
    plan, changed = _plan(session, PLAN, pods.get(session, POD).capacity, 499)
    return plan, small_changed or changed


def _plan(session: Session, name: str, storage: int, price: int) -> tuple[plans.Plan, bool]:
    """Make sure that a plan stores at least `storage` bytes, and four times that in uploads a month."""
    limits = {"storage_limit": storage, "upload_limit": 4 * storage}
    try:
        plan = plans.get(session, name)
    except NotFound:
        facts = {"price": price, "currency": "eur", "interval": "month", "transcode_limit": 3600}
        return plans.create(session, name, limits | facts, POD)
    current = {name: getattr(plan, name) for name in limits}
    raised = {name: limit for name, limit in limits.items() if current[name] is not None and current[name] < limit}
    return plans.update(session, plan.name, raised, None, None)


def _capacity_for(size: int) -> int:
    """Return a power of two of which `size` bytes take at most half."""
    return max(MIN_CAPACITY, 1 << (2 * size - 1).bit_length() if size else 0)

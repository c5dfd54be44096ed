"""Whom and what the demo needs: each is made where it is missing, and left as it is but for room where that lacks."""

from collections.abc import Callable

from sqlalchemy.orm import Session

from dumacle_cli.errors import NotFound
from dumacle_cli.services import plans, pods, seed, users
from dumacle_cli.store import users as users_store

OPERATOR = "operator@example.com"
USER = "ada@example.com"
POD = "demo"
PLAN = "demo"
SMALL = "demo-small"
"""The plan on which the user begins; it holds all but the largest file."""
LEAST = 256 * 1024**2
"""Bytes of the smallest pod."""

Part = Callable[[Session], tuple[object, bool]]


def parts(bucket: str, size: int, largest: int) -> dict[str, Part]:
    """Return what makes the demo's world, in order, with room for so many bytes more; each is one change.

    `largest` are the bytes of the largest file, for which the first plan is too small.
    """
    return {
        "superadmin": _superadmin,
        "operator": lambda session: _user(session, OPERATOR, "Olga Operator", "admin", None),
        "pod": lambda session: _pod(session, bucket, size),
        "plans": lambda session: _plans(session, max(size - largest, largest - 1)),
        "user": lambda session: _user(session, USER, "Ada Example", "enduser", SMALL),
        "grant": lambda session: pods.grant(session, POD, USER),
    }


def _superadmin(session: Session) -> tuple[seed.Seeded | None, bool]:
    """Seed the database, unless somebody has a superadmin of another name in it already."""
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
        return pods.create(session, POD, capacity=_room(size), provider="local", bucket=bucket)
    held = found.used + found.reserved
    roomy = held + size <= found.capacity
    return pods.update(session, POD, capacity=found.capacity if roomy else _room(held + size))


def _plans(session: Session, little: int) -> tuple[plans.Plan, bool]:
    """Sell one plan that stores `little` bytes, and one that stores as much as the pod."""
    _, begun = _plan(session, SMALL, little, 199)
    bigger, changed = _plan(session, PLAN, pods.get(session, POD).capacity, 499)
    return bigger, begun or changed


def _plan(session: Session, name: str, storage: int, price: int) -> tuple[plans.Plan, bool]:
    """Sell at least so much storage, and four times that a month."""
    limits = {"storage_limit": storage, "upload_limit": 4 * storage}
    try:
        plan = plans.get(session, name)
    except NotFound:
        facts = {"price": price, "currency": "eur", "interval": "month", "transcode_limit": 3600}
        return plans.create(session, name, limits | facts, POD)
    held = {name: getattr(plan, name) for name in limits}
    lacking = {name: limit for name, limit in limits.items() if held[name] is not None and held[name] < limit}
    return plans.update(session, plan.name, lacking, None, None)


def _room(size: int) -> int:
    """Return a power of two in which so many bytes take at most half."""
    return max(LEAST, 1 << (2 * size - 1).bit_length() if size else 0)

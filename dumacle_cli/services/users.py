"""Users: create and change them, their roles and their status."""

import re
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from typing import Any, Literal

from sqlalchemy.orm import Session

from dumacle_cli.errors import AlreadyExists, Conflict, Forbidden, InvalidValue, NotFound, UserDisabled
from dumacle_cli.services import names
from dumacle_cli.store import models, paging
from dumacle_cli.store import users as store

Role = Literal["superadmin", "admin", "enduser", "service"]
UserStatus = Literal["active", "disabled"]
Sort = Literal["id", "email"]
RANKS = ("enduser", "admin", "superadmin")
"""The roles of people, lowest first."""
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s.]+(\.[^@\s.]+)*")
_UNWRITABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class User:
    """A person or service known to Dumacle."""

    id: int
    email: str
    name: str
    role: str
    status: str
    created_at: datetime
    deleted_at: datetime | None


@dataclass(frozen=True, slots=True)
class Changed(User):
    """A changed user, the logins that the change ends, and whether it ends the password."""

    logins_ended: list[str]
    password_void: bool


def view(user: models.User) -> User:
    """Convert a row to what commands show."""
    return User(user.id, user.email, user.name, user.role, user.status, user.created_at, user.deleted_at)


def get(session: Session, reference: str, *, lock: bool = False) -> models.User:
    """Return the user with this id or e-mail who is not deleted; raises NotFound, or Forbidden to lock a superior."""
    return _found(session, reference, deleted=False, lock=lock)


def get_any(session: Session, reference: str, *, lock: bool = False) -> models.User:
    """Return the user with this id or e-mail, else the last one deleted; raises NotFound."""
    try:
        return get(session, reference, lock=lock)
    except NotFound:
        return _deleted(session, reference, lock=lock)


def require_active(session: Session, user: models.User) -> None:
    """Check again that a user exists and is active; raises NotFound or UserDisabled."""
    session.refresh(user)
    if user.deleted_at:
        raise NotFound("user", user.email)
    if user.status != "active":
        raise UserDisabled(user=user.email)


def _deleted(session: Session, reference: str, *, lock: bool) -> models.User:
    return _found(session, reference, deleted=True, lock=lock)


def _found(session: Session, reference: str, *, deleted: bool, lock: bool) -> models.User:
    user = names.resolve(reference, partial(store.find, session, deleted=deleted, lock=lock))
    seek = partial(store.find, session, deleted=deleted)
    if user is None and lock and (seen := names.resolve(reference, seek)):
        # PostgreSQL does not let the actor lock users whom they may not change.
        raise _superior(seen)
    if user is None:
        raise names.missing("user", reference, seek, lambda near: near.email)
    return user


def _lock(session: Session, user: models.User) -> None:
    """Lock a user who is about to lose a right; raises Forbidden if only a superadmin may change them."""
    if user.role != "enduser" and not store.may_change(session, user):
        raise _superior(user)
    store.lock(session, user)


def _superior(user: models.User) -> Forbidden:
    return Forbidden(what=f"changing {user.email}, who is {user.role},", role="superadmin")


def normalised(email: str) -> str:
    """Return an e-mail address in lower case, as it is stored; raises InvalidValue."""
    email = email.strip().lower()
    if not _EMAIL.fullmatch(email) or _UNWRITABLE.search(email) or len(email.encode()) > 254:
        raise InvalidValue(name="e-mail", value=repr(email), reason="it has no form of name@host")
    return email


def named(name: str) -> str:
    """Return a person's name as it is stored; raises InvalidValue."""
    name = name.strip()
    if _UNWRITABLE.search(name) or len(name) > 255:
        raise InvalidValue(name="name", value=repr(name), reason="it is at most 255 characters of printable text")
    return name


def create(
    session: Session, email: str, *, name: str = "", role: str = "enduser", plan: str | None = None
) -> tuple[User, bool]:
    """Create a user, on a plan if one is given; raises InvalidValue, NotFound, Conflict or AlreadyExists."""
    email = normalised(email)
    if store.create(session, email=email, name=named(name), role=role) is None:
        raise AlreadyExists(noun="user", name=email)
    user = get(session, email)
    if plan:
        _switch(session, user, plan)
    return view(user), True


def list_(
    session: Session,
    *,
    role: str | None,
    status: str | None,
    deleted: bool = False,
    sort: str,
    after: str | None,
    limit: int,
) -> paging.Page[User]:
    """Return a page of users, either deleted or not deleted."""
    found = store.page(session, role=role, status=status, deleted=deleted, sort=sort, after=after, limit=limit)
    return paging.Page([view(user) for user in found.items], found.after)


def update(
    session: Session,
    reference: str,
    *,
    email: str | None = None,
    name: str | None = None,
    role: str | None = None,
    plan: str | None = None,
) -> tuple[Changed, bool]:
    """Change the given fields of a user; raises NotFound, InvalidValue, AlreadyExists or Conflict."""
    user = get(session, reference)
    ending = _ending(session, user, role)
    user = get(session, reference, lock=True)
    given = {
        "email": None if email is None else normalised(email),
        "name": None if name is None else named(name),
    }
    changed = _change(session, user, **{column: value for column, value in given.items() if value is not None})
    if changed:
        _tell_stripe(session, user)
    changed = (role is not None and store.set_role(session, user, role)) or changed
    switched = plan is not None and _switch(session, user, plan)
    return Changed(**asdict(view(user)), **ending), changed or switched


def _tell_stripe(session: Session, user: models.User) -> None:
    """Let a worker give Stripe the user's e-mail address and name, if they are a customer there."""
    from dumacle_cli.store import functions, queue, stripe, subscriptions  # they map tables that most need not

    customer = stripe.customer_of(session, user.id)
    if customer and functions.has_relation(session, subscriptions.DETAILS):
        stripe.forget_told_email(session, user.id)
        stripe.request_refresh(session, [("customer", customer)], None)
        queue.wake_stripe(session, [customer])


def set_role(session: Session, reference: str, role: str) -> tuple[Changed, bool]:
    """Give a user another role: sessions and running commands end, and if it is higher the login and password too.

    Raises NotFound, or Conflict for the last superadmin.
    """
    user = get(session, reference)
    ending = _ending(session, user, role)
    changed = store.set_role(session, user, role)
    return Changed(**asdict(view(user)), **ending), changed


def _ending(session: Session, user: models.User, role: str | None) -> dict[str, Any]:
    """Preview what another role ends: a higher one all logins and the password, any other the sessions."""
    if role in (None, "service") or user.role == "service":
        return {"logins_ended": [], "password_void": False}
    from dumacle_cli.store import logins  # start-up: most commands about users do not need it

    store.lock(session, user)
    rise = RANKS.index(str(role)) - RANKS.index(user.role)
    found = logins.of_user(session, user.id) if rise else []
    ended = [login for login in found if rise > 0 or login.kind == "session"]
    void = any(login.kind == "personal" for login in ended)
    return {"logins_ended": [login.role for login in ended], "password_void": void}


def enable(session: Session, reference: str) -> tuple[User, bool]:
    """Enable a user; raises NotFound."""
    user = get(session, reference, lock=True)
    changed = _change(session, user, status="active")
    return view(user), changed


def disable(session: Session, reference: str) -> tuple[User, bool]:
    """Disable a user; raises NotFound, or Conflict for the last superadmin."""
    user = get(session, reference)
    _lock(session, user)
    _spare_last_superadmin(session, user)
    changed = _change(session, user, status="disabled")
    return view(user), changed


def delete(session: Session, reference: str) -> tuple[User, bool]:
    """Disable and hide a user, which frees their e-mail; raises NotFound, or Conflict for the last superadmin."""
    user = get_any(session, reference)
    _lock(session, user)
    changed = user.deleted_at is None
    if changed:
        _spare_last_superadmin(session, user)
        store.delete(session, user)
    return view(user), changed


def restore(session: Session, reference: str) -> tuple[User, bool]:
    """Restore a deleted user, enabled, on the plan that was to follow a subscription that ended meanwhile.

    Raises NotFound, or AlreadyExists if another user has their e-mail now.
    """
    try:
        user = _deleted(session, reference, lock=True)
    except NotFound:
        return view(get(session, reference)), False
    if not store.update(session, user, status="active", deleted_at=None):
        raise AlreadyExists(noun="user", name=user.email)
    _fall_back(session, user)
    return view(user), True


def _fall_back(session: Session, user: models.User) -> None:
    from dumacle_cli.store import functions, subscriptions  # they map tables that most need not

    if functions.has_relation(session, subscriptions.DETAILS) and subscriptions.current(session, user.id) is None:
        subscriptions.fall_back(session, user.id)


def _change(session: Session, user: models.User, **values: Any) -> bool:
    changes = {column: value for column, value in values.items() if getattr(user, column) != value}
    if changes and not store.update(session, user, **changes):
        raise AlreadyExists(noun="user", name=values["email"])
    return bool(changes)


def _spare_last_superadmin(session: Session, user: models.User) -> None:
    acts = user.role == "superadmin" and user.status == "active" and user.deleted_at is None
    if acts and store.other_superadmin(session, user.id) is None:
        reason = f"{user.email} is the last superadmin who can act"
        raise Conflict(reason=reason, advice="make another one first: dumacle users create EMAIL --role superadmin")


def _switch(session: Session, user: models.User, plan: str) -> bool:
    from dumacle_cli.services import plans  # maps the tables of plans and pods, which most commands need not

    return plans.assign(session, user, plan)

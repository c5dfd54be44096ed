"""The owner of the database: its role, its password in a file, and the database itself with its guard."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL, make_url

from dumacle_cli import private
from dumacle_cli.errors import InvalidValue
from dumacle_cli.store import bootstrap as store
from dumacle_cli.store.database import translated

STDIN = "-"


@dataclass(frozen=True, slots=True)
class Place:
    """A cluster as its superuser reaches it, and what to create there; `patience` in seconds."""

    admin_url: str
    database: str
    owner: str
    patience: float


@dataclass(frozen=True, slots=True)
class Bootstrapped:
    """What a bootstrap created; `url` has no password."""

    url: str
    owner: str
    database: str
    password_file: str
    made_password: bool
    made_role: bool
    made_database: bool
    made_guard: bool


def plan(place: Place, password_file: str) -> tuple[Bootstrapped, bool]:
    """Preview a bootstrap; raises DatabaseUnavailable, DatabaseRefused or DatabaseTooOldServer."""
    with translated("admin_database_url"):
        made = store.missing(_reach(place), place.database, place.owner)
    return _done(place, password_file, made, password_file != STDIN and not Path(password_file).exists())


def bootstrap(place: Place, password_file: str, read_stdin: Callable[[], str]) -> tuple[Bootstrapped, bool]:
    """Create the role and the database if they are missing; a missing password is generated.

    Raises InvalidValue, BootstrapRunning, DatabaseUnavailable, DatabaseRefused, DatabaseForbidden or
    DatabaseTooOldServer.
    """
    password, new = (read_stdin(), False) if password_file == STDIN else _from_file(Path(password_file))
    if not password:
        raise InvalidValue(name="the password", value="empty", reason=f"{password_file} holds nothing")
    with translated("admin_database_url"):
        made = store.bootstrap(_reach(place), place.database, place.owner, password)
    return _done(place, password_file, made, new)


def _from_file(file: Path) -> tuple[str, bool]:
    """Read the password, or write a new one to disk before any server gets it."""
    password = secrets.token_hex(32)
    try:
        private.create(file, password + "\n")
    except FileExistsError:
        return file.read_text("utf-8").rstrip("\n"), False
    return password, True


def _reach(place: Place) -> str:
    url = make_url(place.admin_url).set(drivername="postgresql")
    patience = {"connect_timeout": str(max(2, round(place.patience)))}
    return url.update_query_dict(patience).render_as_string(hide_password=False)


def _done(place: Place, password_file: str, made: store.Bootstrapped, new: bool) -> tuple[Bootstrapped, bool]:
    admin = make_url(place.admin_url)
    url = URL.create("postgresql", place.owner, None, admin.host, admin.port, place.database, admin.query)
    done = Bootstrapped(
        url=url.render_as_string(),
        owner=place.owner,
        database=place.database,
        password_file=password_file,
        made_password=new,
        made_role=made.made_role,
        made_database=made.made_database,
        made_guard=made.made_guard,
    )
    return done, new or made.made_role or made.made_database or made.made_guard

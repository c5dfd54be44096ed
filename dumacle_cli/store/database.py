"""Database sessions: connections, transactions, operations, and the translation of database errors."""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

import psycopg
from psycopg.types.array import ListBinaryDumper
from sqlalchemy import Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from dumacle_cli import errors, retry
from dumacle_cli.store import locks, operations, queue, revisions

PAUSES = (0.1, 0.2, 0.4)
"""Seconds before each retry of a transaction: long enough for a lock to be released, too short to be noticed."""
T = TypeVar("T")

_BY_STATE: dict[str, type[errors.DumacleError]] = {
    "40001": errors.DatabaseBusy,
    "40P01": errors.DatabaseBusy,
    "55P03": errors.DatabaseBusy,
    "57014": errors.DatabaseBusy,
    "53100": errors.DatabaseFull,
    "53200": errors.DatabaseFull,
    "53300": errors.DatabaseFull,
    "25006": errors.DatabaseReadOnly,
    "42501": errors.DatabaseForbidden,
    "28P01": errors.DatabaseRefused,
    "28000": errors.DatabaseRefused,
    "3D000": errors.DatabaseRefused,
    "42P01": errors.SchemaMissing,
    "3F000": errors.SchemaMissing,
}
# Error messages raised by Dumacle's own SQL functions, with advice.
_MESSAGES: dict[str, tuple[type[errors.DumacleError], str]] = {
    "the user of this login is disabled": (errors.LoginBarred, "ask an admin for: dumacle users enable EMAIL"),
    "this login expired": (errors.LoginBarred, "dumacle auth login"),
    "this login belongs to no user": (errors.LoginBarred, "ask a superadmin for: dumacle users grant-login EMAIL"),
    "the rights of this login changed meanwhile": (errors.LoginBarred, "dumacle auth login"),
    "less was used than is given back": (errors.Conflict, "see what was used: dumacle quotas show USER"),
    "the user is deleted": (errors.Conflict, "dumacle users restore USER"),
    "the owner was deleted meanwhile": (errors.Conflict, "dumacle users restore USER, then run the same command again"),
    "the owner was disabled meanwhile": (errors.Conflict, "dumacle users enable USER, then run the same command again"),
    "the pod was deleted meanwhile": (errors.Conflict, "dumacle pods restore POD, then run the same command again"),
    "uploads or transcodes in this pod are in progress": (
        errors.Conflict,
        "repeat the command when they have ended; of killed ones: dumacle files reap --older-than 0s",
    ),
    "the pod was taken from its user meanwhile": (
        errors.Conflict,
        "dumacle pods grant POD USER, then run the same command again",
    ),
    "the last superadmin must stay": (
        errors.Conflict,
        "make another one first: dumacle users create EMAIL --role superadmin",
    ),
    "the last superadmin who can log in must stay": (
        errors.Conflict,
        "give another one a login first: dumacle users grant-login EMAIL",
    ),
    "all sessions that this user may have are open already": (
        errors.SessionsFull,
        "end one: dumacle auth sessions list, then: dumacle auth sessions revoke LOGIN",
    ),
    "this user has reached the limit of recorded operations": (
        errors.OperationsFull,
        "wait until `dumacle quotas reset` has removed those older than 30 days",
    ),
    "this user made as many changes in a day as are recorded": (
        errors.OperationsFull,
        "retry in a day, or ask an admin to do it",
    ),
}
# Messages of a refused connection, for which the driver gives no SQLSTATE.
_REFUSALS = (
    "password authentication failed",
    "does not exist",
    "is not permitted to log in",
    "permission denied for database",
)
# Names of the CHECK constraints on times, texts and documents (models/base.py).
_BOUND = re.compile(r"^ck_(\w+)_(times|texts|documents)$")
# Messages of libpq for invalid parameters of a URL, before it connects.
_INVALID_URL = re.compile(r"(?:^|: )(?:invalid |missing |definition of service |could not match )")
_RETRYABLE = {"40001", "40P01", "55P03"}
_UNDEFINED = (psycopg.errors.UndefinedColumn, psycopg.errors.UndefinedTable, psycopg.errors.UndefinedFunction)


_LIMITS = """
    SELECT set_config('lock_timeout', :lock, true), set_config('statement_timeout', :statement, true),
        set_config('idle_in_transaction_session_timeout', '120s', true), set_config('TimeZone', 'UTC', true),
        set_config('transaction_read_only',
                   CASE WHEN :reads THEN 'on' ELSE current_setting('transaction_read_only') END, true)
"""
_BEGIN = text(_LIMITS)
_BEGIN_AND_SCHEMA = text(f"{_LIMITS}, (SELECT max(version_num) FROM {revisions.TABLE})")  # noqa: S608


def _send_lists_in_binary(connection: Any, _: object) -> None:
    """Have psycopg send lists as binary arrays: to write those of a bulk upload as text took a sixth of its CPU."""
    connection.adapters.register_dumper(list, ListBinaryDumper)


@dataclass(frozen=True, slots=True)
class Change(Generic[T]):
    """The result of a mutation, whether anything changed, and its operation id."""

    data: T
    changed: bool
    operation: str
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to wait for a connection, for a lock, and for one statement."""

    connect: float = 5
    lock: float = 5
    statement: float = 60


class Database:
    """A PostgreSQL database with Dumacle's schema; the source of all sessions."""

    def __init__(self, url: str, timeouts: Timeouts, *, pool_size: int = 4) -> None:
        self.url = make_url(url).set(drivername="postgresql+psycopg")
        self.timeouts = timeouts
        self.pool_size = pool_size
        self.wrote = False
        """Whether a transaction that can write was committed, or its COMMIT was sent."""
        self._schema = revisions.OWN

    @cached_property
    def engine(self) -> Engine:
        """The connection pool; without prepared statements, so that each owner's queries get their own plans."""
        engine = create_engine(
            self.url,
            pool_size=self.pool_size,
            max_overflow=0,
            pool_timeout=self.timeouts.connect,
            hide_parameters=True,
            connect_args={
                "prepare_threshold": None,
                "connect_timeout": max(2, round(self.timeouts.connect)),
                "application_name": "dumacle",
                "tcp_user_timeout": 30_000,
                "keepalives_idle": 15,
            },
        )
        event.listen(engine, "connect", _send_lists_in_binary)
        return engine

    def watch(self, tell: Callable[[str], None]) -> None:
        """Report every statement with its duration (s), without its parameters."""

        def begin(connection: Any, *_: Any) -> None:
            connection.info["began"] = time.monotonic()

        def end(connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            tell(f"[{time.monotonic() - connection.info['began']:.3f} s] {' '.join(statement.split())}")

        event.listen(self.engine, "before_cursor_execute", begin)
        event.listen(self.engine, "after_cursor_execute", end)

    @contextmanager
    def session(self, *, read_only: bool = False, check_schema: bool = True) -> Iterator[Session]:
        """Open one transaction: committed at the end, rolled back on an error; database errors become DumacleErrors."""
        with self._translated(), Session(self.engine, expire_on_commit=False) as session:
            with session.begin():
                self._begin(session, read_only, check_schema)
                yield session
                self.wrote |= not read_only
            queue.notify(session)

    def call(self, statement: str, given: Mapping[str, Any]) -> Any:
        """Run one statement in psycopg's format, in a transaction and a round trip of its own; return its first value.

        It has no time limits but those that it sets itself.
        """
        with self._translated(), self.engine.connect() as connection:
            alone = connection.execution_options(isolation_level="AUTOCOMMIT")
            return alone.exec_driver_sql(statement, dict(given)).scalar()

    def _begin(self, session: Session, read_only: bool, check_schema: bool) -> None:
        """Set the transaction's limits and check the schema in one round trip (poolers reject startup options)."""
        limits = {
            "lock": f"{self.timeouts.lock:.3f}s",
            "statement": f"{self.timeouts.statement:.3f}s",
            "reads": read_only,
        }
        found = session.execute(_BEGIN_AND_SCHEMA if check_schema else _BEGIN, limits).one()[-1]
        if check_schema:
            revisions.require(found)
            self._schema = found

    def change(
        self, request: operations.Request, work: Callable[[Session], tuple[T, bool]], *, dry_run: bool = False
    ) -> Change[T] | Change[Any]:
        """Run a mutation as one operation that takes effect once, however often its transaction is retried.

        `work` returns its result and whether it changed anything. After a lost COMMIT it is run again: the operation's
        row shows whether the first attempt was committed. Raises CommitUnknown if the database cannot be reached.
        """
        lost_commit = False

        def once() -> Change[T] | Change[Any]:
            nonlocal lost_commit
            committing = False
            try:
                with self._transaction(dry_run) as (session, commit):
                    change = _once(session, request, work)
                    committing = not dry_run
                    commit()
                    self.wrote |= committing
                    return change
            except errors.DatabaseUnavailable:
                lost_commit |= committing
                raise

        def retryable(error: errors.DumacleError) -> bool:
            return isinstance(error, errors.DatabaseBusy) or (lost_commit and isinstance(error, errors.BrokenOff))

        try:
            return retry.call(once, retryable, PAUSES)
        except errors.BrokenOff:
            if lost_commit:
                raise errors.CommitUnknown(operation=request.id) from None
            raise

    @contextmanager
    def rehearsal(self) -> Iterator[Session]:
        """Open one transaction that is rolled back at the end: the dry run of a mutation with several transactions."""
        with self._transaction(dry_run=True) as (session, _):
            yield session

    @contextmanager
    def _transaction(self, dry_run: bool) -> Iterator[tuple[Session, Callable[[], None]]]:
        with self._translated(), Session(self.engine, expire_on_commit=False) as session:
            self._begin(session, read_only=False, check_schema=True)
            yield session, session.rollback if dry_run else session.commit
            if not dry_run:
                queue.notify(session)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn database errors into DumacleErrors.

        A lock timeout names the holder of the lock, and what the schema of the previous release lacks is an upgrade.
        """
        with translated():
            try:
                yield
            except DBAPIError as fault:
                if isinstance(fault.orig, psycopg.errors.LockNotAvailable):
                    raise errors.DatabaseBusy(reason=self._blocked(fault.orig)) from None
                if isinstance(fault.orig, _UNDEFINED) and self._schema < revisions.OWN:
                    raise errors.SchemaTooOld(found=self._schema, needed=revisions.OWN) from None
                raise

    def _blocked(self, fault: psycopg.Error) -> str:
        with suppress(DBAPIError, PoolTimeout, psycopg.Error), self.engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            if holder := locks.blocker(driver, fault):
                return f"{_sentence(fault)}: {holder}"
        return _sentence(fault)

    def close(self) -> None:
        """Close all connections."""
        if "engine" in self.__dict__:
            self.engine.dispose()


def _once(
    session: Session, request: operations.Request, work: Callable[[Session], tuple[T, bool]]
) -> Change[T] | Change[Any]:
    if earlier := operations.begin(session, request):
        return Change(earlier.result, False, request.id, repeated=True)
    data, changed = work(session)
    operations.finish(session, request, data)
    return Change(data, changed, request.id)


@contextmanager
def translated(setting: str = "database_url") -> Iterator[None]:
    """Turn errors of psycopg and SQLAlchemy into DumacleErrors without statements and parameters.

    `setting` is named in errors about the URL.
    """
    try:
        yield
    except UnicodeEncodeError:
        # Bytes that are not UTF-8 reach Python as surrogates.
        raise errors.InvalidValue(name="text", reason="it is not valid UTF-8") from None
    except ArgumentError as fault:
        raise _wrong_url(setting, str(fault)) from None
    except PoolTimeout:
        raise errors.DatabaseBusy(reason="every connection of this program is in use") from None
    except (DBAPIError, psycopg.Error) as fault:
        raise _error(fault, setting) from None


def _error(fault: DBAPIError | psycopg.Error, setting: str) -> BaseException:
    origin = fault.orig if isinstance(fault, DBAPIError) else fault
    if not isinstance(origin, psycopg.Error):
        return fault
    state = origin.sqlstate or ""
    reason = _sentence(origin)
    if reason in _MESSAGES and state not in _RETRYABLE:
        kind, advice = _MESSAGES[reason]
        return kind(reason=reason, advice=advice)
    if state == "23514" and (bound := _BOUND.search(origin.diag.constraint_name or "")):
        return errors.OutOfBounds(table=bound[1], kind=bound[2])
    if not state and isinstance(origin, psycopg.DataError):
        return errors.InvalidValue(name="text", reason=reason)
    if not state and _INVALID_URL.search(reason):
        return _wrong_url(setting, reason)
    if by_state := _BY_STATE.get(state):
        return by_state(reason=reason)
    if state.startswith(("08", "57P")) or (not state and isinstance(origin, psycopg.OperationalError)):
        return _connection_error(reason)
    return errors.DatabaseFault(reason=reason, state=state)


def _wrong_url(setting: str, reason: str) -> errors.InvalidValue:
    advice = "change it where it is set; to see where: dumacle config list --show-origin"
    return errors.InvalidValue(name=setting, reason=reason, advice=advice)


def _connection_error(reason: str) -> errors.DumacleError:
    lowered = reason.lower()
    if "no password supplied" in lowered:
        return errors.NotLoggedIn(reason="there is no password for this login")
    if any(words in lowered for words in _REFUSALS):
        return errors.DatabaseRefused(reason=reason)
    if "too many" in lowered or "remaining connection slots" in lowered:
        return errors.DatabaseFull(reason=reason)
    return errors.DatabaseUnavailable(reason=reason)


def _sentence(origin: psycopg.Error) -> str:
    message = origin.diag.message_primary or str(origin)
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return lines[0].rpartition("FATAL: ")[2].strip() if lines else "the connection was lost"

"""The worker: fetches jobs from the queue, and runs each as a task in its own thread.

A job is only a hint: tasks look up in the database what to do, and a sweep adds jobs for what waits. The worker
survives a database that is down. It lives longer than a transaction.
"""

import asyncio
import logging
import signal
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import procrastinate
from procrastinate.connector import Notify
from procrastinate.exceptions import ConnectorException
from procrastinate.worker import Worker as QueueWorker
from psycopg import AsyncConnection, OperationalError
from psycopg.conninfo import make_conninfo

from dumacle_cli.errors import DumacleError
from dumacle_cli.signals import is_ignored
from dumacle_cli.store import queue
from dumacle_cli.store.database import translated

if TYPE_CHECKING:
    from dumacle_cli.store.database import Database

SWEEP_SECONDS = 5.0
RETRY_SECONDS = 1.0
CONNECT_SECONDS = 5
SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGALRM)
T = TypeVar("T")


class Log(Protocol):
    """Writes one line of the worker's log."""

    def __call__(self, event: str, **facts: object) -> None:
        """Write what happened, and to what."""


class _Connector(procrastinate.PsycopgConnector):
    """Treats notifications only as wake-ups, because every login may send any; waits for a database that is down."""

    def __init__(self, conninfo: str, connections: int, log: Log) -> None:
        super().__init__(
            conninfo=conninfo,
            min_size=1,
            max_size=connections,
            timeout=CONNECT_SECONDS,
            # A pool that reconnects by itself waits longer and longer; after giving up it starts again when it is used.
            reconnect_timeout=RETRY_SECONDS,
            configure=_prepare,
        )
        self.patient = True
        self._log = log

    async def listen_notify(self, on_notification: Notify, channels: Iterable[str]) -> None:
        async def wake(*, channel: str, payload: str) -> None:  # noqa: ARG001 - any login may have written it
            await on_notification(channel=channel, payload='{"type": "job_inserted", "job_id": 0}')

        while True:
            with suppress(ConnectorException):
                await super().listen_notify(on_notification=wake, channels=channels)
            await asyncio.sleep(RETRY_SECONDS)

    async def execute_query_async(self, query: Any, **arguments: Any) -> None:
        await self._retry_while_down(lambda: super(_Connector, self).execute_query_async(query, **arguments))

    async def execute_query_one_async(self, query: Any, **arguments: Any) -> dict[str, Any]:
        return await self._retry_while_down(lambda: super(_Connector, self).execute_query_one_async(query, **arguments))

    async def execute_query_all_async(self, query: Any, **arguments: Any) -> list[dict[str, Any]]:
        return await self._retry_while_down(lambda: super(_Connector, self).execute_query_all_async(query, **arguments))

    async def _retry_while_down(self, work: Callable[[], Awaitable[T]]) -> T:
        away = False
        while True:
            try:
                found = await work()
            except ConnectorException as error:
                if not self.patient or not isinstance(error.__cause__, OperationalError):
                    raise
                if not away:
                    self._log("database away")
                away = True
                await asyncio.sleep(RETRY_SECONDS)
            else:
                if away:
                    self._log("database back")
                return found


async def _prepare(connection: AsyncConnection[Any]) -> None:
    # Not a start-up option, which poolers refuse; listening needs a direct connection anyway.
    await connection.set_autocommit(True)
    await connection.execute("SET search_path TO queue, pg_temp")


class Worker:
    """Serves queues with `slots` tasks at once.

    When it is stopped it fetches no more jobs, and after `drain_seconds`, or a second signal, sets `give_back`: tasks
    then release their units. `sweep` adds jobs for what waits, and returns whether any wait.
    """

    def __init__(
        self,
        database: "Database",
        tasks: Mapping[str, Callable[[str], object]],
        sweep: Callable[[], bool],
        log: Log,
        *,
        slots: int,
        drain_seconds: float,
        give_back: threading.Event,
    ) -> None:
        self._sweep, self._log = sweep, log
        self._slots, self._drain_seconds, self._give_back = slots, drain_seconds, give_back
        self._queues = [queue.QUEUES[task] for task in tasks]
        self._connector = _Connector(_conninfo(database), slots + 2, log)
        self._app = procrastinate.App(connector=self._connector)
        for name, task in tasks.items():
            self._app.task(name=name)(self._guarded(name, task))
        self._serving: QueueWorker | None = None
        self._sweep_error = ""
        self.stopped_by: signal.Signals | None = None

    def run(self, *, once: bool) -> None:
        """Serve until a signal stops it, or with `once` until nothing waits; raises DatabaseUnavailable."""
        for library in ("procrastinate", "psycopg", "asyncio"):
            logging.getLogger(library).addHandler(logging.NullHandler())
        asyncio.run(self._run(once))

    async def _run(self, once: bool) -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(self._slots + 2, thread_name_prefix="task"))
        loop.set_exception_handler(self._log_unexpected)
        with translated():
            await self._app.open_async()
        try:
            with _signals(self._stop):
                await (self._until_nothing_waits() if once else self._serve())
        finally:
            await self._app.close_async()

    async def _serve(self) -> None:
        await self._sweep_logged()  # a worker that claims is known
        sweeping = asyncio.create_task(self._sweep_on())
        try:
            while not self.stopped_by:
                await self._take(wait=True)
        finally:
            sweeping.cancel()

    async def _until_nothing_waits(self) -> None:
        await asyncio.to_thread(self._sweep)
        while not self.stopped_by:
            await self._take(wait=False)
            if not await asyncio.to_thread(self._sweep):
                return

    async def _take(self, *, wait: bool) -> None:
        """Run jobs until there are none, until it is stopped, or until the queue no longer knows this worker."""
        self._serving = QueueWorker(
            self._app,
            queues=self._queues,
            concurrency=self._slots,
            wait=wait,
            listen_notify=wait,
            fetch_job_polling_interval=SWEEP_SECONDS,
            delete_jobs="always",
            install_signal_handlers=False,
        )
        try:
            await self._serving.run()  # type: ignore[no-untyped-call]
        except ConnectorException:
            await asyncio.sleep(0 if self.stopped_by else RETRY_SECONDS)

    async def _sweep_on(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            await self._sweep_logged()

    async def _sweep_logged(self) -> None:
        """Sweep, and log an error unless it is that of the sweep before."""
        error = ""
        try:
            await asyncio.to_thread(self._sweep)
        except DumacleError as fault:
            error = str(fault)
        if error and error != self._sweep_error:
            self._log("sweep failed", error=error)
        self._sweep_error = error

    def _log_unexpected(self, _loop: asyncio.AbstractEventLoop, about: dict[str, Any]) -> None:
        """Log unexpected errors of the loop, except that another worker removed a job meanwhile."""
        error = about.get("exception")
        if not isinstance(error, ConnectorException):
            self._log("unexpected", error=type(error).__name__ if error else about.get("message"))

    def _stop(self, number: signal.Signals) -> None:
        loop = asyncio.get_running_loop()
        if self.stopped_by:
            self._give_back.set()
            return
        self._log("stopping", signal=number.name)
        self.stopped_by = number
        self._connector.patient = False
        loop.call_later(self._drain_seconds, self._give_back.set)
        if self._serving:
            self._serving.stop()  # type: ignore[no-untyped-call]

    def _guarded(self, name: str, task: Callable[[str], object]) -> Callable[..., None]:
        def call(id: object = None, **_: object) -> None:
            try:
                task(str(id))
            except DumacleError as error:
                self._log(f"{name} failed", id=id, error=str(error))
            except Exception as error:  # noqa: BLE001 - an invalid job must not end the worker
                self._log(f"{name} failed", id=id, error=f"an unexpected {type(error).__name__}")

        return call


def _conninfo(database: "Database") -> str:
    """Return the connection string for libpq, equal to SQLAlchemy's."""
    engine = database.engine
    options = engine.dialect.create_connect_args(engine.url)[1]
    options.pop("context", None)  # SQLAlchemy's way to adapt types, which is no option of libpq
    return make_conninfo(
        **options, connect_timeout=CONNECT_SECONDS, application_name="dumacle worker", tcp_user_timeout=30_000
    )


@contextmanager
def _signals(stop: Callable[[signal.Signals], None]) -> Iterator[None]:
    """Call a function in the loop for each signal; only in the main thread."""
    loop = asyncio.get_running_loop()
    main = threading.current_thread() is threading.main_thread()
    numbers = [number for number in SIGNALS if main and not is_ignored(number)]
    for number in numbers:
        loop.add_signal_handler(number, stop, number)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)

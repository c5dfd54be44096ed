"""The listener: POST /webhooks/stripe. Commits what Stripe signed to the inbox, then answers with 200.

It applies nothing: a worker does (see `services/billing/apply.py`). Bodies and signatures are never logged.
"""

import asyncio
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from dumacle_cli.clients.stripe import verify
from dumacle_cli.connections import BURST, ConnectionLimit, LimitedConnection, max_connections
from dumacle_cli.errors import DatabaseBusy, DeliveryRefused, DumacleError
from dumacle_cli.services.billing import inbox
from dumacle_cli.signals import Terminated, is_ignored
from dumacle_cli.store.database import Database

PATH = "/webhooks/stripe"
DRAIN_S = 20
LOG_S = 10
QUEUE = 400
"""The number of requests that may wait for a thread; further ones are answered with 503 at once."""
ANSWER_S = 8
BACKLOG = 2048
"""The number of connections that the system queues until they are accepted."""
BUFFER = 64 * 1024
"""Size in bytes of each connection's send and receive buffers; the system's default may reach tens of megabytes."""

Log = Callable[[str], None]


class Listener:
    """Verifies deliveries and saves them to the inbox, in one thread per database connection."""

    def __init__(self, database: Database, secrets: Sequence[str], log: Log) -> None:
        self._database = database
        self._secrets = list(secrets)
        self.log = LimitedLog(log)
        self._threads = Threads(database.pool_size)

    def app(self, max_size: int) -> Starlette:
        """Return the web application; a body of more than `max_size` bytes is answered with 413."""
        routes = [Route(PATH, self.receive, methods=["POST"]), Route("/healthz", self.health)]
        app = Starlette(routes=routes, max_body_size=max_size)
        # Stripe treats a redirect as a failure.
        app.router.redirect_slashes = False
        return app

    async def receive(self, request: Request) -> Response:
        """Answer a delivery: 200 saved, 400 not from Stripe, 503 not saved, so that Stripe delivers it again."""
        try:
            body = await request.body()
        except ClientDisconnect:
            return self._refuse(408, "the client disconnected before the end of the body")
        try:
            event = verify(body, _signature(request), self._secrets, time.time())
            await self._threads.run(partial(self._save, event, body))
        except DeliveryRefused as refusal:
            return self._refuse(400, str(refusal))
        except DumacleError as error:
            return self._refuse(503, str(error))
        except Exception as fault:  # noqa: BLE001 - its message might quote the body, so only its name is logged
            return self._refuse(503, f"an unexpected {type(fault).__name__}")
        return PlainTextResponse("saved")

    async def health(self, _request: Request) -> Response:
        """Answer whether deliveries can be saved: 200 or 503."""
        try:
            await self._threads.run(self._check)
        except DumacleError as error:
            return self._refuse(503, str(error))
        return PlainTextResponse("ok")

    def close(self) -> None:
        """End the threads."""
        self._threads.close()

    def _save(self, event: dict[str, Any], body: bytes) -> None:
        with self._database.session() as session:
            inbox.receive(session, event, body)

    def _check(self) -> None:
        with self._database.session(read_only=True):
            pass

    def _refuse(self, status: int, reason: str) -> Response:
        self.log.write(f"answered {status}: {reason}")
        return PlainTextResponse("refused" if status < 500 else "try again", status)


class Threads:
    """A few threads for database work, with a bounded queue."""

    def __init__(self, number: int) -> None:
        self._threads = ThreadPoolExecutor(number, thread_name_prefix="inbox")
        self._free = asyncio.Semaphore(number)
        self._waiting = 0

    async def run(self, work: Callable[[], None]) -> None:
        """Run work in a thread; raises DatabaseBusy if too many requests wait, or if it takes too long."""
        if self._waiting >= QUEUE:
            raise DatabaseBusy(reason=f"{QUEUE} requests are already waiting")
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._acquire()
                await asyncio.wrap_future(self._start(work))
        except TimeoutError:
            raise DatabaseBusy(reason=f"it did not answer within {ANSWER_S} s") from None

    async def _acquire(self) -> None:
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1

    def _start(self, work: Callable[[], None]) -> "Future[None]":
        """Start work in a thread, which is released when the work ends, even if that is after the timeout."""
        loop = asyncio.get_running_loop()
        started = self._threads.submit(work)
        started.add_done_callback(lambda _: _from_thread(loop, self._free.release))
        return started

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown()


def _from_thread(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    with suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(call)


class LimitedLog:
    """Logs the same message at most every 10 seconds, with a count: anyone can cause messages by sending requests."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._seen: dict[str, tuple[float, int]] = {}

    def write(self, message: str) -> None:
        """Log a message, or count it."""
        logged, count = self._seen.get(message, (float("-inf"), 0))
        now = time.monotonic()
        if now - logged < LOG_S:
            self._seen[message] = logged, count + 1
            return
        self._log(f"{message} (and {count} times before)" if count else message)
        self._seen[message] = now, 0


def serve(listener: Listener, host: str, port: int, max_size: int, log: Log) -> None:
    """Listen until SIGTERM, then finish open requests; raises OSError if the address cannot be bound."""
    with _bound(host, port) as listening, suppress(Terminated):
        shown = f"[{host}]" if ":" in host else host
        log(f"listening on http://{shown}:{listening.getsockname()[1]}{PATH}")
        # Uvicorn raises the signal again after it has drained, which ends this block.
        limit = ConnectionLimit(max_connections(), listener.log.write)
        _Server(_config(listener.app(max_size), limit)).run([listening])


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only if the protocol is given; without it a response may take 40 ms longer.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    for side in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        bound.setsockopt(socket.SOL_SOCKET, side, BUFFER)
    try:
        bound.bind((host, port))
        bound.listen()
    except OSError:
        bound.close()
        raise
    return bound


class _Server(uvicorn.Server):
    """Accepts few connections at a time while the system queues many; keeps ignoring signals ignored at its start."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        ignored = [number for number in (signal.SIGINT, signal.SIGTERM) if is_ignored(number)]
        with super().capture_signals():
            for number in ignored:
                signal.signal(number, signal.SIG_IGN)
            yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listening in sockets or []:
            listening.listen(BACKLOG)


def _config(app: Starlette, limit: ConnectionLimit) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=partial(LimitedConnection, limit),  # type: ignore[arg-type]  # uvicorn only calls it
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        ws="none",
        backlog=BURST,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=DRAIN_S,
    )


def _signature(request: Request) -> bytes:
    return request.headers.get("stripe-signature", "").encode("latin-1")

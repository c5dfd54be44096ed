"""The listener: POST /webhooks/stripe. What Stripe signed is committed to the inbox, and only then answered with 200.

Nothing else is decided here: a worker fetches what an event hints at. A body or a signature never reaches a log.
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

from dumacle_cli.clients.billing import verify
from dumacle_cli.connections import BURST, ConnectionLimit, LimitedConnection, max_connections
from dumacle_cli.errors import DatabaseBusy, DeliveryRefused, DumacleError
from dumacle_cli.services import webhooks
from dumacle_cli.signals import Terminated, is_ignored
from dumacle_cli.store.database import Database

PATH = "/webhooks/stripe"
DRAIN_S = 20
LOG_S = 10
QUEUE = 400
"""How many requests wait for a thread; what comes beyond that is answered with 503 at once."""
ANSWER_S = 8
BACKLOG = 2048
"""How many connections the system keeps until they are accepted."""
BUFFER = 64 * 1024
"""Bytes that the system keeps of each connection for either side; left alone, it may be tens of megabytes."""

Tell = Callable[[str], None]


class Listener:
    """Verifies deliveries, and keeps them in the inbox by a few threads, one for each connection to the database."""

    def __init__(self, database: Database, secrets: Sequence[str], tell: Tell) -> None:
        self._database = database
        self._secrets = list(secrets)
        self.complaints = Complaints(tell)
        self._threads = Threads(database.pool_size)

    def app(self, max_size: int) -> Starlette:
        """Return the web application; a body of more than `max_size` bytes is answered with 413."""
        routes = [Route(PATH, self.receive, methods=["POST"]), Route("/healthz", self.health)]
        app = Starlette(routes=routes, max_body_size=max_size)
        # Stripe takes a redirect for a failure.
        app.router.redirect_slashes = False
        return app

    async def receive(self, request: Request) -> Response:
        """Take a delivery: 200 kept, 400 not Stripe's, 503 not kept, so that it is delivered again."""
        try:
            body = await request.body()
        except ClientDisconnect:
            return self._refuse(408, "a body that did not come")
        try:
            event = verify(body, _signature(request), self._secrets, time.time())
            await self._threads.run(partial(self._keep, event, body))
        except DeliveryRefused as refusal:
            return self._refuse(400, str(refusal))
        except DumacleError as error:
            return self._refuse(503, str(error))
        except Exception as fault:  # noqa: BLE001 - its message might quote the body, so only its name is told
            return self._refuse(503, f"an unexpected {type(fault).__name__}")
        return PlainTextResponse("kept")

    async def health(self, _request: Request) -> Response:
        """Say whether deliveries can be kept: 200, or 503."""
        try:
            await self._threads.run(self._look)
        except DumacleError as error:
            return self._refuse(503, str(error))
        return PlainTextResponse("ok")

    def close(self) -> None:
        """End the threads."""
        self._threads.close()

    def _keep(self, event: dict[str, Any], body: bytes) -> None:
        with self._database.session() as session:
            webhooks.record(session, event, body)

    def _look(self) -> None:
        with self._database.session(read_only=True):
            pass

    def _refuse(self, status: int, reason: str) -> Response:
        self.complaints.tell(f"answered {status}: {reason}")
        return PlainTextResponse("refused" if status < 500 else "try again", status)


class Threads:
    """A few threads for what waits for the database, and a bounded queue before them."""

    def __init__(self, number: int) -> None:
        self._threads = ThreadPoolExecutor(number, thread_name_prefix="inbox")
        self._free = asyncio.Semaphore(number)
        self._waiting = 0

    async def run(self, work: Callable[[], None]) -> None:
        """Do this in a thread; raises DatabaseBusy where too many wait already, or it does not end in time."""
        if self._waiting >= QUEUE:
            raise DatabaseBusy(reason=f"{QUEUE} requests wait for it already")
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._take()
                await asyncio.wrap_future(self._begin(work))
        except TimeoutError:
            raise DatabaseBusy(reason=f"it did not answer within {ANSWER_S} s") from None

    async def _take(self) -> None:
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1

    def _begin(self, work: Callable[[], None]) -> "Future[None]":
        """Begin this in a thread, which is free again when it ends, perhaps long after anybody waited for that."""
        loop = asyncio.get_running_loop()
        begun = self._threads.submit(work)
        begun.add_done_callback(lambda _: _from_thread(loop, self._free.release))
        return begun

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown()


def _from_thread(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    with suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(call)


class Complaints:
    """Tells each complaint at most every 10 seconds, with how often it arose: strangers may cause them at will."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._seen: dict[str, tuple[float, int]] = {}

    def tell(self, complaint: str) -> None:
        """Tell a complaint, or count it."""
        told, count = self._seen.get(complaint, (float("-inf"), 0))
        now = time.monotonic()
        if now - told < LOG_S:
            self._seen[complaint] = told, count + 1
            return
        self._tell(f"{complaint} (and {count} times before)" if count else complaint)
        self._seen[complaint] = now, 0


def serve(listener: Listener, host: str, port: int, max_size: int, tell: Tell) -> None:
    """Listen until SIGTERM, and then answer what was begun; raises OSError where the address cannot be had."""
    with _bound(host, port) as listening, suppress(Terminated):
        shown = f"[{host}]" if ":" in host else host
        tell(f"listening on http://{shown}:{listening.getsockname()[1]}{PATH}")
        # It raises the signal again when it has drained, which is what ends this.
        _Server(_config(listener.app(max_size), ConnectionLimit(max_connections(), listener.complaints.tell))).run(
            [listening]
        )


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only where the protocol is named; without it an answer may take 40 ms.
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
    """Accepts few connections at a time, while the system keeps many for it; takes no signal that it was let ignore."""

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

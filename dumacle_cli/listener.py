"""The listener: POST /webhooks/stripe. Commits what Stripe signed to the inbox, then answers with 200.

It applies nothing: a worker does (see `services/billing/apply.py`). Bodies and signatures are never logged.
"""

import asyncio
import gc
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from dumacle_cli.batches import Batches
from dumacle_cli.clients import signatures
from dumacle_cli.clients.signatures import Secret
from dumacle_cli.connections import BURST, ConnectionLimit, LimitedConnection, max_connections
from dumacle_cli.errors import DeliveryRefused, DumacleError
from dumacle_cli.rotation import SecretsInForce
from dumacle_cli.services.billing import inbox
from dumacle_cli.signals import Terminated, is_ignored
from dumacle_cli.store.database import Database
from dumacle_cli.store.stripe import Delivery

PATH = "/webhooks/stripe"
DRAIN_S = 20
LOG_S = 10
WATCH_S = 1
NOTIFY_S = 1
USE_S = 60
BACKLOG = 2048
"""The number of connections that the system queues until they are accepted."""
BUFFER = 64 * 1024
"""Size in bytes of each connection's send and receive buffers; the system's default may reach tens of megabytes."""

GC_THRESHOLDS = (700, 10, 10)
"""Python's own, up to 3.11."""

SAVED = PlainTextResponse("saved")

Log = Callable[[str], None]


class Listener:
    """Verifies deliveries and saves them to the inbox."""

    def __init__(self, database: Database, secrets: SecretsInForce, log: Log) -> None:
        self._database = database
        self.secrets = secrets
        self.log = LimitedLog(log)
        self._batches: Batches[Delivery | None] = Batches(self._save)
        self._notified = float("-inf")
        self._used: dict[str, float] = {}
        self._notes: set[asyncio.Task[None]] = set()

    def app(self, max_size: int) -> ASGIApp:
        """Return the web application; a body of more than `max_size` bytes is answered with 413.

        Deliveries go past Starlette's layers, which would take as long as all the rest.
        """
        routes = [Route(PATH, _not_allowed, methods=["POST"]), Route("/healthz", self.health)]
        others = Starlette(routes=routes)
        # Stripe treats a redirect as a failure.
        others.router.redirect_slashes = False

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http" and scope["path"] == PATH and scope["method"] == "POST":
                await (await self.receive(scope, receive, max_size))(scope, receive, send)
            else:
                await others(scope, receive, send)

        return app

    async def receive(self, scope: Scope, receive: Receive, max_size: int) -> Response:
        """Answer a delivery: 200 saved, 400 not from Stripe, 413 too long, 503 not saved, so that Stripe repeats it."""
        try:
            body = await _body(scope, receive, max_size)
            signer = self.secrets.verify(body, _header(scope, b"stripe-signature"), time.time())
            event = signatures.parse_event(body)
            await self._batches.add(inbox.read(event, body))
            self._note_use(signer, event)
        except ClientDisconnect:
            return self._refuse(408, "the client disconnected before the end of the body")
        except TooLong:
            return self._refuse(413, f"the body is longer than {max_size} bytes")
        except DeliveryRefused as refusal:
            return self._refuse(400, str(refusal))
        except DumacleError as error:
            return self._refuse(503, str(error))
        except Exception as fault:  # noqa: BLE001 - its message might quote the body, so only its name is logged
            return self._refuse(503, f"an unexpected {type(fault).__name__}")
        return SAVED

    async def health(self, _request: Request) -> Response:
        """Answer whether deliveries can be saved: 200 or 503."""
        try:
            await self._batches.add(None)
        except DumacleError as error:
            return self._refuse(503, str(error))
        return PlainTextResponse("ok")

    async def watch_secrets(self) -> None:
        """Take over changes of the secrets while running, and note which ones are known."""
        while True:
            await asyncio.sleep(WATCH_S)
            with suppress(DumacleError):
                if self.secrets.renew() or self.secrets.unnoted:
                    await asyncio.to_thread(self.note_secrets)

    def note_secrets(self) -> None:
        """Note in the database which secrets are known, for operators who rotate them."""
        with self._database.session() as session:
            inbox.note_secrets(session, self.secrets.known)
        self.secrets.unnoted = False

    def close(self) -> None:
        """End the threads."""
        self._batches.close()

    def _save(self, items: Sequence[Delivery | None]) -> None:
        """Save deliveries in one transaction; None only asks whether they can be saved."""
        deliveries = [item for item in items if item]
        # The first job wakes a worker, which then finds the others.
        notify = time.monotonic() - self._notified > NOTIFY_S
        inbox.receive(self._database, deliveries, notify=notify)
        if notify and deliveries:
            self._notified = time.monotonic()

    def _note_use(self, signer: Secret, event: dict[str, Any]) -> None:
        """Note, about once a minute, that a secret is in use."""
        now = time.monotonic()
        if now - self._used.get(signer.fingerprint, float("-inf")) > USE_S:
            self._used[signer.fingerprint] = now
            version = event.get("api_version")
            noted = asyncio.to_thread(self._write_use, signer.label, version if isinstance(version, str) else None)
            task = asyncio.create_task(noted)
            self._notes.add(task)
            task.add_done_callback(self._notes.discard)

    def _write_use(self, label: str, version: str | None) -> None:
        with suppress(DumacleError):
            if self.secrets.unnoted:
                self.note_secrets()
            with self._database.session() as session:
                inbox.note_use(session, label, version)

    def _refuse(self, status: int, reason: str) -> Response:
        self.log.write(f"answered {status}: {reason}")
        return PlainTextResponse("refused" if status < 500 else "try again", status)


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
        _collect_often()
        _Server(_config(listener.app(max_size), limit), listener).run([listening])


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


def _collect_often() -> None:
    """Let connections that refer to themselves go soon, with what they hold; at a start they were to be left alone."""
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


class _Server(uvicorn.Server):
    """Accepts few connections at a time while the system queues many; keeps ignoring signals ignored at its start."""

    def __init__(self, config: uvicorn.Config, listener: Listener) -> None:
        super().__init__(config)
        self._listener = listener
        self._watching: asyncio.Task[None] | None = None

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        ignored = [number for number in (signal.SIGINT, signal.SIGTERM) if is_ignored(number)]
        with super().capture_signals():
            for number in ignored:
                signal.signal(number, signal.SIG_IGN)
            yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._watching = asyncio.create_task(self._listener.watch_secrets())
        for listening in sockets or []:
            listening.listen(BACKLOG)


def _config(app: ASGIApp, limit: ConnectionLimit) -> uvicorn.Config:
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


class TooLong(Exception):
    """A body is longer than is accepted."""


async def _body(scope: Scope, receive: Receive, max_size: int) -> bytes:
    """Read the body of a request; raises TooLong, as soon as that is known, or ClientDisconnect."""
    length = _header(scope, b"content-length")
    if length.isdigit() and int(length[:20]) > max_size:
        raise TooLong
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part, more = message.get("body", b""), message.get("more_body", False)
        parts.append(part)
        size += len(part)
        if size > max_size:
            raise TooLong
    return b"".join(parts)


def _header(scope: Scope, name: bytes) -> bytes:
    return next((value for key, value in scope["headers"] if key == name), b"")


async def _not_allowed(_request: Request) -> Response:
    """Stand for the route of deliveries, so that other methods are answered with 405."""
    return PlainTextResponse(status_code=405)

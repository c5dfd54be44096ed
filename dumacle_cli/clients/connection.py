"""HTTP/1.1 connections for bulk requests: sockets of the standard library, with responses parsed by httptools.

To read, hash and send a file of 64 KiB takes half of the CPU that it takes over libcurl or obstore.
"""

import base64
import os
import socket
import ssl
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol, cast
from urllib.parse import unquote, urlsplit

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from dumacle_cli.clients.proxies import PORTS, proxy_of

CONNECT_SECONDS = 5
IDLE_SECONDS = 60
"""Seconds without traffic after which a request fails."""
PIECE = 256 * 1024
"""Bytes that are sent together; each piece must be taken within IDLE_SECONDS."""
NEAR_BUFFER = 64 * 1024
"""Bytes that wait in the system to be received by a program on this machine, instead of megabytes that fall out of the
processor's cache: a store that reads up to 256 KiB at once takes a third less CPU."""
LONGEST = 64 * 1024
"""Bytes that are read of a response, unless more are asked for."""


class NotHttp(OSError):
    """The response is not HTTP, or its headers do not end."""


class TooEarly(ConnectionResetError):
    """The response claims success, and came before the whole request was sent."""

    def __init__(self) -> None:
        super().__init__("it responded before it had received everything")


@dataclass(slots=True)
class Response:
    """A response, with lower-case names of headers; of a long one, the body is cut off."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    pieces: list[bytes] = field(default_factory=list)
    keeps_alive: bool = False

    @property
    def body(self) -> bytes:
        """What it says."""
        return b"".join(self.pieces)

    @property
    def is_success(self) -> bool:
        """Whether the server says that it did what was requested."""
        return self.status < 300


class Link(Protocol):
    """A socket, or TLS over it."""

    def sendall(self, data: bytes | memoryview, /) -> object:
        """Send all of it."""

    def recv(self, size: int, /) -> bytes:
        """Return what arrived, or nothing at the end."""

    def close(self) -> None:
        """Close it."""


class Route:
    """The way to the host of a URL, through the proxy that the environment names; safe to share between threads."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._secure, self.host = parts.scheme == "https", parts.netloc
        self._address = parts.hostname or "", parts.port or PORTS[parts.scheme]
        proxy = proxy_of(url)
        self._proxy = urlsplit(proxy) if proxy else None
        credentials = _credentials(self._proxy.username, self._proxy.password) if self._proxy else ""
        self._to_proxy = f"Proxy-Authorization: {credentials}\r\n" if credentials else ""
        is_relayed = self._proxy is not None and not self._secure
        self.prefix = f"http://{self.host}" if is_relayed else ""
        """What stands before the path of a request."""
        self.headers = self._to_proxy if is_relayed else ""
        """Header lines of each request."""
        uses_tls = self._secure or (self._proxy is not None and self._proxy.scheme == "https")
        self._context = ssl.create_default_context(cafile=authorities()) if uses_tls else None

    @property
    def is_nested(self) -> bool:
        """Whether TLS runs inside the TLS of a proxy, which only blocks."""
        return self._secure and self._proxy is not None and self._proxy.scheme == "https"

    def connect(self) -> "Connection":
        """Open a connection; raises OSError."""
        proxy, context = self._proxy, self._context
        address = (proxy.hostname or "", proxy.port or PORTS[proxy.scheme]) if proxy else self._address
        outer = socket.create_connection(address, CONNECT_SECONDS)
        try:
            outer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if _is_near(outer):
                outer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, NEAR_BUFFER)
            if context and proxy and proxy.scheme == "https":
                outer = context.wrap_socket(outer, server_hostname=address[0])
            if proxy and self._secure:
                self._tunnel(Connection(outer))
            if context and self._secure:
                outer.settimeout(IDLE_SECONDS)
                return Connection(_encrypted(outer, context, self._address[0]))
            _limit(outer)
            return Connection(outer)
        except BaseException:
            outer.close()
            raise

    def _tunnel(self, connection: "Connection") -> None:
        name, port = self._address
        target = f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
        request = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{self._to_proxy}\r\n"
        response = connection.exchange(request.encode(), b"", most=0)
        if response.status != 200:
            raise NotHttp(f"the proxy answered {response.status}")


class Connection:
    """One connection; for one thread at a time."""

    def __init__(self, link: Link) -> None:
        self.link = link

    def close(self) -> None:
        """Close the connection."""
        self.link.close()

    def exchange(
        self,
        head: bytes,
        body: bytes | memoryview,
        pass_bytes: Callable[[int], object] | None = None,
        *,
        most: int = LONGEST,
    ) -> Response:
        """Send a request and return its response; `pass_bytes` is called before bytes of the body are sent.

        Raises OSError; `most` is how many bytes are read of the response, 0 if it has no body.
        """
        is_sent = False
        # A store that refuses a request may respond and close before it has read the body.
        with suppress(BrokenPipeError, ConnectionResetError):
            self._send(head, body, pass_bytes)
            is_sent = True
        response = self._receive(most)
        if not is_sent and response.is_success:
            raise TooEarly
        return response

    def _send(self, head: bytes, body: bytes | memoryview, pass_bytes: Callable[[int], object] | None) -> None:
        rest = memoryview(body)
        while head or rest:
            piece, rest = rest[:PIECE], rest[PIECE:]
            if pass_bytes:
                pass_bytes(len(piece))
            self.link.sendall(b"".join((head, piece)) if head else piece)
            head = b""

    def _receive(self, most: int) -> Response:
        arriving = Arriving(most)
        while not arriving.is_whole:
            arriving.take(self.link.recv(LONGEST))
        return arriving.response


class Arriving:
    """A response as it arrives, cut off after `most` bytes; the methods named `on_` are called by the parser.

    Whatever follows it belongs to no request: the connection is not used again.
    """

    def __init__(self, most: int = LONGEST) -> None:
        self.response = Response()
        self.is_whole = False
        self._parser, self._most = HttpResponseParser(self), most
        self._size = 0
        self._has_head = False

    def take(self, data: bytes | memoryview) -> None:
        """Parse what was received; nothing is the end of the connection. Raises OSError."""
        self._size += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            if not self.is_whole:
                raise NotHttp("the response is not HTTP") from error
            self.response.keeps_alive = False
        if self.is_whole:
            return
        lasts = {"content-length", "transfer-encoding"} & self.response.headers.keys()
        if not data and not (self._has_head and not lasts):
            raise ConnectionResetError("the connection was closed before the response ended")
        if self._size >= LONGEST and not self._has_head:
            raise NotHttp("the headers of the response are too long")
        self.is_whole = self._has_head and (not data or self._size >= self._most)

    def on_message_begin(self) -> None:
        """Begin a response, and refuse another one."""
        if self.is_whole:
            raise NotHttp("it sent more than one response")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self.response.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Take the status; an interim response, such as 100 Continue, has no body and is followed by another."""
        self.response.status = self._parser.get_status_code()
        self._has_head = self.response.status >= 200
        self.is_whole = self._has_head and not self._most

    def on_body(self, piece: bytes) -> None:
        """Take a piece of the body."""
        self.response.pieces.append(piece)

    def on_message_complete(self) -> None:
        """End the response."""
        if self._has_head:
            self.is_whole, self.response.keeps_alive = True, self._parser.should_keep_alive()
        else:
            self.response.headers.clear()


def authorities() -> str:
    """Return the path of the CA bundle that verifies the stores' certificates, as boto3 chooses it."""
    import certifi

    return os.environ.get("AWS_CA_BUNDLE") or certifi.where()


def _is_near(link: socket.socket) -> bool:
    """Return whether the other end is on this machine, with no way between that has to be filled."""
    host: str = link.getpeername()[0]
    return host.startswith("127.") or host == "::1"


def _limit(link: socket.socket) -> None:
    """Let the system end what takes too long: Python's own timeouts need two more system calls for each request."""
    link.setblocking(True)
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        link.setsockopt(socket.SOL_SOCKET, option, struct.pack("@ll", IDLE_SECONDS, 0))


def _encrypted(outer: socket.socket, context: ssl.SSLContext, name: str) -> Link:
    if not isinstance(outer, ssl.SSLSocket):
        return context.wrap_socket(outer, server_hostname=name)
    from urllib3.util.ssltransport import SSLTransport

    return cast("Link", SSLTransport(outer, context, server_hostname=name))


def _credentials(name: str | None, password: str | None) -> str:
    if name is None:
        return ""
    pair = f"{unquote(name)}:{unquote(password or '')}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"

"""Bulk PUTs: send objects and parts from many threads, each over a connection that no other uses meanwhile.

The methods promise and raise the same as `ObjectStore.put` and `put_part`, but send each request once: the caller
decides how long to retry.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote, urlsplit

from dumacle_cli.clients.connection import Connection, Response, Route
from dumacle_cli.clients.multiplexer import Multiplexer
from dumacle_cli.clients.object_store import Location, authorities
from dumacle_cli.clients.signature import Signer
from dumacle_cli.clients.store_errors import store_error
from dumacle_cli.errors import DumacleError, InvalidValue


class Puts:
    """Sends PUTs to one bucket; safe to share between threads. `pass_bytes` is called before bytes are sent."""

    def __init__(self, location: Location, pass_bytes: Callable[[int], object] | None = None) -> None:
        self.location = location
        self._pass = pass_bytes
        self._route = Route(location.url, authorities)
        self._signer = Signer(location, self._route.host)
        self._base = urlsplit(location.url).path.rstrip("/")
        self._idle: list[Connection] = []

    def __repr__(self) -> str:
        return f"Puts({self.location!r})"

    def close(self) -> None:
        """Close the connections that are idle."""
        with suppress(IndexError):
            while True:
                self._idle.pop().close()

    def put(self, key: str, body: bytes, sha256: str, content_type: str) -> str:
        """Store bytes, let the store check their SHA-256 (hex), and return the ETag; `Location.proof` tells its use.

        Raises InvalidValue for an empty key or one with a . or .. segment, which stores and proxies change.
        """
        return self._put("", _path(self._base, key), "", body, sha256, content_type)

    def put_part(self, key: str, upload_id: str, number: int, body: bytes, sha256: str) -> str:
        """Store one part, checked like `put`, and return its ETag; also raises UploadLost."""
        query = f"partNumber={number}&uploadId={quote(upload_id, safe='~')}"
        return self._put(key, _path(self._base, key), query, body, sha256, "")

    def _put(self, key: str, path: str, query: str, body: bytes, sha256: str, content_type: str) -> str:
        """Send one request; an error names the key, or the bucket if the key is empty."""
        try:
            response = self._exchange(self._head(path, query, len(body), sha256, content_type), body)
        except OSError as error:
            raise self._error(key, 0, _reason(error), "") from error
        return self.etag(response, key)

    def _head(self, path: str, query: str, size: int, sha256: str, content_type: str) -> bytes:
        route, signed = self._route, self._signer.headers(path, query, sha256, content_type)
        target = f"{route.prefix}{path}?{query}" if query else f"{route.prefix}{path}"
        return f"PUT {target} HTTP/1.1\r\n{signed}{route.headers}content-length: {size}\r\n\r\n".encode()

    def multiplexer(self) -> Multiplexer[Any] | None:
        """Return what sends many requests from one thread; None if they must be sent by threads."""
        return None if self._pass or self._route.is_nested else Multiplexer(self._route)

    def head(self, key: str, size: int, sha256: str, content_type: str) -> bytes:
        """Return the head of the request that `put` sends, for a multiplexer; raises InvalidValue as `put` does."""
        return self._head(_path(self._base, key), "", size, sha256, content_type)

    def etag(self, response: Response, key: str = "") -> str:
        """Return the ETag of a response; raises what `put` raises, or `put_part` for a key."""
        text = response.body.decode(errors="replace").strip()
        code = _found("Code", text) if text else ""
        if response.status != 200 or code:
            message = f"{_found('Message', text)} {_found('Endpoint', text)}".strip()
            raise self._error(key, response.status, code or str(response.status), message, response.headers)
        etag = response.headers.get("etag", "").strip('"')
        if not etag or text:
            raise self._error(key, response.status, "", "", {"content-type": "text/html"})
        return etag

    def _exchange(self, head: bytes, body: bytes) -> Response:
        """Send a request over an idle connection, or over a new one if the store closed that one meanwhile."""
        with suppress(IndexError, ConnectionError):
            return self._over(self._idle.pop(), head, body)
        return self._over(self._route.connect(), head, body)

    def _over(self, connection: Connection, head: bytes, body: bytes) -> Response:
        response = None
        try:
            response = connection.exchange(head, body, self._pass)
        finally:
            if response and response.keeps_alive:
                self._idle.append(connection)
            else:
                connection.close()
        return response

    def _error(
        self, key: str, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
    ) -> DumacleError:
        return store_error(self.location.provider, self.location.endpoint, key, code, status, message, headers or {})


def _path(base: str, key: str) -> str:
    if not key or {".", ".."} & set(key.split("/")):
        raise InvalidValue(name="key", value=repr(key), reason="it is empty, or a segment is . or ..")
    return f"{base}/{quote(key, safe='/~')}"


def _reason(error: OSError) -> str:
    """Return what went wrong on the way, without a URL."""
    if isinstance(error, (TimeoutError, BlockingIOError)):
        return "it did not respond in time"
    return error.strerror or str(error) or type(error).__name__


def _found(element: str, text: str) -> str:
    match = re.search(f"<{element}>([^<]{{0,500}})", text)
    return match[1] if match else ""

"""What bulk work asks of a store: objects, whole and in parts, from many threads, each over a connection of its own.

The methods promise and raise the same as those of `ObjectStore` with their names, but send each request once: the
caller decides how long to retry. They do without boto3, whose import takes as long as to send 100 MiB.
"""

import hashlib
import html
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote, urlsplit

from dumacle_cli.clients.connection import LONGEST, Connection, Response, Route
from dumacle_cli.clients.multiplexer import Multiplexer
from dumacle_cli.clients.objects import Head, Location, Part
from dumacle_cli.clients.signature import Signer
from dumacle_cli.clients.store_errors import store_error
from dumacle_cli.errors import DumacleError, InvalidValue


class Puts:
    """Sends objects to one bucket, and gets small ones; safe to share between threads.

    `pass_bytes` is called before bytes are sent.
    """

    def __init__(self, location: Location, pass_bytes: Callable[[int], object] | None = None) -> None:
        self.location = location
        self._pass = pass_bytes
        self._route = Route(location.url)
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

    def put(self, key: str, body: bytes | memoryview, sha256: str, content_type: str) -> str:
        """Store bytes, let the store check their SHA-256 (hex), and return the ETag; `Location.proof` tells its use.

        Raises InvalidValue for an empty key or one with a . or .. segment, which stores and proxies change.
        """
        return self._put("", _path(self._base, key), "", body, sha256, content_type)

    def put_part(self, key: str, upload_id: str, number: int, body: bytes | memoryview, sha256: str) -> str:
        """Store one part, checked like `put`, and return its ETag; also raises UploadLost."""
        query = f"partNumber={number}&{_upload(upload_id)}"
        return self._put(key, _path(self._base, key), query, body, sha256, "")

    def create_multipart(self, key: str, content_type: str) -> str:
        """Start a multipart upload and return its id."""
        response = self._request("POST", key, "uploads=", content_type=content_type)
        return self._promised(response, key, _found("UploadId", self._text(response, key)))

    def complete_multipart(self, key: str, upload_id: str, parts: Iterable[Part]) -> str:
        """Make the object from these parts and return its ETag.

        UploadLost can also mean that an earlier call succeeded but its response was lost: check with `head`.
        """
        ordered = sorted(parts, key=lambda part: part.number)
        listed = "".join(
            f'<Part><PartNumber>{part.number}</PartNumber><ETag>"{html.escape(part.etag)}"</ETag></Part>'
            for part in ordered
        )
        space = "http://s3.amazonaws.com/doc/2006-03-01/"
        body = f'<CompleteMultipartUpload xmlns="{space}">{listed}</CompleteMultipartUpload>'.encode()
        response = self._request("POST", key, _upload(upload_id), body)
        return self._promised(response, key, _found("ETag", self._text(response, key)).strip('"'))

    def head(self, key: str) -> Head:
        """Return size, ETag and content type of the object."""
        response = self._request("HEAD", key, most=0)
        self._text(response, key)
        etag, size = response.headers.get("etag", "").strip('"'), response.headers.get("content-length", "")
        self._promised(response, key, etag and size)
        return Head(int(size), etag, response.headers.get("content-type", ""))

    def get(self, key: str, size: int) -> bytes:
        """Return a small object, into memory, of which nothing after `size` bytes is needed."""
        response = self._request("GET", key, most=size + LONGEST)
        if response.status != 200:
            self._text(response, key)
        self._promised(response, key, response.headers.get("etag", ""))
        return response.body

    def _put(self, key: str, path: str, query: str, body: bytes | memoryview, sha256: str, content_type: str) -> str:
        """Send one PUT; an error names the key, or the bucket if the key is empty."""
        return self.etag(self._send(key, self._head("PUT", path, query, len(body), sha256, content_type), body), key)

    def _request(
        self, method: str, key: str, query: str = "", body: bytes = b"", content_type: str = "", most: int = LONGEST
    ) -> Response:
        sha256 = hashlib.sha256(body).hexdigest()
        head = self._head(method, _path(self._base, key), query, len(body), sha256, content_type)
        return self._send(key, head, body, most)

    def _send(self, key: str, head: bytes, body: bytes | memoryview, most: int = LONGEST) -> Response:
        try:
            return self._exchange(head, body, most)
        except OSError as error:
            raise self._error(key, 0, _reason(error), "") from error

    def _head(self, method: str, path: str, query: str, size: int, sha256: str, content_type: str) -> bytes:
        route, signed = self._route, self._signer.headers(method, path, query, sha256, content_type)
        target = f"{route.prefix}{path}?{query}" if query else f"{route.prefix}{path}"
        return f"{method} {target} HTTP/1.1\r\n{signed}{route.headers}content-length: {size}\r\n\r\n".encode()

    def multiplexer(self) -> Multiplexer[Any] | None:
        """Return what sends many requests from one thread; None if they must be sent by threads."""
        return None if self._pass or self._route.is_nested else Multiplexer(self._route)

    def request_head(self, key: str, size: int, sha256: str, content_type: str) -> bytes:
        """Return the head of the request that `put` sends, for a multiplexer; raises InvalidValue as `put` does."""
        return self._head("PUT", _path(self._base, key), "", size, sha256, content_type)

    def etag(self, response: Response, key: str = "") -> str:
        """Return the ETag of a response; raises what `put` raises, or `put_part` for a key."""
        text = self._text(response, key)
        return self._promised(response, key, "" if text else response.headers.get("etag", "").strip('"'))

    def _text(self, response: Response, key: str) -> str:
        """Return the body of a success; raises the error of any other response, also of one within a success."""
        text = response.body.decode(errors="replace").strip()
        code = _found("Code", text) if text else ""
        if response.status != 200 or code:
            message = f"{_found('Message', text)} {_found('Endpoint', text)}".strip()
            raise self._error(key, response.status, code or str(response.status), message, response.headers)
        return text

    def _promised(self, response: Response, key: str, found: str) -> str:
        """Return what a success must hold; one without it is a proxy's or a login page."""
        if not found:
            raise self._error(key, response.status, "", "", {"content-type": "text/html"})
        return found

    def _exchange(self, head: bytes, body: bytes | memoryview, most: int) -> Response:
        """Send a request over an idle connection, or over a new one if the store closed that one meanwhile."""
        with suppress(IndexError, ConnectionError):
            return self._over(self._idle.pop(), head, body, most)
        return self._over(self._route.connect(), head, body, most)

    def _over(self, connection: Connection, head: bytes, body: bytes | memoryview, most: int) -> Response:
        response = None
        try:
            response = connection.exchange(head, body, self._pass, most=most)
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


def _upload(upload_id: str) -> str:
    return f"uploadId={quote(upload_id, safe='~')}"


def _reason(error: OSError) -> str:
    """Return what went wrong on the way, without a URL."""
    if isinstance(error, (TimeoutError, BlockingIOError)):
        return "it did not respond in time"
    return error.strerror or str(error) or type(error).__name__


def _found(element: str, text: str) -> str:
    match = re.search(f"<{element}>([^<]{{0,2048}})", text)
    return html.unescape(match[1]) if match else ""

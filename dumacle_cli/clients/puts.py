"""Bulk PUTs: send objects and parts from many threads, each over a connection of its own.

The methods promise and raise the same as `ObjectStore.put` and `put_part`, but send each request once: who calls them
decides how long to retry. The requests are written here, on the standard library's connections: to read, hash and send
64 KiB takes 0.19 ms of CPU, with http.client's own requests 0.46 ms, with obstore 0.12, which hashes again in threads
of its own, 0.33 ms, and with boto3 several ms.
"""

import base64
import hashlib
import hmac
import re
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import IO
from urllib.parse import quote, unquote, urlsplit

from dumacle_cli.clients.object_store import Location, authorities
from dumacle_cli.clients.proxies import proxy_of
from dumacle_cli.clients.store_errors import store_error
from dumacle_cli.errors import DumacleError, InvalidValue

CONNECT_SECONDS = 5
IDLE_SECONDS = 60
"""Seconds without traffic after which a request fails."""
PIECE = 256 * 1024
"""Bytes that are written together; a longer body must be accepted piece by piece within IDLE_SECONDS each."""
LONGEST_ANSWER = 64 * 1024
MOST_HEADERS = 100


class Puts:
    """Sends PUTs to one bucket; safe to share between threads. `pass_bytes` is called before bytes are sent."""

    def __init__(self, location: Location, pass_bytes: Callable[[int], object] = lambda _: None) -> None:
        self.location = location
        self._pass = pass_bytes
        parts = urlsplit(location.url)
        self._secure, self._host, self._base = parts.scheme == "https", parts.netloc, parts.path.rstrip("/")
        self._name, self._port = parts.hostname or "", parts.port or (443 if self._secure else 80)
        self._proxy = proxy_of(location.url)
        self._route = "" if self._secure or not self._proxy else f"http://{self._host}"
        self._context = ssl.create_default_context(cafile=authorities()) if self._secure else None
        self._signer = _Signer(location, self._host)
        self._idle: list[_Connection] = []

    def __repr__(self) -> str:
        return f"Puts({self.location!r})"

    def close(self) -> None:
        """Close the connections that are idle."""
        while self._idle:
            self._idle.pop().close()

    def put(self, key: str, body: bytes, sha256: str, content_type: str) -> str:
        """Store bytes, let the store check their SHA-256 (hex), and return the ETag; `providers.proves` tells its use.

        Raises InvalidValue for an empty key or one with a . or .. segment.
        """
        return self._put(key, "", body, sha256, content_type)

    def put_part(self, key: str, upload_id: str, number: int, body: bytes, sha256: str) -> str:
        """Store one part, checked like `put`, and return its ETag; also raises UploadLost."""
        return self._put(key, f"partNumber={number}&uploadId={quote(upload_id, safe='~')}", body, sha256, "")

    def _put(self, key: str, query: str, body: bytes, sha256: str, content_type: str) -> str:
        if not key or {".", ".."} & set(key.split("/")):
            raise InvalidValue(name="key", value=repr(key), reason="it is empty, or a segment is . or ..")
        head = self._head(f"{self._base}/{quote(key, safe='/~')}", query, len(body), sha256, content_type)
        named = key if query else ""
        try:
            answer = self._exchange(head, body)
        except (OSError, HTTPException) as error:
            raise self._error(named, 0, _reason(error), "") from error
        text = answer.body.decode(errors="replace")
        code, etag = _found("Code", text), answer.headers.get("etag", "").strip('"')
        if answer.status != 200 or code:
            raise self._error(named, answer.status, code or str(answer.status), _found("Message", text))
        if not etag or text.strip():
            what = "a web page" if text.strip() else "no ETag"
            raise self._error(named, 200, f"it answered 200 with {what}, as a proxy or a login page does", "")
        return etag

    def _head(self, path: str, query: str, size: int, sha256: str, content_type: str) -> bytes:
        lines = [f"PUT {self._route}{path}{'?' if query else ''}{query} HTTP/1.1", f"Host: {self._host}"]
        if content_type:
            lines.append(f"Content-Type: {content_type}")
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        lines += [f"Content-Length: {size}", f"x-amz-content-sha256: {sha256}", f"x-amz-date: {now}"]
        lines.append(f"Authorization: {self._signer.sign(now, path, query, sha256, content_type)}")
        if self._route and (credentials := _credentials(self._proxy)):
            lines.append(f"Proxy-Authorization: {credentials}")
        return "\r\n".join([*lines, "\r\n"]).encode()

    def _exchange(self, head: bytes, body: bytes) -> "_Answer":
        """Send a request over an idle connection, or over a new one if that was closed meanwhile."""
        while self._idle:
            connection = self._idle.pop()
            try:
                return self._over(connection, head, body)
            except (ConnectionError, HTTPException):
                self.close()  # the others have been idle for longer
        return self._over(self._connect(), head, body)

    def _over(self, connection: "_Connection", head: bytes, body: bytes) -> "_Answer":
        try:
            answer = connection.exchange(head, body, self._pass)
        except BaseException:
            connection.close()
            raise
        if answer.stays_open:
            self._idle.append(connection)
        else:
            connection.close()
        return answer

    def _connect(self) -> "_Connection":
        proxy = urlsplit(self._proxy) if self._proxy else None
        name, port = (proxy.hostname, proxy.port or 80) if proxy else (self._name, self._port)
        if self._secure:
            link: HTTPConnection = HTTPSConnection(name or "", port, timeout=CONNECT_SECONDS, context=self._context)
        else:
            link = HTTPConnection(name or "", port, timeout=CONNECT_SECONDS)
        if proxy and self._secure:
            credentials = _credentials(self._proxy)
            link.set_tunnel(self._name, self._port, {"Proxy-Authorization": credentials} if credentials else {})
        link.connect()
        return _Connection(link.sock)

    def _error(self, key: str, status: int, code: str, message: str) -> DumacleError:
        return store_error(self.location.provider, self.location.endpoint, key, code, status, message)


@dataclass(slots=True)
class _Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    stays_open: bool


class _Connection:
    def __init__(self, link: socket.socket) -> None:
        self._link, self._answers = link, link.makefile("rb")
        link.settimeout(IDLE_SECONDS)

    def close(self) -> None:
        self._answers.close()
        self._link.close()

    def exchange(self, head: bytes, body: bytes, pass_bytes: Callable[[int], object]) -> _Answer:
        try:
            self._send(head, body, pass_bytes)
        except (BrokenPipeError, ConnectionResetError):
            # A store that refuses a request may answer and close before it has read the body.
            return _read(self._answers)
        return _read(self._answers)

    def _send(self, head: bytes, body: bytes, pass_bytes: Callable[[int], object]) -> None:
        pass_bytes(min(len(body), PIECE))
        self._link.sendall(head + body[:PIECE])
        rest = memoryview(body)[PIECE:]
        while rest:
            pass_bytes(min(len(rest), PIECE))
            self._link.sendall(rest[:PIECE])
            rest = rest[PIECE:]


def _read(answers: IO[bytes]) -> _Answer:
    status = 100
    while status < 200:
        version, _, rest = _line(answers).partition(b" ")
        status = int(rest[:3]) if version.startswith(b"HTTP/1.") and rest[:3].isdigit() else 0
        if not status:
            raise HTTPException("the answer is not HTTP")
        headers = _headers(answers)
    length = headers.get("content-length", "")
    size = int(length) if length.isdigit() else None
    body = answers.read(LONGEST_ANSWER if size is None else min(size, LONGEST_ANSWER))
    ended = size == len(body) and version == b"HTTP/1.1" and headers.get("connection", "").lower() != "close"
    return _Answer(status, headers, body, ended)


def _headers(answers: IO[bytes]) -> dict[str, str]:
    found: dict[str, str] = {}
    for _ in range(MOST_HEADERS):
        name, _, value = _line(answers).decode("latin-1").partition(":")
        if not name.strip():
            return found
        found[name.lower()] = value.strip()
    raise HTTPException("the answer has too many headers")


def _line(answers: IO[bytes]) -> bytes:
    line = answers.readline(LONGEST_ANSWER)
    if not line.endswith(b"\n"):
        raise ConnectionResetError("the connection was closed before the answer")
    return line


class _Signer:
    """Signs PUTs by AWS Signature Version 4."""

    def __init__(self, location: Location, host: str) -> None:
        self._location, self._host = location, host
        self._keys: dict[str, bytes] = {}

    def sign(self, now: str, path: str, query: str, sha256: str, content_type: str) -> str:
        """Return the Authorization header of a request at a time such as 20260131T120000Z."""
        where = self._location
        scope = f"{now[:8]}/{where.region}/s3/aws4_request"
        signed, first = ("content-type;", f"content-type:{content_type}\n") if content_type else ("", "")
        signed += "host;x-amz-content-sha256;x-amz-date"
        headers = f"{first}host:{self._host}\nx-amz-content-sha256:{sha256}\nx-amz-date:{now}\n"
        request = f"PUT\n{path}\n{query}\n{headers}\n{signed}\n{sha256}"
        text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        signature = hmac.digest(self._key_of(now[:8]), text.encode(), "sha256").hex()
        return f"AWS4-HMAC-SHA256 Credential={where.access_key}/{scope}, SignedHeaders={signed}, Signature={signature}"

    def _key_of(self, day: str) -> bytes:
        if day in self._keys:
            return self._keys[day]
        key = f"AWS4{self._location.secret_key}".encode()
        for word in (day, self._location.region, "s3", "aws4_request"):
            key = hmac.digest(key, word.encode(), "sha256")
        self._keys[day] = key
        return key


def _credentials(proxy: str | None) -> str:
    parts = urlsplit(proxy or "")
    if parts.username is None:
        return ""
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def _reason(error: Exception) -> str:
    """Return what went wrong on the way, without a URL."""
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def _found(element: str, text: str) -> str:
    match = re.search(f"<{element}>([^<]{{0,500}})", text)
    return match[1] if match else ""

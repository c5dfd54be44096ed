"""Bulk PUTs: send objects and parts from many threads, each over a libcurl connection. The only importer of pycurl.

The methods promise and raise the same as `ObjectStore.put` and `put_part`, but send each request once: the caller
decides how long to retry. libcurl works without the interpreter's lock and signs with the SHA-256 that it is given.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING
from urllib.parse import quote

from dumacle_cli.clients.object_store import FAULT_BYTES, Location, authorities
from dumacle_cli.clients.proxies import proxy_of
from dumacle_cli.clients.store_errors import store_error
from dumacle_cli.errors import DumacleError, InvalidValue

if TYPE_CHECKING:
    from pycurl import Curl

CONNECT_SECONDS = 5
IDLE_SECONDS = 60
"""Seconds without traffic after which a request fails."""
PIECE = 256 * 1024
"""Bytes handed to libcurl at once."""


class Puts:
    """Sends PUTs to one bucket; safe to share between threads. `pass_bytes` is called before bytes are sent."""

    def __init__(self, location: Location, pass_bytes: Callable[[int], object] | None = None) -> None:
        self.location = location
        self._pass = pass_bytes
        self._idle: list[Curl] = []

    def __repr__(self) -> str:
        return f"Puts({self.location!r})"

    def close(self) -> None:
        """Close the connections that are idle."""
        with suppress(IndexError):
            while True:
                self._idle.pop().close()

    def put(self, key: str, body: bytes, sha256: str, content_type: str) -> str:
        """Store bytes, let the store check their SHA-256 (hex), and return the ETag; `Location.proof` tells its use.

        Raises InvalidValue for an empty key or one with a . or .. segment, which libcurl would change.
        """
        return self._put(_url(self.location, key), "", body, sha256, f"Content-Type: {content_type}")

    def put_part(self, key: str, upload_id: str, number: int, body: bytes, sha256: str) -> str:
        """Store one part, checked like `put`, and return its ETag; also raises UploadLost."""
        url = f"{_url(self.location, key)}?partNumber={number}&uploadId={quote(upload_id, safe='~')}"
        # The empty header keeps libcurl from sending the content type of a form.
        return self._put(url, key, body, sha256, "Content-Type:")

    def _put(self, url: str, key: str, body: bytes, sha256: str, header: str) -> str:
        """Send one request; an error names the key, or the bucket if the key is empty."""
        import pycurl

        request, answer = self._taken(), _Answer()
        request.setopt(pycurl.URL, url)
        # The empty `Expect:` keeps libcurl from waiting for a 100 Continue that many stores never send.
        request.setopt(pycurl.HTTPHEADER, [header, f"x-amz-content-sha256: {sha256}", "Expect:"])
        request.setopt(pycurl.HEADERFUNCTION, answer.take_header)
        request.setopt(pycurl.WRITEFUNCTION, answer.take)
        self._give(request, body)
        try:
            request.perform()
        except pycurl.error as error:
            request.close()
            raise self._error(key, 0, _reason(error), "") from error
        status = int(request.getinfo(pycurl.RESPONSE_CODE))
        # So that an idle request does not keep the body in memory.
        request.setopt(*((pycurl.POSTFIELDS, b"") if self._pass is None else (pycurl.READFUNCTION, bytes)))
        self._idle.append(request)
        text = answer.body.getvalue().decode(errors="replace")
        code = _found("Code", text)
        if status != 200 or code:
            message = f"{_found('Message', text)} {_found('Endpoint', text)}".strip()
            raise self._error(key, status, code or str(status), message, answer.headers)
        etag = answer.headers.get("etag", "").strip('"')
        if not etag or text.strip():
            raise self._error(key, status, "", "", {"content-type": "text/html"})
        return etag

    def _taken(self) -> "Curl":
        try:
            return self._idle.pop()
        except IndexError:
            return _request(self.location)

    def _give(self, request: "Curl", body: bytes) -> None:
        import pycurl

        if self._pass is None:
            request.setopt(pycurl.POSTFIELDS, body)
            return
        request.setopt(pycurl.UPLOAD, 1)
        request.setopt(pycurl.INFILESIZE_LARGE, len(body))
        request.setopt(pycurl.READFUNCTION, _Paced(body, self._pass).read)

    def _error(
        self, key: str, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
    ) -> DumacleError:
        return store_error(self.location.provider, self.location.endpoint, key, code, status, message, headers or {})


class _Paced:
    """A body that is handed out in pieces, each after it was let through."""

    def __init__(self, body: bytes, pass_bytes: Callable[[int], object]) -> None:
        self._rest, self._pass = memoryview(body), pass_bytes

    def read(self, most: int) -> bytes:
        """Return the next bytes."""
        piece, self._rest = self._rest[:most], self._rest[most:]
        if piece:
            self._pass(len(piece))
        return bytes(piece)


def _reason(error: Exception) -> str:
    """Return what libcurl says went wrong, which names no URL."""
    return str(error.args[1]) if len(error.args) > 1 else str(error)


@dataclass(slots=True)
class _Answer:
    headers: dict[str, str] = field(default_factory=dict)
    body: BytesIO = field(default_factory=BytesIO)

    def take_header(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        self.headers[name.decode("latin-1").lower()] = value.strip().decode("latin-1")

    def take(self, piece: bytes) -> int | None:
        """Keep the body up to a limit; what is not taken ends the request."""
        return self.body.write(piece) if self.body.tell() < FAULT_BYTES else 0


def _request(location: Location) -> "Curl":
    import pycurl

    request = pycurl.Curl()
    for option, value in {
        pycurl.CUSTOMREQUEST: "PUT",
        pycurl.AWS_SIGV4: f"aws:amz:{location.region}:s3",
        pycurl.USERNAME: location.access_key,
        pycurl.PASSWORD: location.secret_key,
        # No supported store speaks HTTP/2.
        pycurl.HTTP_VERSION: pycurl.CURL_HTTP_VERSION_1_1,
        pycurl.CONNECTTIMEOUT: CONNECT_SECONDS,
        pycurl.LOW_SPEED_LIMIT: 1,
        pycurl.LOW_SPEED_TIME: IDLE_SECONDS,
        pycurl.UPLOAD_BUFFERSIZE: PIECE,
        pycurl.NOSIGNAL: 1,
        # Even if empty, they keep libcurl from reading proxies from the environment.
        pycurl.PROXY: proxy_of(location.url) or "",
        pycurl.NOPROXY: "",
    }.items():
        request.setopt(option, value)
    if not (location.endpoint or "").startswith("http:"):
        request.setopt(pycurl.CAINFO, authorities())
    return request


def _url(location: Location, key: str) -> str:
    if not key or {".", ".."} & set(key.split("/")):
        raise InvalidValue(name="key", value=repr(key), reason="it is empty, or a segment is . or ..")
    path = quote(key, safe="/~")
    return f"{location.url}/{path}"


def _found(element: str, text: str) -> str:
    match = re.search(f"<{element}>([^<]{{0,500}})", text)
    return match[1] if match else ""

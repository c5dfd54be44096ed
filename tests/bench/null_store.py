"""An S3 server that costs next to nothing: it reads what it gets, keeps sizes only, and answers after a delay.

It is asked by clients that are measured, so that they and not a server are the bottleneck. ETags are no MD5s, so no
client that wants one of those can be measured with it. It uses uvloop where that is installed.
"""

import asyncio
import contextlib
import multiprocessing
import os
import re
import socket
from collections.abc import Iterator
from multiprocessing.connection import Connection
from urllib.parse import parse_qs, urlsplit

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
DECODED = re.compile(rb"\r\nx-amz-decoded-content-length: *(\d+)", re.IGNORECASE)
EXPECT = re.compile(rb"\r\nexpect: *100-continue", re.IGNORECASE)
NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
ETAG = '"00000000-1"'


class _Counts:
    """What the server was asked for: requests, and bytes of the bodies of PUTs."""

    def __init__(self) -> None:
        self.requests = self.bytes = 0
        self.objects: dict[str, int] = {}
        self.parts: dict[str, dict[str, int]] = {}


class _Connection(asyncio.Protocol):
    def __init__(self, counts: _Counts, delay: float) -> None:
        self._counts, self._delay = counts, delay
        self._loop = asyncio.get_running_loop()
        self._head, self._left = b"", 0
        self._request = ("", "", 0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        while data:
            data = self._body(data) if self._left else self._headers(data)

    def _headers(self, data: bytes) -> bytes:
        head, found, rest = (self._head + data).partition(b"\r\n\r\n")
        if not found:
            self._head = head
            return b""
        self._head = b""
        method, target, _ = head[: head.index(b"\r\n")].decode().split(" ", 2)
        length, decoded = LENGTH.search(head), DECODED.search(head)
        self._left = int(length[1]) if length else 0
        self._request = method, target, int(decoded[1]) if decoded else self._left
        if EXPECT.search(head):
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if not self._left:
            self._answer()
        return rest

    def _body(self, data: bytes) -> bytes:
        taken = min(self._left, len(data))
        self._left -= taken
        if not self._left:
            self._answer()
        return data[taken:]

    def _answer(self) -> None:
        answer = _answer(self._counts, *self._request)
        if self._delay:
            self._loop.call_later(self._delay, self._transport.write, answer)
        else:
            self._transport.write(answer)


def _answer(counts: _Counts, method: str, target: str, size: int) -> bytes:
    url = urlsplit(target)
    words = parse_qs(url.query, keep_blank_values=True)
    upload = words.get("uploadId", [""])[0]
    status, body, headers = "200 OK", "", {"ETag": ETAG}
    if url.path == "/-/counts":
        return _written(status, f"{counts.requests} {counts.bytes}", headers)
    counts.requests += 1
    if method == "PUT":
        counts.bytes += size
        if upload:
            counts.parts[upload][words["partNumber"][0]] = size
        else:
            counts.objects[url.path] = size
    elif method == "POST" and "uploads" in words:
        upload = os.urandom(8).hex()
        counts.parts[upload] = {}
        body = _xml("InitiateMultipartUploadResult", f"<Bucket>b</Bucket><Key>k</Key><UploadId>{upload}</UploadId>")
    elif method == "POST":
        counts.objects[url.path] = sum(counts.parts.pop(upload).values())
        body = _xml("CompleteMultipartUploadResult", f"<Bucket>b</Bucket><Key>k</Key><ETag>{ETAG}</ETag>")
    elif method == "HEAD" and url.path in counts.objects:
        headers["Content-Length"] = str(counts.objects[url.path])
    elif method == "HEAD":
        status = "404 Not Found"
    elif method == "DELETE":
        status = "204 No Content"
    else:
        body = _xml("ListBucketResult", "<Name>b</Name><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated>")
    return _written(status, body, headers)


def _written(status: str, body: str, headers: dict[str, str]) -> bytes:
    headers.setdefault("Content-Length", str(len(body)))
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    date = "Date: Sun, 22 Nov 2026 19:00:00 GMT\r\n"
    return f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\n{date}{fields}\r\n{body}".encode()


def _xml(name: str, content: str) -> str:
    return f'<?xml version="1.0" encoding="UTF-8"?><{name} xmlns="{NAMESPACE}">{content}</{name}>'


async def _serve(listener: socket.socket, delay: float) -> None:
    counts = _Counts()
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(counts, delay), sock=listener)
    await server.serve_forever()


def _run(delay: float, answer: Connection) -> None:
    with contextlib.suppress(ImportError):
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    answer.send(listener.getsockname()[1])
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(listener, delay))


@contextlib.contextmanager
def null_store(delay: float) -> Iterator[str]:
    """Serve in a process of its own, answering after so many seconds; yields the endpoint."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_run, args=(delay, there), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}"
    finally:
        process.terminate()
        process.join()

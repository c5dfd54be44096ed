"""As much of S3 as an upload needs, in memory, with faults: what a real server cannot be told to do."""

import hashlib
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

HANG = 600.0


@dataclass(frozen=True)
class Fault:
    """What is answered instead: a status, a body and headers; or nothing for so long; or the answer is lost."""

    status: int = 0
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    hang: float = 0.0
    lose: bool = False


class Stub(ThreadingHTTPServer):
    """Keeps objects and parts; `fault` decides by method and path what goes wrong. It checks no signatures."""

    daemon_threads, request_queue_size = True, 256

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Asked)
        self.objects: dict[str, bytes] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.asked: list[tuple[str, str]] = []
        self.fault: Callable[[str, str], Fault | None] = lambda method, path: None
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}"

    def count(self, method: str, part: str = "") -> int:
        """How often it was asked so."""
        return sum(asked == method and part in path for asked, path in self.asked)

    def handle_error(self, *_: object) -> None:
        """A client that went away is no news."""


class _Asked(BaseHTTPRequestHandler):
    server: Stub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Keep the test output clean."""

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append((self.command, self.path))
        fault = self.server.fault(self.command, self.path)
        if fault and fault.hang:
            time.sleep(fault.hang)
        if fault and fault.status:
            self.say(fault.status, fault.body, fault.headers)
            return
        status, out, headers = self.work(body)
        if fault and fault.lose:
            self.close_connection = True
            return
        self.say(status, out, headers)

    def work(self, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        url = urlsplit(self.path)
        asked, key = parse_qs(url.query, keep_blank_values=True), url.path.split("/", 2)[-1]
        objects, uploads = self.server.objects, self.server.uploads
        upload = asked.get("uploadId", [""])[0]
        if self.command == "POST" and "uploads" in asked:
            uploads[upload := uuid.uuid4().hex] = {}
            return 200, _xml("InitiateMultipartUploadResult", f"<UploadId>{upload}</UploadId>"), {}
        if upload and upload not in uploads:
            return 404, b"<Error><Code>NoSuchUpload</Code></Error>", {}
        if self.command == "PUT" and upload:
            uploads[upload][int(asked["partNumber"][0])] = body
            return 200, b"", {"ETag": _etag(body)}
        if self.command == "GET" and upload:
            parts = sorted(uploads[upload].items())
            listed = "".join(
                f"<Part><PartNumber>{number}</PartNumber><ETag>{_etag(part)}</ETag><Size>{len(part)}</Size></Part>"
                for number, part in parts
            )
            about = f"<UploadId>{upload}</UploadId><IsTruncated>false</IsTruncated>"
            return 200, _xml("ListPartsResult", f"{about}{listed}"), {}
        if self.command == "POST" and upload:
            objects[key] = b"".join(part for _, part in sorted(uploads.pop(upload).items()))
            return 200, _xml("CompleteMultipartUploadResult", f"<ETag>{_etag(objects[key])}</ETag>"), {}
        if self.command == "DELETE":
            uploads.pop(upload, None) if upload else objects.pop(key, None)
            return 204, b"", {}
        if self.command == "PUT":
            objects[key] = body
        elif key not in objects:
            return 404, b"<Error><Code>NoSuchKey</Code></Error>", {}
        found = objects[key]
        return 200, b"" if self.command == "PUT" else found, {"ETag": _etag(found)}

    def say(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        self.send_header(
            "Content-Length", headers.get("Size", str(len(body))) if self.command == "HEAD" else str(len(body))
        )
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer


def _xml(name: str, inner: str) -> bytes:
    return f'<?xml version="1.0"?><{name} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{inner}</{name}>'.encode()


def _etag(body: bytes) -> str:
    return f'"{hashlib.md5(body).hexdigest()}"'

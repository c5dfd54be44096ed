"""As much of S3 as commands need, over HTTP: it checks no signatures, and can be told to answer wrongly."""

import hashlib
import json
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

Answer = tuple[int, bytes, dict[str, str]]
WHEN = "2026-01-01T00:00:00.000Z"


class SmallStore(ThreadingHTTPServer):
    """An S3 server with one bucket in memory.

    `fault` is asked before each request, with the method and path, and may return another answer; `after` may change
    the right one. `seen` lists what was asked. `corrupts` flips a bit of each body that is put.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.objects: dict[str, tuple[bytes, str]] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.seen: list[tuple[str, str]] = []
        self.lock = Lock()
        self.fault: Callable[[str, str], Answer | None] = lambda method, path: None
        self.after: Callable[[str, str, Answer], Answer | None] = lambda method, path, answer: answer
        self.etag: Callable[[bytes], str] = lambda body: hashlib.md5(body).hexdigest()
        self.corrupts = False
        self.heeds = {"payload", "md5", "conditions", "types", "metadata"}

    @property
    def url(self) -> str:
        """Its endpoint."""
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client may go away."""


@contextmanager
def serving() -> Iterator[SmallStore]:
    """Run a store until the end."""
    server = SmallStore()
    thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def fault(code: str, status: int, **headers: str) -> Callable[[str, str], Answer]:
    """Return a fault that answers everything with this S3 error."""
    body = f"<Error><Code>{code}</Code><Message>injected</Message></Error>".encode()
    sent = {"Content-Type": "application/xml"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda method, path: (status, body, sent)


class Answering(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    server: SmallStore
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test output clean."""

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        store = self.server
        store.seen.append((self.command, self.path))
        found = store.fault(self.command, self.path)
        if found is None:
            with store.lock:
                found = store.after(self.command, self.path, self.right(body))
        if found is None:
            self.close_connection = True
            return
        self.say(*found)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer

    def say(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response_only(status)
        self.send_header("Content-Length", headers.pop("Content-Length", str(len(body))))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def right(self, body: bytes) -> Answer:
        url = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        key = unquote(url.path).split("/", 2)[-1]
        if (self.command == "GET" and url.path.count("/") == 1) or "list-type" in asked:
            return self.listed(asked)
        if "uploads" in asked or "uploadId" in asked:
            return self.multipart(key, asked, body)
        if "delete" in asked:
            for each in body.decode().split("<Key>")[1:]:
                self.server.objects.pop(each.split("</Key>")[0], None)
            return 200, b"<DeleteResult></DeleteResult>", {}
        return {"PUT": self.put, "DELETE": self.delete}.get(self.command, self.get)(key, body)

    def refused(self, body: bytes) -> Answer | None:
        heeds, digest = self.server.heeds, hashlib.sha256(body).hexdigest()
        if "payload" in heeds and self.headers.get("x-amz-content-sha256", digest) not in (digest, "UNSIGNED-PAYLOAD"):
            return _error(400, "XAmzContentSHA256Mismatch")
        if "md5" in heeds and (md5 := self.headers.get("Content-MD5")) and b64decode(md5) != hashlib.md5(body).digest():
            return _error(400, "BadDigest")
        return None

    def put(self, key: str, body: bytes) -> Answer:
        if refusal := self.refused(body):
            return refusal
        if key in self.server.objects and self.headers.get("If-None-Match") and "conditions" in self.server.heeds:
            return _error(412, "PreconditionFailed")
        about = {name: value for name, value in self.headers.items() if name.lower().startswith("x-amz-meta-")}
        about = about if "metadata" in self.server.heeds else {}
        if "types" in self.server.heeds:
            about["Content-Type"] = self.headers.get("Content-Type", "")
        kept = bytes([body[0] ^ 1]) + body[1:] if self.server.corrupts and body else body
        self.server.objects[key] = kept, json.dumps(about)
        return 200, b"", {"ETag": f'"{self.server.etag(kept)}"'}

    def delete(self, key: str, body: bytes) -> Answer:
        self.server.objects.pop(key, None)
        return 204, b"", {}

    def get(self, key: str, body: bytes) -> Answer:
        if key not in self.server.objects:
            return _error(404, "NoSuchKey")
        kept, about = self.server.objects[key]
        return 200, kept, {"ETag": f'"{self.server.etag(kept)}"'} | json.loads(about)

    def multipart(self, key: str, asked: dict[str, str], body: bytes) -> Answer:
        uploads, upload = self.server.uploads, asked.get("uploadId", "")
        if "uploads" in asked:
            upload = f"upload-{len(self.server.seen)}"
            uploads[upload] = {}
            return 200, _xml("InitiateMultipartUploadResult", UploadId=upload), {}
        if upload not in uploads:
            return _error(404, "NoSuchUpload")
        if self.command == "PUT":
            if refusal := self.refused(body):
                return refusal
            uploads[upload][int(asked["partNumber"])] = body
            return 200, b"", {"ETag": f'"{self.server.etag(body)}"'}
        if self.command == "GET":
            parts = "".join(
                f'<Part><PartNumber>{number}</PartNumber><ETag>"{self.server.etag(part)}"</ETag>'
                f"<Size>{len(part)}</Size></Part>"
                for number, part in sorted(uploads[upload].items())
            )
            about = f"<UploadId>{upload}</UploadId><IsTruncated>false</IsTruncated>"
            return 200, f"<ListPartsResult>{about}{parts}</ListPartsResult>".encode(), {}
        parts_of = uploads.pop(upload)
        if self.command == "DELETE":
            return 204, b"", {}
        named = [
            part.split("</ETag>")[0].strip('"').replace("&quot;", "") for part in body.decode().split("<ETag>")[1:]
        ]
        if named != [self.server.etag(part) for _, part in sorted(parts_of.items())]:
            uploads[upload] = parts_of
            return _error(400, "InvalidPart")
        whole = b"".join(part for _, part in sorted(parts_of.items()))
        self.server.objects[key] = whole, "{}"
        return 200, _xml("CompleteMultipartUploadResult", ETag=self.server.etag(whole)), {}

    def listed(self, asked: dict[str, str]) -> Answer:
        if "uploads" in asked:
            return 200, b"<ListMultipartUploadsResult><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>", {}
        prefix, after = asked.get("prefix", ""), asked.get("start-after", "")
        items = "".join(
            f'<Contents><Key>{escape(key)}</Key><Size>{len(body)}</Size><ETag>"{self.server.etag(body)}"</ETag>'
            f"<LastModified>{WHEN}</LastModified></Contents>"
            for key, (body, _) in sorted(self.server.objects.items())
            if key.startswith(prefix) and key > after
        )
        text = f"<ListBucketResult><Name>b</Name><IsTruncated>false</IsTruncated>{items}</ListBucketResult>"
        return 200, text.encode(), {"Content-Type": "application/xml"}


def _xml(root: str, **elements: str) -> bytes:
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in elements.items())
    return f"<{root}>{inner}</{root}>".encode()


def _error(status: int, code: str) -> Answer:
    return status, _xml("Error", Code=code, Message="refused"), {"Date": datetime.now(UTC).strftime("%a, %d %b %Y")}

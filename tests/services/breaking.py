"""A server of objects that breaks off, is away, ignores ranges or answers slowly, as it is told."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from dumacle_cli.clients.object_store import ObjectStore


class Breaking(ThreadingHTTPServer):
    """Hands out the objects of a store.

    The next `cuts` answers end after `after` bytes; while `away` it answers 503; after `hold` it sends `after` bytes
    and then nothing. `starts` are the first bytes that were asked for.
    """

    daemon_threads = True

    def __init__(self, behind: ObjectStore) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.behind = behind
        self.cuts, self.after, self.hold, self.away, self.ranges = 0, 0, False, False, True
        self.latency = 0.0
        self.over = threading.Event()
        self.starts: list[int] = []


class _Answer(BaseHTTPRequestHandler):
    server: Breaking
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        time.sleep(self.server.latency)
        if self.server.away:
            self.say(503, b"<Error><Code>SlowDown</Code></Error>")
            return
        body = b"".join(self.server.behind.get(self.path.split("?")[0].split("/", 2)[2]))
        asked = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        start = int(asked[0]) if self.server.ranges else 0
        self.server.starts.append(int(asked[0]))
        if start:
            self.say(206, body[start:], f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.say(200, body)

    def say(self, status: int, body: bytes, place: str = "") -> None:
        self.send_response_only(status)
        self.send_header("ETag", '"x"')
        self.send_header("Content-Length", str(len(body)))
        if place:
            self.send_header("Content-Range", place)
        self.end_headers()
        if self.server.hold:
            self.close_connection = True
            self.wfile.write(body[: self.server.after])
            self.server.over.wait()
            return
        if self.server.cuts:
            self.server.cuts -= 1
            body, self.close_connection = body[: self.server.after], True
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test output clean."""


@contextmanager
def breaking(behind: ObjectStore) -> Iterator[tuple[Breaking, ObjectStore]]:
    """Serve the objects of a store; yields the server, and the store through it."""
    server = Breaking(behind)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    with ObjectStore(replace(behind.location, endpoint=f"http://127.0.0.1:{server.server_port}")) as through:
        yield server, through
    server.over.set()
    server.shutdown()
    server.server_close()
    thread.join()

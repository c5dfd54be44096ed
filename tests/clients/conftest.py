"""Two S3 servers for the suite, and a wire between client and server that records and can corrupt."""

import os
import re
import secrets
import subprocess
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat

from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.clients.objects import Location
from tests import buckets

BUCKET = "pod-bucket"


@pytest.fixture(scope="session")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Location]:
    with serving(tmp_path_factory.mktemp("rclone")) as location:
        yield location


@contextmanager
def serving(folder: Path, *options: str | Path) -> Iterator[Location]:
    """Run rclone's S3 server on a folder with one bucket."""
    (folder / BUCKET).mkdir()
    access, secret = secrets.token_hex(16), secrets.token_hex(32)
    binary = Path(sysconfig.get_path("scripts"), "rclone")
    server = subprocess.Popen(
        [binary, "serve", "s3", folder, "--addr", "127.0.0.1:0", *options],
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "RCLONE_AUTH_KEY": f'"{access},{secret}"'},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert server.stderr
    urls = (re.search(r"https?://127\.0\.0\.1:\d+", line) for line in server.stderr)
    url = next(found[0] for found in urls if found)
    drain = Thread(target=server.stderr.read, daemon=True)
    drain.start()
    yield Location("local", url, "us-east-1", BUCKET, access, secret)
    server.terminate()
    server.wait()
    drain.join()
    server.stderr.close()


@pytest.fixture(scope="session")
def moto() -> Iterator[Location]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    location = Location("s3", f"http://{host}:{port}", "us-east-1", BUCKET, "moto-access-key", "moto-secret-key")
    buckets.create(location)
    yield location
    server.stop()


@pytest.fixture(scope="session", params=["rclone", "moto"])
def location(request: pytest.FixtureRequest) -> Location:
    """One bucket on each server in turn."""
    found: Location = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="session")
def store(location: Location) -> Iterator[ObjectStore]:
    with ObjectStore(location) as opened:
        yield opened


@pytest.fixture
def prefix() -> str:
    """A folder in the bucket that no other test uses."""
    return f"{secrets.token_hex(6)}/"


class Wire(ThreadingHTTPServer):
    """An HTTP proxy in front of a server: keeps path and headers of PUTs; told to, it flips a bit or fails some."""

    daemon_threads = True

    def __init__(self, behind: str) -> None:
        super().__init__(("127.0.0.1", 0), _Relay)
        self.behind = urlsplit(behind).netloc
        self.corrupting = False
        self.failing = 0
        self.puts: list[dict[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Relay(BaseHTTPRequestHandler):
    server: Wire
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.puts.append({"path": self.path} | {name.lower(): value for name, value in self.headers.items()})
        if self.server.failing:
            self.server.failing -= 1
            self.answer(503, {}, b"<Error><Code>SlowDown</Code><Message>later</Message></Error>")
            return
        self.relay(bytes([body[0] ^ 1]) + body[1:] if self.server.corrupting else body)

    def do_POST(self) -> None:
        self.relay(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    do_GET = do_DELETE = do_POST

    def relay(self, body: bytes) -> None:
        upstream = HTTPConnection(self.server.behind)
        upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() != "expect":
                upstream.putheader(name, value)
        upstream.endheaders(body)
        answer = upstream.getresponse()
        self.answer(answer.status, dict(answer.getheaders()), answer.read())
        upstream.close()

    def answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test output clean."""


@pytest.fixture
def wire(rclone: Location) -> Iterator[Wire]:
    assert rclone.endpoint
    proxy = Wire(rclone.endpoint)
    thread = Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    yield proxy
    proxy.shutdown()
    proxy.server_close()
    thread.join()


@pytest.fixture
def wired(rclone: Location, wire: Wire) -> Location:
    """The bucket on rclone, reached through the wire."""
    return replace(rclone, endpoint=wire.url)


@pytest.fixture(scope="session")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Location, Path]]:
    """A store behind TLS, and the certificate by which it is known."""
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = certify(folder)
    with serving(folder, "--cert", certificate, "--key", key) as location:
        yield location, certificate


def certify(folder: Path) -> tuple[Path, Path]:
    """Make a certificate of 127.0.0.1 that stands for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "store")])
    now = datetime.now(UTC)
    host = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    built = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1)).add_extension(
        host, critical=False
    )
    (folder / "store.pem").write_bytes(built.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    (folder / "store.key").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "store.pem", folder / "store.key"

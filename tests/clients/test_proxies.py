"""Through which proxy each of our clients goes: none on this machine, and the same one for all others."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.clients.objects import Location
from dumacle_cli.clients.proxies import proxy_of
from dumacle_cli.clients.puts import Puts
from dumacle_cli.clients.stripe import StripeAccount
from dumacle_cli.demo import playback
from dumacle_cli.errors import DumacleError, InvalidValue

pytestmark = pytest.mark.unit

PROXY = "http://proxy.example.com:3128"
HTTP = {"http_proxy": PROXY, "https_proxy": PROXY}


NAMES = ("localhost", "LOCALHOST", "localhost.", "store.localhost")
NUMBERS = ("127.0.0.1", "127.9.8.7", "127.1", "2130706433", "0x7f.1", "0.0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]")


@pytest.mark.parametrize("host", [*NAMES, *NUMBERS])
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("variables", [("http_proxy", "https_proxy"), ("HTTP_PROXY", "HTTPS_PROXY"), ("ALL_PROXY",)])
def test_this_machine_is_reached_without(host: str, scheme: str, variables: tuple[str, ...]) -> None:
    environ = dict.fromkeys(variables, PROXY)
    assert proxy_of(f"{scheme}://{host}:9000/bucket", environ) is None
    assert proxy_of(f"{scheme}://store.invalid/bucket", environ) == PROXY


@pytest.mark.parametrize(
    ("url", "environ", "proxy"),
    [
        ("http://store.invalid", {}, None),
        ("http://store.invalid", {"https_proxy": PROXY}, None),
        ("https://store.invalid", {"http_proxy": PROXY}, None),
        ("http://store.invalid", {"http_proxy": "proxy:1", "HTTP_PROXY": PROXY}, "http://proxy:1"),
        ("http://store.invalid", {"http_proxy": "", "HTTP_PROXY": PROXY}, PROXY),
        ("http://store.invalid", {"http_proxy": "http://a:1", "all_proxy": PROXY}, "http://a:1"),
        ("http://10.0.0.1:9000", {"http_proxy": PROXY}, PROXY),
        ("http://128.0.0.1", {"http_proxy": PROXY}, PROXY),
        ("http://localhost.example.com", {"http_proxy": PROXY}, PROXY),
        ("http://[2001:db8::1]", {"http_proxy": PROXY}, PROXY),
    ],
)
def test_which_variable_counts(url: str, environ: dict[str, str], proxy: str | None) -> None:
    assert proxy_of(url, environ) == proxy


@pytest.mark.parametrize(
    ("listed", "host", "excepted"),
    [
        ("example.com", "example.com", True),
        ("example.com", "store.example.com", True),
        (".example.com", "store.example.com", True),
        ("*.example.com", "store.example.com", True),
        ("EXAMPLE.com", "store.example.COM", True),
        ("example.com", "badexample.com", False),
        ("example.com:9000", "example.com:9000", True),
        ("example.com:9000", "example.com:9001", False),
        ("example.com:443", "example.com", True),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.1.2.3", "10.1.2.3:9000", True),
        ("2001:db8::/32", "[2001:db8::1]", True),
        ("[2001:db8::1]", "[2001:db8::1]:9000", True),
        ("other, example.com", "example.com", True),
        ("other example.com", "example.com", True),
        ("*", "anything.example.com", True),
        ("", "example.com", False),
        (",,", "example.com", False),
    ],
)
@pytest.mark.parametrize("variable", ["no_proxy", "NO_PROXY"])
def test_exceptions(variable: str, listed: str, host: str, excepted: bool) -> None:
    found = proxy_of(f"https://{host}/bucket", HTTP | {variable: listed})
    assert found == (None if excepted else PROXY)


@pytest.mark.parametrize("value", ["socks5://user:hush@proxy:1", "http://", "ftp://proxy"])
def test_what_is_no_http_proxy_is_refused(value: str) -> None:
    with pytest.raises(InvalidValue, match="http_proxy") as refused:
        proxy_of("http://store.invalid", {"http_proxy": value})
    assert "hush" not in str(refused.value)


# The clients


class Recording(ThreadingHTTPServer):
    """A proxy that notes what it is asked for and answers 403."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        super().__init__(("127.0.0.1", 0), Asked)


class Asked(BaseHTTPRequestHandler):
    """One request."""

    server: Recording

    def answer(self) -> None:
        self.server.seen.append(self.path)
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(403)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_PUT = do_POST = do_HEAD = do_CONNECT = answer

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Callable[[], Recording]]:
    """Start servers on loopback."""
    started: list[Recording] = []

    def start() -> Recording:
        made = Recording()
        threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
        started.append(made)
        return made

    yield start
    for made in started:
        made.shutdown()
        made.server_close()


def upload(endpoint: str) -> None:
    with closing(Puts(location(endpoint))) as puts:
        puts.put("a", b"a", hashlib.sha256(b"a").hexdigest(), "text/plain")


def download(endpoint: str) -> None:
    with ObjectStore(location(endpoint)) as store:
        list(store.get("a"))


def fetch(endpoint: str) -> None:
    list(playback.fetch(f"{endpoint}/bucket/a"))


def bill(endpoint: str) -> None:
    billing = StripeAccount("sk_test_x", endpoint)
    try:
        billing.fetch("customer", "cus_1")
    finally:
        billing.close()


def location(endpoint: str) -> Location:
    return Location("s3", endpoint, "us-east-1", "bucket", "access", "secret")


CLIENTS = [upload, download, fetch, bill]


@pytest.fixture
def proxied(server: Callable[[], Recording], monkeypatch: pytest.MonkeyPatch) -> Recording:
    """A proxy that all variables name."""
    proxy = server()
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.server_port}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return proxy


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_another_host_is_asked_by_the_proxy(proxied: Recording, client: Callable[[str], None], scheme: str) -> None:
    with pytest.raises(DumacleError):
        client(f"{scheme}://store.invalid")
    assert proxied.seen
    assert all("store.invalid" in asked for asked in proxied.seen)


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_this_machine_is_asked_itself(
    proxied: Recording, server: Callable[[], Recording], client: Callable[[str], None], host: str
) -> None:
    store = server()
    with pytest.raises(DumacleError):
        client(f"http://{host}:{store.server_port}")
    assert store.seen
    assert proxied.seen == []


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("listed", ["store.invalid", ".invalid", "*"])
def test_an_exception_is_heeded_by_all(
    proxied: Recording, client: Callable[[str], None], listed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", listed)
    with pytest.raises(DumacleError):
        client("http://store.invalid")
    assert proxied.seen == []

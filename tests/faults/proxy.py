"""A proxy before PostgreSQL that loses connections: at COMMIT, before or after the server hears it, or for a while."""

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

from tests.faults.store_proxy import Cut

COMMIT = re.compile(rb"COMMIT|app\.receive_deliveries\(")
"""What commits: a COMMIT, and the statement that is a transaction of its own."""
WRITES = re.compile(rb"(?:INSERT INTO|UPDATE|DELETE FROM) app\.(\w+)|(?:SELECT|FROM) app\.(\w+)\(")
PORT = "5432"


class Proxy:
    """Passes bytes between libpq and the server; loses the next `before` COMMITs, or the answers of the next `after`.

    Where it `goes_down`, it takes no more connections from then on.
    """

    def __init__(self, folder: Path, server: str) -> None:
        self.server = server
        self.before = self.after = 0
        self.is_down = self.goes_down = False
        self.commits = 0
        self.point: Callable[[str], None] = lambda _: None
        """Called with `before commit of …` and `after commit of …` (the tables written); may raise Cut."""
        self._passes = threading.Event()
        self._passes.set()
        self._open: set[socket.socket] = set()
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(f"{folder}/.s.PGSQL.{PORT}")
        self._listening.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._passes.set()

    def cut(self) -> None:
        """Cut all connections."""
        _hang_up(*list(self._open))

    @contextmanager
    def away(self) -> Iterator[None]:
        """Cut all connections, and take none while inside."""
        self.is_down = True
        self.cut()
        try:
            yield
        finally:
            self.is_down = False

    @contextmanager
    def half_open(self) -> Iterator[None]:
        """Pass nothing on while inside, as a network does that lost a route; then cut all connections."""
        self._passes.clear()
        try:
            yield
        finally:
            self.cut()
            self._passes.set()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client = self._listening.accept()[0]
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server:
            if self.is_down:
                return
            self._open.add(client)
            committing = _Committing()
            with suppress(OSError, Cut):
                server.connect(self.server)
                threading.Thread(target=self._answer, args=(server, client, committing), daemon=True).start()
                while said := client.recv(65536):
                    self._passes.wait()
                    committing.hear(said)
                    if COMMIT.search(said):
                        self.point(f"before {committing}")
                        if self._cuts(said, client, server):
                            break
                        committing.sent = True
                    server.sendall(said)
            _hang_up(server)
            self._open.discard(client)

    def _answer(self, server: socket.socket, client: socket.socket, committing: "_Committing") -> None:
        with suppress(OSError, Cut):
            while said := server.recv(65536):
                self._passes.wait()
                if committing.sent:
                    name = str(committing)
                    committing.forget()
                    self.point(f"after {name}")
                client.sendall(said)
        _hang_up(server, client)

    def _cuts(self, said: bytes, client: socket.socket, server: socket.socket) -> bool:
        """Lose this COMMIT, or only its answer, if that is what was asked for."""
        self.commits += 1
        if not self.before and not self.after:
            return False
        if self.before:
            self.before -= 1
        else:
            self.after -= 1
            client.shutdown(socket.SHUT_RDWR)
            server.sendall(said + b"X\x00\x00\x00\x04")  # Terminate: the server ends when it has committed
            _drain(server)
        self.is_down = self.goes_down
        _hang_up(client, server)
        return True


class _Committing:
    """What a connection wrote since its last COMMIT, and whether a COMMIT was sent."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self.sent = False
        self._written: set[str] = set()

    def hear(self, said: bytes) -> None:
        self._written |= {(table or function).decode() for table, function in WRITES.findall(said)}

    def __str__(self) -> str:
        return f"commit of {', '.join(sorted(self._written)) or 'nothing'}"


def _drain(source: socket.socket) -> None:
    with suppress(OSError):
        while source.recv(65536):
            pass


def _hang_up(*ends: socket.socket) -> None:
    for end in ends:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxied(url: str, folder: Path) -> Iterator[tuple[Proxy, str]]:
    """Start a proxy before the server of this URL, with its socket in `folder`; yields it and the URL through it."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    proxy = Proxy(folder, f"{query['host']}/.s.PGSQL.{query['port']}")
    kept = {name: value for name, value in query.items() if name != "requirepeer"}
    through = parts._replace(query=urlencode(kept | {"host": str(folder), "port": PORT}))
    try:
        yield proxy, through.geturl()
    finally:
        proxy.close()

"""A proxy before PostgreSQL that loses the connection at COMMIT, before or after the server hears it."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

COMMIT = b"COMMIT"
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
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(f"{folder}/.s.PGSQL.{PORT}")
        self._listening.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client = self._listening.accept()[0]
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server:
            if self.is_down:
                return
            server.connect(self.server)
            threading.Thread(target=_copy, args=(server, client), daemon=True).start()
            with suppress(OSError):
                while said := client.recv(65536):
                    if COMMIT in said and self._cuts(said, client, server):
                        return
                    server.sendall(said)

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


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while said := source.recv(65536):
            target.sendall(said)
    _hang_up(source, target)


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

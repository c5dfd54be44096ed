"""A loopback proxy that adds 10 ms to each direction, as a store that is 20 ms away would."""

import asyncio
import contextlib
import multiprocessing
import socket
from collections.abc import Iterator
from multiprocessing.connection import Connection

ONE_WAY = 0.010
BLOCK = 256 * 1024


class _Pipe(asyncio.Protocol):
    """Hands on what arrives, ONE_WAY seconds later and in order."""

    def __init__(self) -> None:
        self.peer: asyncio.Transport | None = None
        self.early: list[bytes] = []
        self.loop = asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        self.loop.call_later(ONE_WAY, self._write, data)

    def _write(self, data: bytes) -> None:
        if self.peer is None:
            self.early.append(data)
        else:
            self.peer.write(data)

    def join(self, peer: asyncio.Transport) -> None:
        self.peer = peer
        for data in self.early:
            peer.write(data)
        self.early.clear()

    def connection_lost(self, error: Exception | None) -> None:
        self.loop.call_later(ONE_WAY, self._close)

    def _close(self) -> None:
        if self.peer is not None:
            self.peer.close()


class _Front(_Pipe):
    def __init__(self, port: int) -> None:
        super().__init__()
        self.port = port

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.opening = self.loop.create_task(self._open(transport))

    async def _open(self, transport: asyncio.BaseTransport) -> None:
        to_server, behind = await self.loop.create_connection(_Pipe, "127.0.0.1", self.port)
        behind.join(transport)  # type: ignore[arg-type]
        self.join(to_server)


async def _serve(listener: socket.socket, port: int) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: _Front(port), sock=listener)
    await server.serve_forever()


def _run(port: int, answer: Connection) -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    answer.send(listener.getsockname()[1])
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(listener, port))


@contextlib.contextmanager
def delayed(port: int) -> Iterator[int]:
    """Give a loopback port behind which `port` is 20 ms away, served by a process of its own."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_run, args=(port, there), daemon=True)
    process.start()
    try:
        yield here.recv()
    finally:
        process.terminate()
        process.join()

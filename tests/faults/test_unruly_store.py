"""A store whose connections misbehave at random: every file is stored, once for each row, and every row is true."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.clients import small_store
from tests.clients.small_store import Answering, SmallStore
from tests.clients.test_bad_stores import far, upload, verified
from tests.conftest import Run

__all__ = ["far"]

pytestmark = pytest.mark.integration

FILES = 150
BUSY = b"<Error><Code>SlowDown</Code></Error>"


class Unruly(Answering):
    """Answers PUTs as one of its habits says."""

    random = random.Random(7)

    def say(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        """Answer, or not."""
        if self.command != "PUT":
            super().say(status, body, headers)
            return
        right = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nETag: %s\r\n\r\n" % headers["ETag"].encode()
        busy = b"HTTP/1.1 503 Busy\r\nContent-Length: %d\r\n\r\n%s" % (len(BUSY), BUSY)
        pieces, closes = self.random.choice(HABITS)(right, busy)
        for piece in pieces:
            self.wfile.write(piece)
            self.wfile.flush()
        self.close_connection = closes


Habit = Callable[[bytes, bytes], tuple[list[bytes], bool]]
HABITS: list[Habit] = [
    *[lambda right, busy: ([right], False)] * 12,
    lambda right, busy: ([], True),  # the answer is lost
    lambda right, busy: ([right[:20]], True),
    lambda right, busy: ([b"SSH-2.0-OpenSSH_9.9\r\n"], True),
    lambda right, busy: ([busy], False),
    lambda right, busy: ([busy + right], False),
    lambda right, busy: ([right + busy], False),
    lambda right, busy: ([right + b"X"], False),
    lambda right, busy: ([b"HTTP/1.1 100 Continue\r\n\r\n", right], False),
    lambda right, busy: ([b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"], True),
    lambda right, busy: ([bytes([byte]) for byte in right], False),
    lambda right, busy: ([right], True),  # closed without a word
]


@pytest.fixture
def store() -> Iterator[SmallStore]:
    """Overrides the store that `far` uses."""
    with small_store.serving() as server:
        server.RequestHandlerClass = Unruly
        yield server


@pytest.mark.parametrize("options", [(), ("--concurrency", "1"), ("--bandwidth", "100MiB")])
def test_every_file_is_stored(
    far: Run, store: SmallStore, tmp_path: Path, environment: Callable[..., None], options: tuple[str, ...]
) -> None:
    environment(DUMACLE_PATIENCE="60s")
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(FILES):
        (folder / f"{number}.bin").write_bytes(b"%d" % number * (1 + number * 7))
    upload(far, folder, 0, *options)
    assert verified(far, "--read") == ["verified"] * FILES
    assert sorted(body for body, _ in store.objects.values()) == sorted(each.read_bytes() for each in folder.iterdir())
    far("pods", "check")

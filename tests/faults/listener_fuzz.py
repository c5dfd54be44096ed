"""Random requests to a real listener from many connections, beside a sender that must not notice.

`python -m tests.faults.listener_fuzz --seconds 600 --seed 1` runs the long form on servers of its own, with `--threads`
connections at a time. It fails on an answer of 500, on a delivery of the honest sender that is not answered with 200,
and on memory or files that grow.
"""

import argparse
import json
import random
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.stripe_double.double import sign

PATH = "/webhooks/stripe"
EVENT = {"id": "evt_f", "object": "event", "type": "customer.subscription.updated", "created": 1_780_000_000}
ODD: list[Any] = [None, True, -1, 1e400, "", "x" * 300, "\0", "\ud800", [], {}, [[]], {"id": []}, 2**70, "evt_1"]
KIB = 1024


@dataclass
class Fuzz:
    """What is sent, from a seed; counts the answers by status."""

    port: int
    secret: str
    seed: int
    answers: Counter[str] = field(default_factory=Counter)

    def act(self, number: int) -> None:
        """Send one thing on a connection of its own, whole or in pieces, and read the answer or leave."""
        chance = random.Random(f"{self.seed}/{number}")
        said = self.request(chance)
        with socket.create_connection(("127.0.0.1", self.port), 10) as line, suppress(OSError):
            for piece in self._pieces(chance, said):
                line.sendall(piece)
                if chance.random() < 0.05:
                    time.sleep(chance.random() / 20)
            if chance.random() < 0.2:
                return
            if chance.random() < 0.5:
                line.shutdown(socket.SHUT_WR)
            line.settimeout(3)
            answer = line.recv(65_536)
            self.answers[answer[9:12].decode("latin-1") if answer.startswith(b"HTTP/1.1 ") else "none"] += 1

    def request(self, chance: random.Random) -> bytes:
        """Return the bytes of a request: lawful, broken, or only like one."""
        body = self._body(chance)
        signature = sign_any(body, self.secret) if chance.random() < 0.6 else chance.randbytes(chance.randrange(60))
        lines = [
            chance.choice(["POST", "POST", "POST", "GET", "PUT", "OPTIONS", "P\0ST"])
            + f" {chance.choice([PATH, PATH, PATH + '/', '/', '/healthz', '//', '/%00', '*'])} "
            + chance.choice(["HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/9"]),
            "Host: x",
            "Stripe-Signature: " + signature.decode("latin-1").replace("\n", "").replace("\r", ""),
        ]
        chunked = chance.random() < 0.2
        lines.append("Transfer-Encoding: chunked" if chunked else f"Content-Length: {self._length(chance, body)}")
        for _ in range(chance.randrange(4)):
            lines.append(
                chance.choice(["Expect: 100-continue", "Connection: close", "A: " + "b" * 5000, "Upgrade: h2c"])
            )
        head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
        if chunked:
            body = (
                b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:10], body[10:]) if part) + b"0\r\n\r\n"
            )
        said = head + body
        if chance.random() < 0.2:
            at = chance.randrange(len(said))
            said = said[:at] + chance.randbytes(3) + said[at + 3 :]
        return said if chance.random() < 0.9 else said + said

    @staticmethod
    def _body(chance: random.Random) -> bytes:
        event: dict[str, Any] = EVENT | {"data": {"object": {"id": f"sub_{chance.randrange(50)}"}}}
        for _ in range(chance.randrange(3)):
            event[chance.choice([*event, "livemode", "api_version", "related_object"])] = chance.choice(ODD)
        text = json.dumps(event).encode()
        return chance.choice([text, text, text, b"", b"[" * 5000, chance.randbytes(99), text * 60, b"x" * 300_000])

    @staticmethod
    def _length(chance: random.Random, body: bytes) -> object:
        return chance.choice([len(body)] * 8 + [len(body) + 9, max(len(body) - 3, 0), -1, "x", 10**12])

    @staticmethod
    def _pieces(chance: random.Random, said: bytes) -> list[bytes]:
        if chance.random() < 0.5:
            return [said]
        size = chance.choice([7, 100, 5000, 50_000])
        return [said[at : at + size] for at in range(0, len(said), size)][:200]


def sign_any(body: bytes, secret: str) -> bytes:
    """Sign bytes that need not be text."""
    try:
        return sign(body, secret)
    except UnicodeDecodeError:
        return b"t=1,v1=00"


def run(fuzz: Fuzz, pid: int, post: Callable[[str], int], seconds: float, threads: int) -> tuple[list[int], int, int]:
    """Fuzz for so long beside an honest sender; return its answers, and by how much memory (KiB) and files grew."""
    over, answers, numbers = threading.Event(), [], iter(range(10**9))
    lock = threading.Lock()

    def stranger() -> None:
        while not over.is_set():
            with lock:
                number = next(numbers)
            fuzz.act(number)

    def honest() -> None:
        while not over.is_set():
            answers.append(post(f"evt_honest_{len(answers)}"))
            over.wait(0.02)

    with ThreadPoolExecutor(threads + 1) as crowd:
        working = [crowd.submit(stranger) for _ in range(threads)] + [crowd.submit(honest)]
        over.wait(seconds / 3)
        before = memory(pid), files(pid)
        over.wait(seconds * 2 / 3)
        over.set()
        for each in working:
            each.result(60)
    deadline = time.monotonic() + 30
    while files(pid) > before[1] and time.monotonic() < deadline:
        time.sleep(0.1)  # connections that were left end by their time limit
    return answers, memory(pid) - before[0], files(pid) - before[1]


def memory(pid: int) -> int:
    """Return the resident memory of a process, in KiB."""
    return int(re.findall(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[0])


def files(pid: int) -> int:
    """Return how many files a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def main() -> None:
    """Run the long form."""
    import os

    from dumacle_cli.local import servers
    from dumacle_cli.local.servers import OWNER
    from dumacle_cli.store import bootstrap, schema
    from tests.faults.test_listener import listening, packed
    from tests.servers import scratch_folder, start_servers, stop_servers

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--threads", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    folder, secret = scratch_folder(), "whsec_of_the_fuzzer"
    embedded = start_servers(folder)
    try:
        bootstrap.bootstrap(embedded.admin_url, "fuzz", OWNER, embedded.owner_password)
        url = servers.url(embedded, OWNER, embedded.owner_password, "fuzz")
        schema.upgrade(url)
        os.environ.pop("DUMACLE_DATA_DIR", None)
        os.environ |= {"DUMACLE_DATABASE_URL": url, "DUMACLE_STRIPE_WEBHOOK_SECRETS": secret}
        with listening() as listener:

            def post(id_: str) -> int:
                body = packed(EVENT | {"id": id_, "livemode": False, "data": {"object": {"id": "sub_1"}}})
                return listener.post(body, sign(body, secret))

            fuzz = Fuzz(listener.port, secret, options.seed)
            answers, grown, opened = run(fuzz, listener.process.pid, post, options.seconds, options.threads)
            _, told = listener.stop()
        print(f"{sum(fuzz.answers.values())} answers: {dict(fuzz.answers)}; to the honest: {dict(Counter(answers))}")
        print(f"memory grew by {grown} KiB, open files by {opened}")
        assert not fuzz.answers["500"]
        assert set(answers) == {200}
        assert grown < 32 * KIB
        assert opened <= 0
        assert "Traceback" not in told
    finally:
        stop_servers(folder)


if __name__ == "__main__":
    main()

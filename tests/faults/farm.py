"""Disturb a worker in each phase of a transcode, in each way, while another one stands by.

python -m tests.faults.farm [--only kill] [--repeat 3] [--away 600]

Each time exactly one rendition set is published, nothing else is left at the store, nothing was counted as an attempt,
and the other worker begins within 15 s of the end of the lease.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import psycopg
from sqlalchemy import text

from dumacle_cli.local.process import wait
from dumacle_cli.store.database import Database
from tests.faults.store_proxy import Exchange, StoreProxy, internal_error
from tests.faults.workers import LEASE, encoders
from tests.films import SECONDS
from tests.processes import Process

PHASES = ("probe", "encode", "upload", "finalize", "publish")
FAULTS = ("kill", "freeze", "stop", "cut", "errors", "away", "full")
SHORT = (("kill", "publish"), ("freeze", "upload"), ("stop", "encode"), ("cut", "finalize"), ("away", "probe"))
LONG = os.environ.get("DUMACLE_TEST_FARM") == "long"
CELLS = [(fault, phase) for fault in FAULTS for phase in PHASES] if LONG else list(SHORT)
AWAY_SECONDS = float(os.environ.get("DUMACLE_TEST_AWAY", 2 * LEASE))
BEGINS_WITHIN = 15.0
WAITING = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%publish_unit%'"


@dataclass
class Gate:
    """Holds the first request to the store that the gate is for, until it is opened."""

    matches: Callable[[Exchange], bool]
    reached: Event = field(default_factory=Event)
    opened: Event = field(default_factory=Event)

    def hold(self, exchange: Exchange) -> None:
        """Hold a request, if it is the first one for this gate, until it is opened."""
        if self.matches(exchange) and not self.reached.is_set():
            self.reached.set()
            self.opened.wait()


GATES: dict[str, Callable[[Exchange], bool]] = {
    "probe": lambda exchange: exchange.request.kind == "get",
    "upload": lambda exchange: exchange.request.kind == "put" and ".m4s" in exchange.request.target,
    "finalize": lambda exchange: exchange.request.kind == "put" and "master.m3u8" in exchange.request.target,
}


@dataclass
class Farm:
    """A database, a store behind a proxy, a folder for scratch, and the worker that is disturbed."""

    database: Database
    admin_url: str
    proxy: StoreProxy
    scratch: Path
    worker: Process

    @contextmanager
    def held_in(self, phase: str) -> Iterator[None]:
        """Wait until the worker is in a phase, and keep it there while inside."""
        if phase == "encode":
            assert wait(lambda: bool(encoders(self.worker)), SECONDS), "the worker did not come to encode"
            yield
        elif phase == "publish":
            assert self.gates["finalize"].reached.wait(SECONDS), "the worker did not come to publish"
            with self._locked():
                yield
        else:
            gate = self.gates[phase]
            assert gate.reached.wait(SECONDS), f"the worker did not come to {phase}"
            yield
            gate.opened.set()

    def __post_init__(self) -> None:
        """Set up a gate for each phase that the store sees."""
        self.gates = {phase: Gate(matches) for phase, matches in GATES.items()}

    def watch(self, phase: str) -> None:
        """Let the worker be held at its first request, and at the gate of a phase."""
        gates = [gate for name, gate in self.gates.items() if name in ("probe", self._gate_of(phase))]

        def answer(exchange: Exchange) -> None:
            for gate in gates:
                gate.hold(exchange)
            exchange.reply(exchange.forward())

        self.proxy.inject("get put", answer, times=float("inf"))

    def open(self, phase: str) -> None:
        """Open the gate of a phase, if it has one."""
        if gate := self.gates.get(self._gate_of(phase)):
            gate.opened.set()

    def stand_by(self, another: Process) -> None:
        """Wait until another worker is ready for work."""
        known = text("SELECT 1 FROM app.workers WHERE split_part(name, ':', -1) = :pid")

        def ready() -> bool:
            with self.database.session() as session:
                return session.scalar(known, {"pid": str(another.pid)}) is not None

        wait(ready, SECONDS)
        assert ready(), "the other worker did not start"

    @staticmethod
    def _gate_of(phase: str) -> str:
        return "finalize" if phase == "publish" else phase

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self.database.session() as session:
            session.execute(text("SELECT FROM app.pods FOR UPDATE"))
            self.gates["finalize"].opened.set()
            with psycopg.connect(self.admin_url, autocommit=True) as admin:
                wait(lambda: bool(admin.execute(WAITING).fetchall()), SECONDS)
                assert admin.execute(WAITING).fetchall(), "the worker did not come to publish"
            yield

    # What is done to it

    def kill(self) -> None:
        """Kill the worker."""
        self.worker.kill()
        self.worker.wait()

    def freeze(self) -> None:
        """Stop the worker for twice its lease."""
        self.worker.send_signal(signal.SIGSTOP)
        time.sleep(2 * LEASE)
        self.worker.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Ask the worker to end; it hands over what it works on."""
        self.worker.send_signal(signal.SIGTERM)

    def cut(self) -> None:
        """End the connections of the worker; this test's own is kept, which may hold a lock."""
        with psycopg.connect(self.admin_url, autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity AS a WHERE datname = %s AND a.usename <> %s"
                " AND pid <> pg_backend_pid()",
                [self.database.url.database, self.database.url.username],
            )

    def errors(self) -> None:
        """Let the store answer the next requests with errors."""
        self.proxy.heal()
        self.proxy.inject("get put", internal_error, times=40)

    def away(self) -> None:
        """Let the store be away for a while."""
        self.proxy.heal()
        with self.proxy.away():
            for gate in self.gates.values():
                gate.opened.set()
            time.sleep(AWAY_SECONDS)

    def full(self) -> None:
        """Fill the disk for a while."""
        filler = self.scratch / "filler"
        with filler.open("wb") as file:
            try:
                while True:
                    file.write(bytes(65536))
                    file.flush()
            except OSError:
                pass
        for gate in self.gates.values():
            gate.opened.set()
        time.sleep(2 * LEASE)
        filler.unlink()


def main() -> int:
    """Run the matrix, or the cells whose names contain a text, as tests."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="cells whose name contains this: kill-encode")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--away", type=float, default=20, help="seconds that the store is away; default: 20")
    given = parser.parse_args()
    tests = str(Path(__file__).with_name("test_farm.py"))
    command = [sys.executable, "-m", "pytest", "-v", "-n", "0", tests, *(["-k", given.only] if given.only else [])]
    environment = {**os.environ, "DUMACLE_TEST_FARM": "long", "DUMACLE_TEST_AWAY": str(given.away)}
    codes = [subprocess.run(command, env=environment, check=False).returncode for _ in range(given.repeat)]
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())

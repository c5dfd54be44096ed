"""Two connections at once: one is in the middle of something when another takes away what it relies on."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import psycopg

from tests.identity import Installation

Step = Callable[[], Any]
ENDED = (psycopg.errors.AdminShutdown, psycopg.OperationalError, psycopg.InterfaceError)
"""How a connection notices that it was ended."""
PATIENCE = 30.0
"""Seconds until a step that neither ends nor waits for a lock fails the test."""


@dataclass(slots=True)
class Side:
    """One of the two connections; `pid` is its process at the server, asked before anything waits."""

    connection: psycopg.Connection[Any]
    pid: int = field(init=False)
    transaction: int | None = None

    def __post_init__(self) -> None:
        self.pid = self.connection.info.backend_pid

    def begin(self) -> None:
        """Open a transaction that no timeout ends."""
        self.connection.execute("BEGIN")
        self.connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")

    def tries(self, statements: str) -> psycopg.Error | None:
        """Do the same; returns what refused it."""
        try:
            self.does(statements)
        except psycopg.Error as refusal:
            return refusal
        return None

    def does(self, statements: str) -> None:
        """Run statements and remember which transaction it was."""
        self.connection.execute(statements)
        number = self.connection.execute("SELECT pg_current_xact_id()::text::bigint").fetchone()
        self.transaction = number[0] if number else None

    def commit(self) -> psycopg.Error | None:
        """Commit; returns what refused it."""
        try:
            self.connection.execute("COMMIT")
        except psycopg.Error as refusal:
            return refusal
        return None


class Together:
    """Runs steps of two connections so that the second either ends, or is seen to wait for the first."""

    def __init__(self, everybody: Installation) -> None:
        self._everybody = everybody
        self._pool = ThreadPoolExecutor(1)

    def start(self, side: Side, step: Step) -> "Future[Any]":
        """Begin a step and return as soon as it has ended or waits for a lock."""
        begun = self._pool.submit(step)
        deadline = time.monotonic() + PATIENCE
        while not (begun.done() or self.waits(side)):
            assert time.monotonic() < deadline, "it neither ends nor waits"
            time.sleep(0.01)
        return begun

    def waits(self, side: Side) -> bool:
        """Whether a connection waits for a lock now."""
        asked = f"SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND pid = {side.pid})"
        return bool(self._everybody.value(asked))

    def committed(self, side: Side) -> bool:
        """Whether the transaction of a side took effect."""
        if side.transaction is None:
            return False
        status = self._everybody.value(f"SELECT pg_xact_status('{side.transaction}'::xid8)")
        assert status in ("committed", "aborted"), status
        return bool(status == "committed")

    def close(self) -> None:
        """Wait for the step that may still run."""
        self._pool.shutdown()

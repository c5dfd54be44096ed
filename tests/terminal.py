"""Somebody at a terminal, a real one, who is asked and answers, and what stood on it."""

import io
import os
import sys
import threading
import tty
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import pytest

from dumacle_cli.__main__ import main
from tests.conftest import Result


class Terminal(io.TextIOWrapper):
    """A terminal at which this is typed when a line is read, and before it something else happens."""

    def __init__(self, answer: str, meanwhile: Callable[[], object]) -> None:
        self._keys, line = os.openpty()
        self._answer, self._meanwhile = answer, meanwhile
        super().__init__(os.fdopen(line, "rb"), encoding="utf-8")

    def readline(self, *size: Any) -> str:
        self._meanwhile()
        os.write(self._keys, f"{self._answer}\n".encode())
        return super().readline(*size)

    def close(self) -> None:
        if not self.closed:
            os.close(self._keys)
        super().close()


def ask(answer: str, *argv: str, meanwhile: Callable[[], object] = lambda: None) -> Result:
    """Run the program in this process, and answer what it asks; `meanwhile` runs while it waits for that."""
    out, err = io.StringIO(), io.StringIO()
    with Terminal(answer, meanwhile) as terminal, pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdin", terminal)
        with redirect_stdout(out), redirect_stderr(err):
            code = main(list(argv))
    return Result(code, out.getvalue(), err.getvalue(), out.getvalue().encode())


def watch(*argv: str, answer: str = "") -> tuple[int, str]:
    """Run the program in this process at a terminal, and return its exit status and all that reached the screen."""
    keys, line = os.openpty()
    tty.setraw(line)
    seen: list[bytes] = []
    reader = threading.Thread(target=_read, args=(keys, seen))
    reader.start()
    os.write(keys, f"{answer}\n".encode())
    with (
        open(line, encoding="utf-8", closefd=False) as typed,
        open(line, "w", encoding="utf-8", closefd=False) as screen,
    ):
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(screen), redirect_stderr(screen):
            patch.setattr(sys, "stdin", typed)
            code = main(list(argv))
        screen.flush()
    os.close(line)
    reader.join()
    os.close(keys)
    return code, b"".join(seen).decode("utf-8", "replace")


def _read(keys: int, seen: list[bytes]) -> None:
    while True:
        try:
            piece = os.read(keys, 65536)
        except OSError:  # nobody has the other end any more
            return
        seen.append(piece)

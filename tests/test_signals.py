"""An exception of a signal is raised even where Python would drop it."""

import os
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest

from dumacle_cli.errors import Exit, TimedOut
from dumacle_cli.signals import Terminated, handled

pytestmark = pytest.mark.unit


class Garbage:
    """An object that something is called for when it goes."""


def wait_in_callback(act: Callable[[], None]) -> None:
    """Do this in the callback of a weak reference, where every exception is dropped, and then wait ten seconds."""

    def going(_: object) -> None:
        act()
        time.sleep(0.5)

    garbage = Garbage()
    watched = weakref.ref(garbage, going)
    del garbage
    time.sleep(10)
    assert watched() is None


def test_timeout_in_a_callback_is_not_lost() -> None:
    began = time.monotonic()
    with pytest.raises(TimedOut), handled(0.1):
        wait_in_callback(lambda: None)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt), (signal.SIGALRM, TimedOut)]
)
def test_signal_in_an_import_is_not_taken_for_a_bug(number: int, raised: type[BaseException]) -> None:
    """As compiled modules do that are interrupted while they are imported."""

    def fail() -> None:
        try:
            os.kill(os.getpid(), number)
        except KeyboardInterrupt:
            raise ImportError("initialization failed") from None

    with pytest.raises(raised) as caught, handled(60):
        fail()
    assert caught.type is raised


@pytest.mark.parametrize(("number", "raised"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)])
def test_signal_in_a_callback_is_not_lost(number: int, raised: type[BaseException]) -> None:
    began = time.monotonic()
    with pytest.raises(raised) as caught, handled(0):
        wait_in_callback(lambda: os.kill(os.getpid(), number))
    assert caught.type is raised
    assert time.monotonic() - began < 5


INTERRUPTED = """
import dumacle_cli.__main__ as program

def main():
    try:
        exec("import os, signal; os.kill(os.getpid(), signal.SIGINT)")
    except KeyboardInterrupt:
        return 130

program.main = main
program.run()
"""


def test_a_signal_in_an_executed_text_has_the_exit_status_that_was_chosen(tmp_path: Path) -> None:
    (tmp_path / "interrupted.py").write_text(INTERRUPTED)
    command, where = [sys.executable, "-m", "interrupted"], {**os.environ, "PYTHONPATH": str(tmp_path)}
    assert subprocess.run(command, env=where, cwd=tmp_path, check=False).returncode == Exit.INTERRUPTED

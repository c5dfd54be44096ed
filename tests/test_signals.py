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
def test_a_signal_while_a_class_is_made_is_not_taken_for_a_bug(number: int, raised: type[BaseException]) -> None:
    class Named:
        def __set_name__(self, *_: object) -> None:
            os.kill(os.getpid(), number)

    def make() -> None:
        type("Made", (), {"named": Named()})

    with pytest.raises(raised) as caught, handled(60):
        make()
    assert caught.type is raised


IMPORTED = """
import os
import sys
import time
from dumacle_cli.errors import TimedOut
from dumacle_cli.signals import Terminated, handled

class Finder:
    sent = []

    def find_spec(self, name, *_):
        if "psycopg_binary.pq" in sys.modules and not self.sent:
            self.sent.append(name)
            os.kill(os.getpid(), int(sys.argv[1]))

sys.meta_path.insert(0, Finder())
try:
    with handled(60):
        import psycopg
        time.sleep(10)
except (TimedOut, KeyboardInterrupt) as error:
    print(type(error).__name__, *Finder.sent, "psycopg_binary.pq" in sys.modules)
"""


@pytest.mark.parametrize(
    ("number", "raised"),
    [(signal.SIGTERM, "Terminated"), (signal.SIGINT, "KeyboardInterrupt"), (signal.SIGALRM, "TimedOut")],
)
def test_a_signal_waits_until_a_compiled_module_is_imported(number: int, raised: str) -> None:
    """Interrupted, that of psycopg fails with an ImportError, for which psycopg takes any libpq of the system."""
    command = [sys.executable, "-c", IMPORTED, str(int(number))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout.split(), done.stderr) == ([raised, "psycopg.errors", "True"], "")


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

"""A worker of the demo's own, which runs until one transcode has ended."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO

from dumacle_cli import precedence, signals
from dumacle_cli.context import Context
from dumacle_cli.errors import Exit, ToolFailed
from dumacle_cli.services import transcodes
from dumacle_cli.settings import is_secret
from dumacle_cli.transcode import child

POLL_SECONDS = 0.2
ARGUMENTS = ("worker", "--once", "--queues", "transcode", "--drain-timeout", "0", "--quiet")


def run_until_done(context: Context, number: int, progress: Callable[[int], None]) -> transcodes.Detail:
    """Run workers until a transcode has ended, and report its progress in percent.

    Raises ToolFailed where a worker fails, or sets it back; the status says whether the transcode failed.
    """
    while _transcode(context, number).is_live:
        with tempfile.TemporaryFile() as stderr, _worker(context, stderr) as worker:
            while worker.poll() is None:
                progress(_transcode(context, number).progress)
                with suppress(subprocess.TimeoutExpired):
                    worker.wait(POLL_SECONDS)
            if worker.returncode in (Exit.INTERRUPTED, Exit.TERMINATED):
                raise KeyboardInterrupt  # Ctrl-C reaches both, and the worker may be the first to end.
            if worker.returncode not in (0, Exit.PARTIAL) and _transcode(context, number).is_live:
                raise ToolFailed(tool="the worker", reason=f"exit {worker.returncode}: {child.last_line(stderr)}")
    with context.session() as session:
        return transcodes.show(session, number)


def _transcode(context: Context, number: int) -> transcodes.Transcode:
    with context.session() as session:
        return transcodes.get(session, [number])[0]


@contextmanager
def _worker(context: Context, stderr: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker inside the block; at its end, a worker that still runs gives its work back."""
    process = subprocess.Popen(
        # -P: the current folder may hold other people's modules.
        [sys.executable, "-P", "-m", "dumacle_cli", *_settings(context), *ARGUMENTS],
        env={**context.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
    )
    try:
        yield process
    finally:
        # A child inherits the signals that we ignore: an ignored SIGTERM would never end it.
        process.send_signal(signal.SIGKILL if signals.is_ignored(signal.SIGTERM) else signal.SIGTERM)
        process.wait()


def _settings(context: Context) -> list[str]:
    """Return options that give a child the settings of this run, wherever they came from, on the embedded servers."""
    given = {name: getattr(context.settings, name) for name in context.resolved.origins if not is_secret(name)}
    own = {"default_provider": "local", "embedded": context.settings.embedded, "database_url": ""}
    own |= dict.fromkeys(precedence.LOCAL, "")
    return [
        word for name, value in (given | own).items() for word in ("--set", f"{name}={'' if value is None else value}")
    ]

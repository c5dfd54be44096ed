"""The program as processes of their own, which a test may kill."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import dumacle_cli

ROOT = Path(dumacle_cli.__file__).parents[1]
Process = subprocess.Popen[str]
Begin = Callable[..., Process]


def unmeasured() -> dict[str, str]:
    """The environment without what makes a process measure its coverage, which takes memory and imports modules."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}


@pytest.fixture
def program() -> Iterator[Begin]:
    """Start the program, `ignoring` signals as under nohup; what is still there at the end is killed."""
    started: list[Process] = []

    def call(*arguments: str | Path, stdout: int = subprocess.PIPE, ignoring: str = "") -> Process:
        shield = ["/bin/sh", "-c", f"trap '' {ignoring}; exec \"$@\"", "sh"] if ignoring else []
        process = subprocess.Popen(
            [*shield, sys.executable, "-X", "faulthandler", "-m", "dumacle_cli", *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield call
    for process in started:
        process.kill()
        process.communicate()

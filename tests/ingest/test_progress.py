"""Progress on a terminal: a line for the whole, one for each large file, and nothing anywhere else."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

import dumacle_cli
from tests.ingest.conftest import Fill, Home

pytestmark = pytest.mark.integration
ROOT = Path(dumacle_cli.__file__).parents[1]
MIB = 1024**2


def on_terminal(*arguments: str | Path) -> tuple[int, str, str]:
    """Upload with standard error on a terminal; returns the status, standard output and what the terminal got."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "dumacle_cli", "files", "upload", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(
        [*command, "--pod", "films", "--owner", "ada@example.com"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    )
    os.close(theirs)
    seen = b""
    while more := _read(ours):
        seen += more
    os.close(ours)
    out, _ = process.communicate(timeout=60)
    return process.returncode, out, re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the other side closed it
        return b""


def test_bars(configured: None, home: Home, fill: Fill) -> None:
    folder = fill(film=48 * MIB, one=10, two=10)
    status, out, seen = on_terminal(folder, "-o", "json")
    assert status == 0
    assert out.startswith('{"schema": "dumacle.files.upload.v1"')
    assert out.count("\n") == 1
    assert "files 3/3" in seen
    assert "  film.jpg" in seen
    assert "48.0/48.0 MiB" in seen
    assert re.search(r"files \d/3 +[━╸╺]+ +[\d.]+/48\.0 MiB +[\d.]+ \w+/s +\d\d:\d\d", seen), "rate and time left"


def test_no_bars_when_quiet(configured: None, home: Home, fill: Fill) -> None:
    assert on_terminal(fill(one=10), "--quiet") == (0, "", "")


def test_what_was_refused_was_not_planned(configured: None, home: Home, fill: Fill) -> None:
    status, _, seen = on_terminal(fill(one=10, huge=2000), "--set", "max_file_size=1000")
    assert status == 3
    assert "files 1/1" in seen
    assert "files 2/" not in seen

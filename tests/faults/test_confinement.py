"""An exploited decoder finds no files, no network, and nothing of its worker, as root and as an ordinary account."""

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dumacle_cli.transcode import child
from dumacle_cli.transcode.boundary import boundary
from tests.conftest import Run

pytestmark = pytest.mark.integration
EXPLOIT = """
import json, os, signal, socket, sys
from pathlib import Path
secret, source, tcp, udp, parent = sys.argv[1:]
def datagram():
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", int(udp)))
attempts = {
    "reads a secret": lambda: Path(secret).read_text(),
    "lists its folder": lambda: list(Path(secret).parent.iterdir()),
    "writes beside it": lambda: Path(secret).with_name("planted").write_text("x"),
    "removes it": lambda: Path(secret).unlink(),
    "changes the source": lambda: Path(source).write_text("x"),
    "reads the accounts": lambda: Path("/etc/passwd").read_text(),
    "reads the worker's environment": lambda: Path(f"/proc/{parent}/environ").read_bytes(),
    "links to it": lambda: os.symlink(secret, "link"),
    "connects": lambda: socket.create_connection(("127.0.0.1", int(tcp)), 2),
    "sends a datagram": datagram,
    "kills the worker": lambda: os.kill(int(parent), 0),
    "reads the source": lambda: Path(source).read_text(),
    "writes its output": lambda: Path("out").write_text("x"),
    "makes a folder": lambda: Path("720p").mkdir(),
    "replaces its output": lambda: os.replace("out", "720p.m3u8"),
}
def succeeds(attempt):
    try:
        attempt()
    except OSError:
        return False
    return True
print(json.dumps([name for name, attempt in attempts.items() if succeeds(attempt)]))
"""
ALLOWED = ["reads the source", "writes its output", "makes a folder", "replaces its output"]


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder of its own, which is no scratch folder."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def exploit(place: Path) -> list[str]:
    """Run an exploit as if it were FFmpeg, and return what it could do; nothing reaches the traps."""
    secret, source, out = place / "keys" / "secret", place / "source", place / "out"
    secret.parent.mkdir()
    secret.write_text("hunter2")
    source.write_text("film")
    out.mkdir()
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        tempfile.TemporaryFile() as said,
    ):
        udp.bind(("127.0.0.1", 0))
        ports = [str(each.getsockname()[1]) for each in (tcp, udp)]
        command = [sys.executable, "-I", "-S", "-c", EXPLOIT, str(secret), str(source), *ports, str(os.getpid())]
        with child.confined(command, out, {}, said, subprocess.DEVNULL, [source]) as process:
            assert process.wait(30) == 0
        for trap in (tcp, udp):
            trap.setblocking(False)
        with pytest.raises(BlockingIOError):
            tcp.accept()
        with pytest.raises(BlockingIOError):
            udp.recv(1)
        said.seek(0)
        found: Any = json.load(said)
    return list(found)


def test_an_exploited_decoder_finds_nothing(place: Path) -> None:
    held = boundary()
    if not (held.files and held.network):
        pytest.skip("the kernel has no Landlock")
    assert exploit(place) == ALLOWED
    assert (place / "keys" / "secret").read_text() == "hunter2"


def test_doctor_says_what_holds(run: Run) -> None:
    held = boundary()
    [found] = [each for each in run("doctor", "-o", "json", expect={0, 1}).data if each["check"] == "confinement"]
    assert (found["status"] == "ok") == (held.files and held.network)


@pytest.mark.parametrize("version", [0, 1, 3])
def test_an_older_kernel_still_runs_it(place: Path, version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Landlock, or with an early one, media is still read: with less between it and the machine."""
    program = place / "confine.py"
    text = child.CONFINE.read_text()
    asked = "version = libc.syscall(CREATE_RULESET, None, 0, VERSION)"
    assert asked in text
    program.write_text(text.replace(asked, f"version = min({version}, libc.syscall(CREATE_RULESET, None, 0, VERSION))"))
    monkeypatch.setattr(child, "CONFINE", program)
    found = exploit(place)
    assert [each for each in found if each in ALLOWED] == ALLOWED
    assert ("reads a secret" in found) == (version == 0 or not boundary().files)


def test_ffmpeg_itself_is_confined(place: Path) -> None:
    """It is told to read what is not its source, and to fetch what is elsewhere."""
    from dumacle_cli.local import ffmpeg

    if not boundary().files:
        pytest.skip("the kernel has no Landlock")
    secret = place / "secret.txt"
    secret.write_text("hunter2 " * 100)
    out = place / "out"
    out.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as trap, tempfile.TemporaryFile() as said:
        for link in (str(secret), f"http://127.0.0.1:{trap.getsockname()[1]}/a.mp4"):
            command = [
                str(ffmpeg.locate()),
                "-v",
                "error",
                "-nostdin",
                "-f",
                "data",
                "-i",
                link,
                "-map",
                "0",
                "-c",
                "copy",
            ]
            with child.confined([*command, "-f", "data", "copy"], out, {}, subprocess.DEVNULL, said) as process:
                assert process.wait(30) != 0
        trap.setblocking(False)
        with pytest.raises(BlockingIOError):
            trap.accept()
    assert b"hunter2" not in b"".join(each.read_bytes() for each in out.iterdir())

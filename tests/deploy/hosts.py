"""The machines of a documentation page, each a folder in which the page's commands are run."""

import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.deploy.grammar import FENCED, TOP

# Replacements for what needs root or other machines: accounts, systemd, and copies between hosts.
PROGRAMS = {
    "dumacle": f'exec {sys.executable} -m dumacle_cli "$@"',
    "sudo": 'shift 2; exec "$@"',
    "chown": "exit 0",
    "systemctl": 'echo "$@" >> "$ROOT/systemctl"',
    "scp": """for target; do :; done
host=${target#root@}
while [ $# -gt 1 ]; do cp "$1" "$ROOT/../${host%%:*}${host#*:}"; shift; done""",
}

Answers = Mapping[str, Callable[[str], str]]
"""The answer to each question, made from the screen so far."""


def blocks(chapter: str) -> dict[str, str]:
    """Return the lines to be typed under each heading of a chapter, as one script each."""
    sections = re.split(r"^### ", FENCED.sub("", chapter), flags=re.MULTILINE)[1:]
    return {section.partition("\n")[0]: script(section) for section in sections}


def script(text: str) -> str:
    """Return the indented lines of a text, which are to be typed."""
    return "\n".join(re.findall(r"^    (.*)$", text, re.MULTILINE))


@dataclass(frozen=True, slots=True)
class Host:
    """A machine: `etc`, and `home` where a person works; what the page calls by `names` has other ones here."""

    root: Path
    names: dict[str, str]
    serves: bool = False

    def __post_init__(self) -> None:
        for folder in ("home", "bin", "etc/dumacle", "etc/dumacle-listener", "etc/systemd/system"):
            (self.root / folder).mkdir(parents=True)
        for name, script in PROGRAMS.items():
            file = self.root / "bin" / name
            file.write_text(f"#!/bin/sh\n{script}\n")
            file.chmod(0o755)
        (self.root / "home" / "docs").symlink_to(TOP / "docs")

    @property
    def config(self) -> Path:
        """The settings of the machine, which its services read; the listener finds its own folder in that place."""
        own = self.root / "etc" / "dumacle-listener" / "config.toml"
        return own if own.exists() else self.root / "etc" / "dumacle" / "config.toml"

    @property
    def home(self) -> Path:
        """Where its person works."""
        return self.root / "home"

    def type_(self, script: str, answers: Answers | None = None, expect: int = 0) -> str:
        """Type a script at a terminal, and an answer to each question; returns what was on the screen."""
        for name, here in self.names.items():
            script = script.replace(name, here)
        script = re.sub(r"(?<!\.com:)/etc/", f"{self.root}/etc/", script)
        keys, line = pty.openpty()
        process = subprocess.Popen(
            ["bash", "-eu", "-o", "pipefail", "-c", script],
            stdin=line,
            stdout=line,
            stderr=line,
            cwd=self.home,
            env=self._environment(),
            start_new_session=True,
        )
        os.close(line)
        try:
            screen = _converse(keys, answers or {})
            assert process.wait(60) == expect, screen
        finally:
            process.kill()
            process.wait()
        return screen

    def _environment(self) -> dict[str, str]:
        given = {
            "HOME": str(self.home),
            "PATH": f"{self.root}/bin:/usr/bin:/bin",
            "PYTHONPATH": str(TOP),
            "ROOT": str(self.root),
            "COLUMNS": "300",
            "NO_COLOR": "1",
        }
        return given | ({"DUMACLE_CONFIG": str(self.config)} if self.serves else {})


def _converse(keys: int, answers: Answers) -> str:
    """Read the screen until the last program ends, and answer what is asked meanwhile."""
    screen, asked = "", 0
    with os.fdopen(keys, "r+b", buffering=0) as terminal:
        while True:
            try:
                screen += terminal.read(65_536).decode("utf-8", "replace").replace("\r\n", "\n")
            except OSError:  # the line was closed
                return screen
            for question, answer in answers.items():
                if (at := screen.find(question, asked)) >= 0:
                    asked = at + len(question)
                    terminal.write(f"{answer(screen)}\n".encode())

"""How this program was started, so that the commands that it names run from where the person stands."""

import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from dumacle_cli.escapes import quoted

NAME = "dumacle"
PLACES = ("database_url", "embedded", "data_dir")
"""Settings by which a command finds what the one before worked on."""
GROUPS = (
    *("auth", "users", "pods", "plans", "files", "transcode", "quotas", "webhooks", "worker", "audit", "key", "db"),
    *("local", "config", "doctor", "demo", "schema", "completion"),
)
# What follows tells a command from a pod or a user of this program's name.
_COMMAND = re.compile(rf"(?<![\w./@-]){NAME}(?= (?:--(?:profile|set|help|version)|{'|'.join(GROUPS)})(?![\w-]))")


def program(started: str, environ: Mapping[str, str]) -> str:
    """Return what is typed to start this program: its name where PATH has it, else as it was started."""
    place = Path(started)
    if place.parts[-2:] == ("dumacle_cli", "__main__.py"):
        return _by_name(Path(sys.executable).with_name(NAME), environ) or f"{quoted(sys.executable)} -m dumacle_cli"
    if place.name != NAME or len(place.parts) == 1:
        return NAME
    return _by_name(place, environ) or quoted(started)


def _by_name(place: Path, environ: Mapping[str, str]) -> str:
    found = shutil.which(NAME, path=environ.get("PATH", ""))
    return NAME if found and place.exists() and place.samefile(found) else ""


def places(settings: Sequence[str]) -> list[tuple[str, str]]:
    """Return the names and values of those settings, each written NAME=VALUE, that say where the command works."""
    pairs = (flag.partition("=")[::2] for flag in settings)
    named = ((name.strip().replace("-", "_"), value) for name, value in pairs)
    return [(name, value) for name, value in named if name in PLACES]


def located(profile: str, places: Sequence[tuple[str, str]]) -> str:
    """Return the options that lead the next command to the same place as this one."""
    words = [
        *(["--profile", profile] if profile else []),
        *(word for pair in places for word in ("--set", "=".join(pair))),
    ]
    return "".join(f" {quoted(word) if not word.startswith('--') else word}" for word in words)


def runnable(text: str, command: str) -> str:
    """Return a text in which the commands of this program begin with what starts it."""
    return text if command == NAME else _COMMAND.sub(lambda _: command, text)

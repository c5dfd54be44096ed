"""How this program was started, so that the commands in its messages run as printed in the current directory."""

import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from dumacle_cli.escapes import quoted

NAME = "dumacle"
PLACES = ("database_url", "embedded", "data_dir")
"""Settings that lead the next command to the same installation."""
GROUPS = (
    *("auth", "users", "pods", "plans", "files", "transcode", "quotas", "webhooks", "worker", "audit", "key", "db"),
    *("local", "config", "doctor", "demo", "schema", "completion"),
)
# The next word tells a command from a pod or user called dumacle.
_COMMAND = re.compile(rf"(?<![\w./@-]){NAME}(?= (?:--(?:profile|set|help|version)|{'|'.join(GROUPS)})(?![\w-]))")


def program(started: str, environ: Mapping[str, str]) -> str:
    """Return how to start this program: by name if it is in PATH, else as it was started."""
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
    """Return the names and values of the settings (NAME=VALUE) that choose the installation."""
    pairs = (flag.partition("=")[::2] for flag in settings)
    named = ((name.strip().replace("-", "_"), value) for name, value in pairs)
    return [(name, value) for name, value in named if name in PLACES]


def located(profile: str, places: Sequence[tuple[str, str]]) -> str:
    """Return the options that lead the next command to the same installation."""
    words = [
        *(["--profile", profile] if profile else []),
        *(word for pair in places for word in ("--set", "=".join(pair))),
    ]
    return "".join(f" {quoted(word) if not word.startswith('--') else word}" for word in words)


def runnable(text: str, command: str) -> str:
    """Return a text in which the commands of this program can be run as printed."""
    return text if command == NAME else _COMMAND.sub(lambda _: command, text)

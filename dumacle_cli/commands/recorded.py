"""What was typed, as a JSON document that is kept with a run, so that the run can be repeated."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dumacle_cli import paths

STANDARD_INPUT = "-"
LONGEST = 128 * 1024
"""Bytes of the longest document that is kept."""


def recorded(given: Mapping[str, Any], without: tuple[str, ...]) -> dict[str, Any]:
    """Return parameters as JSON values; paths become absolute, except that of standard input.

    What would be too long is not kept: the document is then empty.
    """
    document = {name: _recorded(value) for name, value in given.items() if name not in without}
    return document if len(json.dumps(document)) <= LONGEST else {}


def kept(path: Path) -> Path:
    """Return a path as it holds in any working directory; `-` for standard input stays."""
    return path if str(path) == STANDARD_INPUT else path.absolute()


def typed(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a document as they were typed."""
    return {name: _typed(value) for name, value in document.items()}


def _recorded(value: Any) -> Any:
    if isinstance(value, Path):
        return {"path": paths.encode(os.fsencode(kept(value)))}
    if isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
        return {"text": paths.encode(os.fsencode(value))}
    if isinstance(value, list | tuple):
        return [_recorded(each) for each in value]
    return value


def _typed(value: Any) -> Any:
    if isinstance(value, dict):
        ((kind, text),) = value.items()
        plain = os.fsdecode(paths.decode(text))
        return Path(plain) if kind == "path" else plain
    return [_typed(each) for each in value] if isinstance(value, list) else value

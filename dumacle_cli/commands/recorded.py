"""What was typed, as a JSON document that is kept with a run, so that the run can be repeated."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dumacle_cli import paths

STANDARD_INPUT = "-"


def recorded(given: Mapping[str, Any], without: tuple[str, ...]) -> dict[str, Any]:
    """Return parameters as JSON values; paths become absolute, except that of standard input."""
    return {name: _recorded(value) for name, value in given.items() if name not in without}


def typed(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a document as they were typed."""
    return {name: _typed(value) for name, value in document.items()}


def _recorded(value: Any) -> Any:
    if isinstance(value, Path):
        absolute = value if str(value) == STANDARD_INPUT else value.absolute()
        return {"path": paths.encode(os.fsencode(absolute))}
    if isinstance(value, list | tuple):
        return [_recorded(each) for each in value]
    return value


def _typed(value: Any) -> Any:
    if isinstance(value, dict):
        return Path(os.fsdecode(paths.decode(value["path"])))
    return [_typed(each) for each in value] if isinstance(value, list) else value

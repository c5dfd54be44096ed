"""The presets that every installation begins with, and changed ones."""

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

from dumacle_cli.services import definitions
from dumacle_cli.services.definitions import Preset
from dumacle_cli.store import schema


@cache
def _made() -> list[dict[str, Any]]:
    spec = importlib.util.spec_from_file_location("made", Path(schema.folder(), "versions", "0034_presets.py"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made: list[dict[str, Any]] = module.PRESETS
    return made


def document(name: str, /, **changed: Any) -> dict[str, Any]:
    """Return the definition of one of the first presets; nested fields are changed one by one."""
    found = next(dict(each) for each in _made() if each["name"] == name)
    return found | {
        field: {**found[field], **value} if isinstance(value, dict) else value for field, value in changed.items()
    }


def defined(name: str, /, **changed: Any) -> Preset:
    """Return one of the first presets."""
    return definitions.parse(document(name, **changed))

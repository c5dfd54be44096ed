"""Results as plain values, for JSON, CSV and stored operations."""

import json
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints
from uuid import UUID


def plain(value: object, *, keep_secrets: bool = True) -> Any:
    """Turn a result into dicts, lists, strings and numbers; times become ISO 8601 in UTC, bytes hexadecimal."""
    if is_dataclass(value) and not isinstance(value, type):
        hidden = frozenset() if keep_secrets else marked(type(value), "secret")
        return {
            field.name: None if field.name in hidden else plain(getattr(value, field.name), keep_secrets=keep_secrets)
            for field in fields(value)
        }
    if isinstance(value, dict):
        return {str(key): plain(item, keep_secrets=keep_secrets) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item, keep_secrets=keep_secrets) for item in value]
    return _scalar(value)


def _scalar(value: object) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, UUID | Path):
        return str(value)
    return value


def dumped(value: Any) -> str:
    """Write JSON in one line of ASCII without control characters."""
    return json.dumps(value, ensure_ascii=True, default=str).replace("\x7f", "\\u007f")


@cache
def marked(kind: type, mark: str) -> frozenset[str]:
    """Return the fields of a dataclass that are annotated with this mark, such as `bytes` or `secret`."""
    hints = get_type_hints(kind, include_extras=True)
    return frozenset(name for name, hint in hints.items() if mark in _marks(hint))


def _marks(hint: Any) -> set[Any]:
    """Collect the Annotated marks of a type, through unions such as `Bytes | None`."""
    marks = {mark for mark in getattr(hint, "__metadata__", ()) if isinstance(mark, str)}
    if get_origin(hint) is not None and get_origin(hint) not in (list, dict, tuple):
        for part in get_args(hint):
            marks |= _marks(part)
    return marks

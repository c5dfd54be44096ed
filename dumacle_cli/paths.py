"""Paths as text that PostgreSQL can hold: bytes that are not UTF-8, control characters and backslashes are escaped."""

import os
import re

from dumacle_cli.escapes import meant, readings

_ESCAPE = re.compile(r"\\(\\|x[0-9a-f]{2})")
# Controls, marks that turn the direction of a line, and surrogates. A list of our own: what Python calls printable
# changes with its version, and the same tree must have the same paths everywhere.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


_BARE_BACKSLASH = re.compile(r"\\(?!\\|x[0-9a-f]{2})")


def typed(path: str) -> list[str]:
    """Return the stored paths that may be meant: as a table or JSON shows it, or as the system writes it."""
    system = [] if _is_stored(path) else [encode(path)]
    return list(dict.fromkeys([*readings(path), *system]))


def beginning(path: str) -> str:
    """Return the beginning of stored paths that is meant, typed as a table shows it or as the system writes it."""
    if _is_stored(path):
        return path
    return meant(path) if meant(path) != path and not _UNSAFE.search(path) else encode(path)


def _is_stored(path: str) -> bool:
    """Tell whether a path could stand in a row as it is."""
    return not _UNSAFE.search(path) and not _BARE_BACKSLASH.search(path.replace("\\\\", ""))


def encode(name: str | bytes) -> str:
    r"""Turn a path of the system into text: NUL-free valid Unicode where `\xNN` is a byte and `\\` a backslash."""
    raw = os.fsencode(name).replace(b"\\", b"\\\\")
    return _UNSAFE.sub(_escaped, raw.decode("utf-8", "surrogateescape"))


def _escaped(found: re.Match[str]) -> str:
    return "".join(f"\\x{byte:02x}" for byte in found[0].encode("utf-8", "surrogateescape"))


def decode(text: str) -> bytes:
    """Turn such text into the bytes of the path again."""
    parts: list[bytes] = []
    position = 0
    for match in _ESCAPE.finditer(text):
        parts.append(text[position : match.start()].encode())
        parts.append(b"\\" if match[1] == "\\" else bytes([int(match[1][1:], 16)]))
        position = match.end()
    return b"".join([*parts, text[position:].encode()])

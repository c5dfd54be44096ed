"""Paths as text that PostgreSQL can store: escapes control characters, backslashes and bytes that are not UTF-8."""

import os
import re

from dumacle_cli.escapes import readings, unescape

_ESCAPE = re.compile(r"\\(\\|x[0-9a-f]{2})")
# Control characters, marks that change the text direction, and surrogates. Not `str.isprintable`: that changes with
# the version of Python, and the same tree must have the same paths everywhere.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


_BARE_BACKSLASH = re.compile(r"\\(?!\\|x[0-9a-f]{2})")


def typed(path: str) -> list[str]:
    """Return the stored paths that a typed path can mean: as tables and JSON show it, or as the system writes it."""
    system = [] if _is_stored(path) else [encode(path)]
    return list(dict.fromkeys([*readings(path), *system]))


def beginning(path: str) -> str:
    """Return the stored form of a typed path prefix, as tables show it or as the system writes it."""
    if _is_stored(path):
        return path
    return unescape(path) if unescape(path) != path and not _UNSAFE.search(path) else encode(path)


def _is_stored(path: str) -> bool:
    """Return whether a path could be a stored path as it is."""
    return not _UNSAFE.search(path) and not _BARE_BACKSLASH.search(path.replace("\\\\", ""))


def encode(name: str | bytes) -> str:
    r"""Encode a path of the system as text: valid Unicode without NUL, where `\xNN` is a byte and `\\` a backslash."""
    raw = os.fsencode(name).replace(b"\\", b"\\\\")
    return _UNSAFE.sub(_escaped, raw.decode("utf-8", "surrogateescape"))


def _escaped(found: re.Match[str]) -> str:
    return "".join(f"\\x{byte:02x}" for byte in found[0].encode("utf-8", "surrogateescape"))


def decode(text: str) -> bytes:
    """Turn the text of `encode` back into the bytes of the path."""
    parts: list[bytes] = []
    position = 0
    for match in _ESCAPE.finditer(text):
        parts.append(text[position : match.start()].encode())
        parts.append(b"\\" if match[1] == "\\" else bytes([int(match[1][1:], 16)]))
        position = match.end()
    return b"".join([*parts, text[position:].encode()])

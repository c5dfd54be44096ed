"""Paths as text that PostgreSQL can store: control characters, backslashes and non-UTF-8 bytes are escaped."""

import os
import re

from dumacle_cli.escapes import readings, unescape

PART = re.compile(rb"\.dumacle-[0-9a-f]{16}\.part")
"""The names of part files of downloads."""
_ESCAPE = re.compile(r"\\(\\|x[0-9a-f]{2})")
# Control characters, marks that change the text direction, and surrogates. Not `str.isprintable`: that changes with
# the version of Python, and the same tree must have the same paths everywhere.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def is_part(path: bytes) -> bool:
    """Return whether a path on disk has the name of a part file of a download."""
    return path.endswith(b".part") and PART.fullmatch(path.rpartition(b"/")[2]) is not None


def in_pod(given: str) -> str:
    """Return the stored form of a path in a pod that a person gave; raises ValueError for . or .. as a folder."""
    parts = [part for part in given.split("/") if part]
    if any(part in (".", "..") for part in parts):
        raise ValueError("it must not contain . or .. as a folder")
    return "/".join(map(encode, parts))


def candidates(path: str) -> list[str]:
    """Return the stored paths that a path argument may denote: in escaped form (as in output), or as on disk."""
    encoded = [] if _is_escaped(path) else [encode(path)]
    return list(dict.fromkeys([*readings(path), *encoded]))


def stored_prefix(path: str) -> str:
    """Return the stored form of a prefix argument, in escaped form (as in output) or as on disk."""
    if _is_escaped(path):
        return path
    return unescape(path) if unescape(path) != path and not _UNSAFE.search(path) else encode(path)


def _is_escaped(path: str) -> bool:
    """Return whether this can be a stored path: encoding what it stands for gives the same text."""
    return not _UNSAFE.search(path) and encode(decode(path)) == path


def encode(name: str | bytes) -> str:
    r"""Encode a path on disk as text: valid Unicode without NUL, where `\xNN` is a byte and `\\` a backslash."""
    raw = os.fsencode(name).replace(b"\\", b"\\\\")
    return _UNSAFE.sub(_escaped, raw.decode("utf-8", "surrogateescape"))


def _escaped(found: re.Match[str]) -> str:
    return "".join(f"\\x{byte:02x}" for byte in found[0].encode("utf-8", "surrogateescape"))


def decode(text: str) -> bytes:
    """Decode the text of `encode` to the bytes of the path."""
    parts: list[bytes] = []
    position = 0
    for match in _ESCAPE.finditer(text):
        parts.append(text[position : match.start()].encode())
        parts.append(b"\\" if match[1] == "\\" else bytes([int(match[1][1:], 16)]))
        position = match.end()
    return b"".join([*parts, text[position:].encode()])

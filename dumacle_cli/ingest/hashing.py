"""Hashing: read source files before they are uploaded."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass

from dumacle_cli.ingest.content import HEAD, content_type
from dumacle_cli.ingest.items import Item
from dumacle_cli.ingest.scan import mtime, opened

_BLOCK = 1024**2


class Halted(Exception):
    """The run is ending, so hashing was stopped."""


@dataclass(frozen=True, slots=True)
class Hashed:
    """What a file contains: its SHA-256 and its media type."""

    sha256: bytes
    content_type: str


def digest(source: bytes, halted: Callable[[], bool]) -> bytes:
    """Return the SHA-256 of a file; raises OSError, and Halted as soon as `halted` returns true."""
    return _read(source, halted)[0]


def hashed(item: Item, halted: Callable[[], bool]) -> Hashed | None:
    """Hash a file, and find out its type; None if it is no longer what was scanned. Raises as `digest` does."""
    sha256, head, status = _read(item.source, halted)
    if (status.st_size, mtime(status)) != (item.size, item.mtime_ns):
        return None
    return Hashed(sha256, item.content_type or content_type(item.path, head))


def _read(source: bytes, halted: Callable[[], bool]) -> tuple[bytes, bytes, os.stat_result]:
    """Return the SHA-256 of a file, its first bytes, and its status after it was read."""
    sha256, head = hashlib.sha256(), b""
    with opened(source) as handle:
        while block := handle.read(_BLOCK):
            if halted():
                raise Halted
            head = head or block[:HEAD]
            sha256.update(block)
        return sha256.digest(), head, os.fstat(handle.fileno())

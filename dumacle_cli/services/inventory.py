"""Inventories: an object beside those of a rendition that lists them, with sizes and hashes.

The rendition's row has the SHA-256 of the inventory, so that everything that was published can be proven from the row.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

NAME = "inventory.json"
SCHEMA = "dumacle.inventory.v1"


@dataclass(frozen=True, slots=True)
class Listed:
    """One object of a rendition by its path below the prefix; sha256 in hexadecimal digits."""

    name: str
    size: int
    sha256: str


def written(folder: Path, names: Sequence[str]) -> str:
    """Write the inventory of these files of a folder beside them, and return its SHA-256 in hexadecimal digits."""
    listed = [asdict(_listed(folder, name)) for name in names]
    body = json.dumps({"schema": SCHEMA, "objects": listed}).encode()
    (folder / NAME).write_bytes(body)
    return hashlib.sha256(body).hexdigest()


def _listed(folder: Path, name: str) -> Listed:
    path = folder / name
    with path.open("rb") as file:
        return Listed(name, path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def read(body: bytes, sha256: bytes) -> list[Listed] | None:
    """Return what an inventory lists, or None if it is not the one with this hash."""
    if hashlib.sha256(body).digest() != sha256:
        return None
    return [Listed(**each) for each in json.loads(body)["objects"]]

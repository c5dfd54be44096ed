"""One stream as a file: its size is unknown, so it is copied to a private temporary file before it is uploaded."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from dumacle_cli.errors import UploadIncomplete, UploadRefused
from dumacle_cli.units import show_size

_CHUNK = 1024**2


@contextmanager
def spooled(stream: BinaryIO, name: str, limit: int, *, allow_empty: bool) -> Iterator[bytes]:
    """Copy a stream to a temporary file, which is removed at the end, and return its path.

    Raises UploadRefused above `limit` bytes, and UploadIncomplete for an empty stream unless that is allowed.
    """
    with tempfile.NamedTemporaryFile(prefix="dumacle-") as file:
        size = 0
        while chunk := stream.read(_CHUNK):
            size += len(chunk)
            if size > limit:
                first = f"{name}: standard input is longer than the limit of {show_size(limit)}"
                raise UploadRefused(count=1, first=first, advice="raise the setting max_file_size")
            file.write(chunk)
        if not size and not allow_empty:
            first = f"{name}: standard input is empty"
            raise UploadIncomplete(count=1, first=first, advice="check the command before the pipe, or --allow-empty")
        file.flush()
        yield os.fsencode(file.name)

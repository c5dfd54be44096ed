"""How much of a source FFmpeg could not decode, as FFmpeg itself counts it in its messages."""

import re
from typing import IO

STREAM = re.compile(rb"Input stream #(\S+) \((video|audio)\): .* (\d+) frames decoded; (\d+) decode errors")
CORRUPT = re.compile(rb"^\[[va]ist#([\d:]+)/.*corrupt decoded frame")


def measure(said: IO[bytes], lead: int) -> float:
    """Return the share of pictures or of blocks of sound that were damaged, 0 to 1, whichever is larger.

    The `lead` pictures before the first key frame cannot be decoded, and do not count.
    """
    corrupt: dict[bytes, int] = {}
    shares = [0.0]
    said.seek(0)
    for line in said:
        if found := CORRUPT.search(line):
            corrupt[found[1]] = corrupt.get(found[1], 0) + 1
        elif found := STREAM.search(line):
            decoded, errors = int(found[3]), int(found[4])
            wrong = errors + corrupt.get(found[1], 0) - (lead if found[2] == b"video" else 0)
            shares.append(max(0, wrong) / max(1, decoded + errors))
    return max(shares)

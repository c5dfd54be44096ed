"""What the demo creates, by name, and what it reports."""

from dataclasses import dataclass

from dumacle_cli.output.steps import Step
from dumacle_cli.units import Bytes

OPERATOR = "operator@example.com"
USER = "ada@example.com"
POD = "demo"
PLAN = "demo"
SMALL_PLAN = "demo-small"
"""The user's first plan; it holds all files but the largest."""


@dataclass(frozen=True, slots=True)
class Demo:
    """What the demo did; in a dry run, what cannot be known in advance is null.

    `folder` holds the data of the embedded servers.

    `refused` counts the files that the first plan had no room for, `uploaded` those that were uploaded, and `repeated`
    those that were uploaded again. `sha256` is the film's, equal at the source, behind the link and in the download.
    `transcoded` says whether a worker had to make HLS of `video`; `played` counts the objects that the link to it led
    to, of `played_size` bytes in all. Without a video that can be transcoded, these four are null.
    """

    source: str
    files: int | None
    size: Bytes | None
    refused: int | None
    uploaded: int | None
    repeated: int | None
    film: str | None
    sha256: str | None
    video: str | None
    transcoded: bool | None
    played: int | None
    played_size: Bytes | None
    steps: list[Step]
    folder: str
    operator: str = OPERATOR
    user: str = USER
    first_plan: str = SMALL_PLAN
    plan: str = PLAN
    pod: str = POD


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, such as `2 files`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"

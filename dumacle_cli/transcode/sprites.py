"""Sprites: pictures of a film in one image, and the WebVTT that tells players which part is shown at what time."""

import math
from dataclasses import dataclass
from fractions import Fraction

from dumacle_cli.services.definitions import Sprite
from dumacle_cli.transcode.ladder import Rung, even
from dumacle_cli.transcode.probe import Media
from dumacle_cli.transcode.webvtt import clock

IMAGE = "sprite.jpg"
COLUMNS, MOST = 10, 500


@dataclass(frozen=True, slots=True)
class Grid:
    """Where the pictures are: one of every `step` pictures of a film at `fps`, row by row, each of this size."""

    count: int
    step: int
    fps: Fraction
    width: int
    height: int

    @property
    def columns(self) -> int:
        """The number of pictures in a row."""
        return min(COLUMNS, self.count)

    @property
    def rows(self) -> int:
        """The number of rows, of which the last may have fewer pictures."""
        return math.ceil(self.count / COLUMNS)

    @property
    def image(self) -> Rung:
        """The size of the whole image."""
        return Rung("sprite", self.columns * self.width, self.rows * self.height)

    def time(self, number: int) -> Fraction:
        """Return when the film shows a picture, in seconds."""
        return number * self.step / self.fps

    def place(self, number: int) -> tuple[int, int]:
        """Return the column and the row of a picture."""
        return number % COLUMNS, number // COLUMNS


def grid(media: Media, preset: Sprite) -> Grid:
    """Return the grid for a film."""
    step = max(round(preset.seconds * media.fps), math.ceil(media.frames / MOST), 1)
    scale = min(1.0, preset.size / max(media.width, media.height))
    width, height = (even(round(side * scale)) for side in (media.width, media.height))
    return Grid(math.ceil(media.frames / step), step, media.fps, width, height)


def index(made: Grid, duration: float) -> str:
    """Return the WebVTT: for each picture the time it stands for, and its part of the image."""
    lines = ["WEBVTT", ""]
    for number in range(made.count):
        column, row = made.place(number)
        until = min(float(made.time(number + 1)), duration)
        part = f"{column * made.width},{row * made.height},{made.width},{made.height}"
        lines += [f"{clock(float(made.time(number)))} --> {clock(until)}", f"{IMAGE}#xywh={part}", ""]
    return "\n".join(lines)

"""FFmpeg's progress reports: the percentage, and whether FFmpeg stalls."""

import time
from collections.abc import Callable

from dumacle_cli.errors import ToolFailed
from dumacle_cli.transcode.limits import Limits
from dumacle_cli.transcode.probe import Media

ENCODED = 97
"""The progress at which FFmpeg is done; the rest is verification."""


class Watch:
    """Follows one run of FFmpeg; calls `progress` with whole percents, each larger than the one before."""

    def __init__(self, media: Media, by_frames: bool, limits: Limits, progress: Callable[[int], None]) -> None:
        # Frames of the first output if there is a picture: with several outputs FFmpeg's time is not reliable.
        self._measure = b"frame" if by_frames else b"out_time_us"
        self._goal = max(1, media.frames if by_frames else round(media.sound_seconds * 1_000_000))
        self._wall, self._stall = limits.wall_seconds(media.duration), limits.stall_seconds
        self._progress = progress
        self._began = self._moved = time.monotonic()
        self._done = 0
        self._percent = -1
        self._rest = b""

    def take(self, report: bytes) -> None:
        """Add output of FFmpeg's progress pipe."""
        *lines, self._rest = (self._rest + report).split(b"\n")
        for line in lines:
            name, _, value = line.partition(b"=")
            if name == self._measure and value.strip().isdigit() and int(value) > self._done:
                self._done, self._moved = int(value), time.monotonic()
                self.tell(min(ENCODED, self._done * ENCODED // self._goal))

    def tell(self, percent: int) -> None:
        """Report `percent` if it is more than was reported before."""
        if percent > self._percent:
            self._percent = percent
            self._progress(percent)

    def check(self) -> None:
        """Raise ToolFailed if FFmpeg stalls or takes too long."""
        now = time.monotonic()
        # After the last pictures FFmpeg moves the index to the front of the file, without reports.
        if self._percent < ENCODED - 1 and now - self._moved > self._stall:
            raise ToolFailed(tool="FFmpeg", reason=f"no progress for {self._stall:g} s")
        if now - self._began > self._wall:
            raise ToolFailed(tool="FFmpeg", reason=f"not finished within {self._wall:.0f} s")

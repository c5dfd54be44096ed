"""The source as FFmpeg itself plays it: its own choice, cropping, rotation, pixel shape and joined tiles.

Sizes follow from it, and outputs are compared with it; nothing of how outputs are encoded is used here.
"""

import re
import tempfile
import threading
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from dumacle_cli.errors import BadMedia
from dumacle_cli.local import ffmpeg_graphs as graphs
from dumacle_cli.transcode import child
from dumacle_cli.transcode.limits import Limits

FLAGS = ("-hide_banner", "-nostdin", "-v", "level+error")
TALKATIVE = (*FLAGS[:-1], "level+info")
# Its colours are in a space of Dolby's own, and nothing in it says how to leave that without Dolby's metadata.
DOLBY = re.compile(rb"DOVI configuration record: .* profile: 5,")
PICTURE: graphs.Options = {"an": None, "sn": None, "dn": None, "frames:v": 1, "fps_mode": "passthrough"}
SHAPE, LUMA, LEVELS = "shape", "luma", "levels"
SAMPLES = 48_000
LEVEL = "lavfi.astats.Overall.RMS_level"
SILENCE = -120.0
TILES = "g:0"
"""FFmpeg's name of a photo that is stored in tiles."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file, and what FFmpeg takes of it: `chosen` is a stream's number, or empty for FFmpeg's own choice."""

    path: Path
    chosen: str
    tiled: bool


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture at `at` seconds; `shape` is width by height, and `luma` has a byte for each pixel of the canvas."""

    at: Fraction
    shape: Fraction
    luma: bytes


class Reference:
    """Decodes pictures of one source with FFmpeg."""

    def __init__(self, ffmpeg: Path, source: Source, limits: Limits, stop: threading.Event | None) -> None:
        self._ffmpeg, self._source, self._limits, self._stop = ffmpeg, source, limits, stop

    def size(self, *, turned: bool) -> tuple[int, int]:
        """Return the displayed size of the first picture, in square pixels; raises BadMedia, Stopped.

        Of pixels that are not square, the side that was the width before it was `turned` is changed. Dolby Vision of
        profile 5 is refused.
        """
        with tempfile.TemporaryDirectory() as folder:
            if DOLBY.search(self._run(Path(folder), {}, [_shape({})], TALKATIVE)):
                raise BadMedia(
                    reason="its video is Dolby Vision profile 5, whose colours other players show green and purple;"
                    " export it as HDR10, HLG or SDR, and upload that"
                )
            _, width, height, shape = _read(Path(folder, SHAPE))
        return (width, round(height / shape)) if turned else (round(width * shape), height)

    def picture(self, at: Fraction, canvas: tuple[int, int], *, seek: bool = True) -> Picture:
        """Return the first picture at or after `at`, scaled to `canvas`; raises BadMedia if there is none, Stopped.

        Without `seek` everything before it is decoded: slow, but right where seeking is inexact.
        """
        options = {"ss": _seconds(at)} if seek else {}
        chain = {} if seek or self._source.tiled else {"vf": f"trim=start={_seconds(at)}"}
        outputs = [_shape(chain), _luma(chain, canvas)]
        with tempfile.TemporaryDirectory() as folder:
            # FFmpeg joins tiles for one output only.
            for part in [[each] for each in outputs] if self._source.tiled else [outputs]:
                self._run(Path(folder), options, part)
            passed, width, height, shape = _read(Path(folder, SHAPE))
            at = passed + at if seek else passed
            return Picture(at, width * shape / height, Path(folder, LUMA).read_bytes())

    def levels(self, stream: str, path: Path | None = None) -> list[float]:
        """Return how loud each second is, in dB below the loudest possible, of this source or of another file."""
        opened = graphs.read(path or self._source.path, self._limits.input_options)
        sound = opened[stream].filter("aresample", **{"async": 1, "first_pts": 0})
        seconds = sound.filter("aformat", sample_rates=SAMPLES, channel_layouts="stereo").filter(
            "asetnsamples", n=SAMPLES
        )
        measured = seconds.filter("astats", metadata=1, reset=1, measure_perchannel="none", measure_overall="RMS_level")
        told = measured.filter("ametadata", mode="print", key=LEVEL, file=LEVELS)
        with tempfile.TemporaryDirectory() as folder:
            command = graphs.command(self._ffmpeg, FLAGS, [graphs.write("nothing", [told], {"f": "null"})])
            child.run(command, path or self._source.path, Path(folder), self._limits, self._stop)
            text = Path(folder, LEVELS).read_text()
        return [max(SILENCE, float(line.partition("=")[2])) for line in text.splitlines() if line.startswith(LEVEL)]

    def _run(
        self,
        folder: Path,
        options: graphs.Options,
        outputs: list[tuple[str, graphs.Options]],
        flags: tuple[str, ...] = FLAGS,
    ) -> bytes:
        opened = graphs.read(self._source.path, {**self._limits.input_options, **options})
        stream = opened[self._source.chosen] if self._source.chosen else opened
        files = [graphs.write(name, [stream], written) for name, written in outputs]
        command = graphs.command(self._ffmpeg, flags, files)
        return child.run(command, self._source.path, folder, self._limits, self._stop)


def _shape(chain: graphs.Options) -> tuple[str, graphs.Options]:
    return SHAPE, {**PICTURE, **chain, "f": "framecrc"}


def _luma(chain: graphs.Options, canvas: tuple[int, int]) -> tuple[str, graphs.Options]:
    scaled = {"s": f"{canvas[0]}x{canvas[1]}", "sws_flags": "area", "pix_fmt": "gray", "f": "rawvideo"}
    return LUMA, {**PICTURE, **chain, **scaled}


def _seconds(at: Fraction) -> str:
    return f"{float(at):.6f}"


def _read(shape: Path) -> tuple[Fraction, int, int, Fraction]:
    """Return the time of the picture in seconds, its width and height, and the width of a pixel by its height."""
    lines = shape.read_text().splitlines()
    told = dict(line[1:].split(": ") for line in lines if line.startswith("#"))
    times = [line.split(",")[2] for line in lines if not line.startswith("#")]
    if not times:
        raise BadMedia(reason="its video cannot be decoded")
    width, height = (int(side) for side in told["dimensions 0"].split("x"))
    wide, high = (int(side) for side in told["sar 0"].split("/"))
    return int(times[0]) * Fraction(told["tb 0"]), width, height, Fraction(wide, high) if wide else Fraction(1)

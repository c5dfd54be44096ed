"""How much an encoded film looks like its source: VMAF, or XPSNR where FFmpeg has no VMAF."""

import json
import os
import re
import statistics
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dumacle_cli.local import ffmpeg as programs
from dumacle_cli.local import ffmpeg_graphs as graphs
from dumacle_cli.local.ffmpeg_graphs import Options, Stream
from dumacle_cli.transcode import child
from dumacle_cli.transcode.arguments import constant_rate, scaled
from dumacle_cli.transcode.ladder import Rung, even
from dumacle_cli.transcode.limits import Limits
from dumacle_cli.transcode.probe import Media

Metric = Literal["VMAF", "XPSNR"]
PICTURES = 300
"""At most so many pictures of a film are compared, spread evenly."""
FLAGS = ("-hide_banner", "-nostdin", "-v", "level+error")
SCORES = "scores"
_XPSNR = re.compile(r"^n: .*?XPSNR y: *(\S+)", re.MULTILINE)
IDENTICAL = 100.0
"""The XPSNR (dB) of a picture that is the source's, instead of an infinite one."""


@dataclass(frozen=True, slots=True)
class Scores:
    """The mean over the pictures that were compared, and the score that 99 % of them reach."""

    mean: float
    low: float
    pictures: int


def metric(ffmpeg: Path) -> Metric:
    """Return what an FFmpeg measures with; raises ToolFailed."""
    return "VMAF" if programs.has_filter(ffmpeg, "libvmaf") else "XPSNR"


def measure(
    ffmpeg: Path,
    source: Path,
    media: Media,
    output: Path,
    by: Metric,
    limits: Limits,
    stop: threading.Event | None = None,
) -> Scores:
    """Compare an encoded film, in a folder of its own, with its source at the source's size; raises BadMedia, Stopped.

    Both are compared picture by picture: the source as it is encoded, at a constant rate and in the output's colours.
    """
    size = Rung("source", even(media.width), even(media.height))
    encoded = graphs.read(output, limits.input_options)["v:0"].filter("scale", w=size.width, h=size.height)
    encoded = encoded.filter("format", pix_fmts="yuv420p").filter("setsar", sar=1)
    inputs = graphs.read(source, limits.input_options)
    shown = scaled(constant_rate(inputs[media.picture], media), media, size)
    compared = _compared(_numbered(encoded, media), _numbered(shown, media), by, -(-media.frames // PICTURES))
    command = graphs.command(ffmpeg, FLAGS, [graphs.write("nothing", [compared], {"f": "null"})])
    child.run(command, source, output.parent, limits, stop)
    found = sorted(_scores(output.with_name(SCORES).read_text(), by))
    return Scores(statistics.fmean(found), found[len(found) // 100], len(found))


def _numbered(stream: Stream, media: Media) -> Stream:
    """Give pictures times by their number, so that the same ones meet however the times were rounded."""
    seconds = 1 / media.fps
    times = f"N*{seconds.numerator}/({seconds.denominator}*TB)"
    return stream.filter("settb", expr="AVTB").filter("setpts", expr=times)


def _compared(encoded: Stream, shown: Stream, by: Metric, every: int) -> Stream:
    if by == "VMAF":
        logged: Options = {
            "log_path": SCORES,
            "log_fmt": "json",
            "n_subsample": every,
            "n_threads": os.cpu_count() or 1,
        }
        return graphs.compare(encoded, shown, "libvmaf", **logged, shortest=1)
    one, other = (stream.filter("select", expr=f"not(mod(n,{every}))") for stream in (encoded, shown))
    return graphs.compare(one, other, "xpsnr", stats_file=SCORES, shortest=1)


def _scores(text: str, by: Metric) -> list[float]:
    if by == "VMAF":
        return [float(each["metrics"]["vmaf"]) for each in json.loads(text)["frames"]]
    return [min(IDENTICAL, float(each)) for each in _XPSNR.findall(text)]

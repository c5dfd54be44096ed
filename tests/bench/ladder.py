"""Bytes and quality of HLS, beside the same sizes at Apple's bit rates: `python -m tests.bench.ladder FILE...`.

Quality is VMAF as `dumacle transcode report` measures it. Each line has bytes as a multiple of the source's file.
"""

import subprocess
import sys
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

from dumacle_cli.errors import BadMedia
from dumacle_cli.local import ffmpeg
from dumacle_cli.transcode import quality
from dumacle_cli.transcode.arguments import gop, rungs
from dumacle_cli.transcode.encode import encode
from dumacle_cli.transcode.ladder import Rung
from dumacle_cli.transcode.limits import Limits
from dumacle_cli.transcode.probe import Media, probe
from tests.presets import defined


def run(*arguments: object) -> None:
    """Run FFmpeg."""
    subprocess.run([str(ffmpeg.locate()), "-v", "error", "-nostdin", "-y", *map(str, arguments)], check=True)


def by_table(source: Path, media: Media, rung: Rung, out: Path) -> None:
    """Encode one size at Apple's average bit rate."""
    apple = rungs(replace(media, bitrate=0), defined("hls"))
    rate = next(each.bitrate for each in apple if each.name == rung.name)
    rates = ("-b:v", rate, "-maxrate", rate * 3 // 2, "-bufsize", rate * 2)
    keys = ("-g", gop(media.fps), "-keyint_min", gop(media.fps), "-sc_threshold", 0)
    steady = f"fps={media.fps}:start_time=0,scale={rung.width}:{rung.height},format=yuv420p"
    run("-i", source, "-an", "-vf", steady, "-c:v", "libx264", "-preset", "veryfast", *rates, *keys, out)


def joined(folder: Path) -> Path:
    """Join the segments of one size to a file in a folder of its own."""
    output = folder / "joined" / "film.mp4"
    output.parent.mkdir()
    parts = (folder / "init.mp4", *sorted(folder.glob("*.m4s")))
    output.write_bytes(b"".join(part.read_bytes() for part in parts))
    return output


def score(source: Path, media: Media, output: Path) -> float:
    """Return how much an output looks like its source, 0 to 100."""
    return quality.measure(ffmpeg.locate(), source, media, output, "VMAF", Limits()).mean


def measure(source: Path, folder: Path) -> None:
    """Print a line for each rung, and the sum."""
    media = probe(ffmpeg.locate(), source, Limits())
    out = folder / "out"
    out.mkdir()
    encoded = encode(ffmpeg.locate(), source, media, defined("hls"), out, Limits(), lambda _: None, threading.Event())
    total, ours, theirs = source.stat().st_size, 0, 0
    print(f"{source.name}: {media.width}x{media.height}, {media.duration:.1f} s, {media.bitrate / 1000:.0f} kbit/s")
    for rung in rungs(media, defined("hls")):
        table = folder / f"{rung.name}.mp4"
        by_table(source, media, rung, table)
        size = sum(path.stat().st_size for path in (out / rung.name).glob("*.m*4*"))
        ours, theirs = ours + size, theirs + table.stat().st_size
        scores = score(source, media, table), score(source, media, joined(out / rung.name))
        print(
            f"  {rung.name:>6}: bytes {table.stat().st_size / total:5.2f} -> {size / total:5.2f},"
            f" VMAF {scores[0]:5.1f} -> {scores[1]:5.1f}",
            flush=True,
        )
    print(f"     all: bytes {theirs / total:5.2f} -> {ours / total:5.2f}; {len(encoded.files)} files", flush=True)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as scratch:
            try:
                measure(Path(name), Path(scratch))
            except BadMedia as bad:
                print(f"{name}: {bad}")

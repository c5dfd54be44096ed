"""An HLS ladder of 1080p beside the same one by hand, in one process of FFmpeg: wall and CPU time.

    python -m tests.bench.by_hand [--seconds 180] [--rounds 3]

Goal: at most 1.05 times. Ours includes what FFmpeg by hand does not do: probing, reading everything back, and
comparing it with the source, all confined. Measure while nothing else runs.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from dumacle_cli.local import ffmpeg
from dumacle_cli.transcode.arguments import rungs
from dumacle_cli.transcode.encode import encode
from dumacle_cli.transcode.limits import Limits
from dumacle_cli.transcode.probe import probe
from tests.bench.measure import Run, interleaved, run
from tests.presets import defined

SOURCE_RATE = "12M"
"""Usual for 1080p, so that no rung but the smallest is lean, and none is copied."""
SIZES = (
    *((416, 234, "145k", "290k"), (640, 360, "365k", "730k"), (768, 432, "730k", "1460k")),
    *((960, 540, "2000k", "4000k"), (1280, 720, "3000k", "6000k"), (1920, 1080, "6000k", "12000k")),
)
"""Width, height, highest bit rate and buffer of each rung, as in the preset hls."""


def make_source(target: Path, seconds: int) -> None:
    """Make a film with movement and grain, and a tone."""
    picture = f"testsrc2=size=1920x1080:rate=25:duration={seconds},noise=alls=12:allf=t"
    inputs = ("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", f"sine=duration={seconds}")
    video = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-b:v", SOURCE_RATE, "-c:a", "aac")
    subprocess.run([ffmpeg.locate(), "-v", "error", "-nostdin", *inputs, *video, "-shortest", target], check=True)


def by_hand(source: Path, out: Path) -> list[str]:
    """Return the command that somebody would type for the same ladder."""
    split = "[0:v]split=6" + "".join(f"[in{number}]" for number in range(6))
    scaled = [f"[in{number}]scale={wide}:{high}[out{number}]" for number, (wide, high, *_) in enumerate(SIZES)]
    command = [str(ffmpeg.locate()), "-v", "error", "-nostdin", "-i", str(source)]
    command += ["-filter_complex", ";".join((split, *scaled))]
    for number, (*_, rate, buffer) in enumerate(SIZES):
        command += ["-map", f"[out{number}]", f"-maxrate:v:{number}", rate, f"-bufsize:v:{number}", buffer]
    command += ["-map", "0:a:0", "-c:a", "aac", "-b:a", "128k", "-ac", "2", "-ar", "48000"]
    command += ["-c:v", "libx264", "-preset", "veryfast", "-preset:v:0", "medium", "-profile:v", "high", "-crf", "20"]
    command += ["-pix_fmt", "yuv420p"]
    command += ["-g", "50", "-keyint_min", "50", "-sc_threshold", "0"]
    command += ["-f", "hls", "-hls_time", "6", "-hls_playlist_type", "vod", "-hls_segment_type", "fmp4"]
    command += ["-hls_flags", "independent_segments", "-master_pl_name", "master.m3u8"]
    variants = " ".join((*(f"v:{number},agroup:sound" for number in range(6)), "a:0,agroup:sound"))
    return [*command, "-var_stream_map", variants, "-hls_segment_filename", f"{out}/%v/%05d.m4s", f"{out}/%v/i.m3u8"]


def ours(source: Path, out: Path) -> None:
    """Encode as a worker does, between fetching the source and storing the result."""
    program, preset = ffmpeg.locate(), defined("hls")
    media = probe(program, source, Limits())
    made = [(rung.width, rung.height, rung.lean) for rung in rungs(media, preset) if not rung.copied]
    assert made == [(wide, high, number == 0) for number, (wide, high, *_) in enumerate(SIZES)], made
    encode(program, source, media, preset, out, Limits(), lambda _: None, threading.Event())


def measured(command: "list[str]", out: Path) -> Run:
    """Run a command that writes into an empty folder."""
    subprocess.run(["rm", "-rf", out], check=True)
    out.mkdir()
    return run(command)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=180)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--encode", nargs=2, type=Path, metavar=("SOURCE", "OUT"), help="only encode it, once")
    given = parser.parse_args()
    if given.encode:
        return ours(*given.encode)
    with tempfile.TemporaryDirectory() as folder:
        source, hand, own = Path(folder, "source.mp4"), Path(folder, "hand"), Path(folder, "own")
        make_source(source, given.seconds)
        typed = by_hand(source, hand)
        print(" ".join(f"'{word}'" if " " in word or ";" in word else word for word in typed), flush=True)
        itself = [sys.executable, "-m", "tests.bench.by_hand", "--encode", str(source), str(own)]
        runs = interleaved(given.rounds, by_hand=lambda: measured(typed, hand), dumacle=lambda: measured(itself, own))
        for name, made in (("by_hand", hand), ("dumacle", own)):
            wall = statistics.median(each.seconds for each in runs[name])
            cpu = statistics.median(each.cpu for each in runs[name])
            size = sum(path.stat().st_size for path in made.rglob("*.m4s")) / 1e6
            print(f"{name}: {wall:.1f} s, {cpu:.1f} s of CPU, {size:.1f} MB of segments")
        pairs = list(zip(runs["dumacle"], runs["by_hand"], strict=True))
        wall = statistics.median(one.seconds / other.seconds for one, other in pairs)
        cpu = statistics.median(one.cpu / other.cpu for one, other in pairs)
        print(f"wall {wall:.3f} x, CPU {cpu:.3f} x by hand")
    return None


if __name__ == "__main__":
    main()

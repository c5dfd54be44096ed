"""What becomes of a folder of real media: `python -m tests.bench.corpus FOLDER`, a table in Markdown.

Each file is transcoded with the first preset that takes it: hls, else poster, else audio. The result is then decoded to
its end by FFmpeg alone, and compared with what FFmpeg alone makes of the source: length, shape, and picture with sound.
"""

import re
import sys
import tempfile
import threading
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from dumacle_cli.errors import BadMedia, DumacleError
from dumacle_cli.local import ffmpeg
from dumacle_cli.transcode import child, tracks
from dumacle_cli.transcode.arguments import paced
from dumacle_cli.transcode.encode import Encoded, encode
from dumacle_cli.transcode.limits import Limits
from dumacle_cli.transcode.probe import Media, probe
from tests.presets import defined

PRESETS = ("hls", "poster", "audio")
LENGTH_TOLERANCE, SHAPE_TOLERANCE = 0.25, 0.03
TYPE = re.compile(rb"Input #0, ([\w,]+), from")


@dataclass(frozen=True, slots=True)
class Decoded:
    """A stream as FFmpeg plays it: from when to when in seconds, and of pictures their width by their height."""

    start: float
    end: float
    shape: float


def decode(path: Path, folder: Path, kind: str, *, strictly: bool = False) -> Decoded | None:
    """Decode the pictures (V) or sound (a) that FFmpeg chooses to the end; with `strictly` raise BadMedia at any error.

    Returns None if there is nothing.
    """
    flags = ["-v", "level+error", "-nostdin", *(["-xerror"] if strictly else [])]
    only = ["-vn" if kind == "a" else "-an", "-sn", "-dn"]
    command = [str(ffmpeg.locate()), *flags, "-i", str(path), *only, "-f", "framecrc", "decoded"]
    seen = folder / "decoded"
    seen.unlink(missing_ok=True)
    try:
        child.run(command, path.parent, folder, Limits())
    except BadMedia:
        if strictly or not seen.exists():
            raise
    lines = seen.read_text().splitlines() if seen.exists() else []
    told = dict(line[1:].split(": ") for line in lines if line.startswith("#") and ": " in line)
    times = [[int(word) for word in line.split(",")[2:4]] for line in lines if not line.startswith("#")]
    if not times:
        return None
    base = Fraction(told["tb 0"])
    end = max(at + length for at, length in times)
    return Decoded(float(min(times)[0] * base), float(end * base), _shape(told))


def _shape(told: dict[str, str]) -> float:
    if "dimensions 0" not in told:
        return 0.0
    width, height = (int(side) for side in told["dimensions 0"].split("x"))
    wide, high = (int(side) for side in told["sar 0"].split("/"))
    return width / height * (wide / high if wide else 1)


def described(path: Path, folder: Path) -> str:
    """Return what FFmpeg says that a file is."""
    command = [str(ffmpeg.locate()), "-nostdin", "-v", "info", "-hide_banner", "-i", str(path), "-t", "0"]
    said = child.run([*command, "-f", "null", "-"], path, folder, Limits())
    form = TYPE.search(said)
    streams = re.findall(rb"Stream #0:\d+\S*: (Video|Audio|Subtitle): (\w+)", said.partition(b"Output #0")[0])
    return ", ".join([form[1].decode() if form else "?", *(name.decode() for _, name in streams)])


def transcoded(source: Path, out: Path) -> tuple[Media, Encoded]:
    """Transcode with the first preset that takes a source; raises the refusal of the first one if none does."""
    media = probe(ffmpeg.locate(), source, Limits())
    refusals: list[BadMedia] = []
    for name in PRESETS:
        preset = defined(name)
        try:
            wanted = paced(media, preset)
            return media, encode(
                ffmpeg.locate(), source, wanted, preset, out, Limits(), lambda _: None, threading.Event()
            )
        except BadMedia as bad:
            refusals.append(bad)
    raise refusals[0]


def judged(source: Path, out: Path, encoded: Encoded, folder: Path) -> str:
    """Return what is wrong with a result by the rules of players, or how long its picture and sound are."""
    wrong: list[str] = []
    picture = heard = None
    paths = [out / encoded.entry] if encoded.kind != "hls" else sorted(out.glob("*/index.m3u8"))
    seen = decode(source, folder, "V") if encoded.width else None
    for path in paths:
        what = path.parent.name if encoded.kind == "hls" else encoded.entry
        if encoded.kind != "audio" and not what.startswith((tracks.SOUND, tracks.SURROUND)):
            picture = decode(path, folder, "V", strictly=True)
            if picture and seen and abs(picture.shape / seen.shape - 1) > SHAPE_TOLERANCE:
                wrong.append(f"{what} is {picture.shape:.2f}:1, and the source {seen.shape:.2f}:1")
        else:
            heard = decode(path, folder, "a", strictly=True)
    if picture and heard and abs(picture.end - heard.end) > LENGTH_TOLERANCE:
        wrong.append(f"the picture ends at {picture.end:.2f} s, the sound at {heard.end:.2f} s")
    told = [f"picture {picture.end:.2f} s" if picture else "", f"sound {heard.end:.2f} s" if heard else ""]
    told += [f"source {seen.end - seen.start:.2f} s" if seen and picture else ""]
    return "**" + "; ".join(wrong) + "**" if wrong else "right: " + ", ".join(filter(None, told))


def line(source: Path, folder: Path) -> str:
    """Return the line of one file."""
    work, out = folder / "work", folder / "out"
    work.mkdir()
    out.mkdir()
    what = described(source, work)
    try:
        media, encoded = transcoded(source, out)
    except DumacleError as refused:
        return f"| {source.name} | {what} | refused: {refused} | |"
    sizes = ", ".join(f"{rung['width']}x{rung['height']}" for rung in encoded.rungs)
    result = f"{encoded.kind} {sizes or (f'{encoded.width}x{encoded.height}' if encoded.width else '')}".strip()
    damaged = f", {100 * encoded.damaged:.2g} % damaged" if encoded.damaged else ""
    facts = f"{what}, {media.width}x{media.height}, {media.duration:.2f} s"
    return f"| {source.name} | {facts} | {result}{damaged} | {judged(source, out, encoded, work)} |"


def main() -> None:
    """Print the table."""
    print("| file | what it is | result | decoded by FFmpeg alone |\n|---|---|---|---|", flush=True)
    for source in sorted(path for path in Path(sys.argv[1]).iterdir() if path.is_file()):
        with tempfile.TemporaryDirectory() as folder:
            try:
                print(line(source, Path(folder)), flush=True)
            except (DumacleError, OSError) as error:
                print(f"| {source.name} | | **{error}** | |", flush=True)


if __name__ == "__main__":
    main()

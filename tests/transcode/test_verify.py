"""The proof: an output that is short, odd or tampered with is not taken for whole."""

import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dumacle_cli.errors import OutputBroken
from dumacle_cli.local import ffmpeg
from dumacle_cli.transcode.encode import encode
from dumacle_cli.transcode.probe import Media, probe
from dumacle_cli.transcode.verify import Proof, verify
from tests.presets import defined
from tests.transcode.conftest import LIMITS, run_ffmpeg

pytestmark = pytest.mark.integration
FILM = ("-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25:duration=8", "-f", "lavfi", "-i", "sine=duration=8")
FAST = ("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac")
RIGHT = (*FAST, "-pix_fmt", "yuv420p", "-g", "50", "-sc_threshold", "0", "-ac", "2", "-ar", "48000")


def check(out: Path, media: Media, preset: str) -> Proof:
    return verify(out, media, defined(preset), LIMITS, threading.Event())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Media]:
    """A whole HLS output, and what its source is."""
    folder = tmp_path_factory.mktemp("whole")
    source, out = folder / "film.mp4", folder / "out"
    run_ffmpeg(*FILM, *FAST, str(source))
    out.mkdir()
    media = probe(ffmpeg.locate(), source, LIMITS)
    encode(ffmpeg.locate(), source, media, defined("hls"), out, LIMITS, lambda _: None, threading.Event())
    return out, media


@pytest.fixture
def copy(whole: tuple[Path, Media], tmp_path: Path) -> tuple[Path, Media]:
    """The same, to be harmed."""
    return Path(shutil.copytree(whole[0], tmp_path / "copy")), whole[1]


def test_what_is_whole_is_proven(whole: tuple[Path, Media]) -> None:
    proof = check(*whole, "hls")
    assert [picture.frames for picture in proof.pictures] == [200, 200]
    assert [picture.seconds for picture in proof.pictures] == [8.0, 8.0]
    assert proof.sound_seconds == pytest.approx(8, abs=0.05)


def lose(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("harm", [lose, empty, halve])
@pytest.mark.parametrize("name", ["234p/00001.m4s", "360p/00000.m4s", "audio/00000.m4s", "360p/init.mp4"])
def test_a_broken_piece_is_found(copy: tuple[Path, Media], name: str, harm: Callable[[Path], None]) -> None:
    harm(copy[0] / name)
    with pytest.raises(OutputBroken):
        check(*copy, "hls")


def test_a_playlist_that_names_too_little_is_found(copy: tuple[Path, Media]) -> None:
    playlist = copy[0] / "234p/index.m3u8"
    playlist.write_text(playlist.read_text().replace("00001.m4s\n", ""))
    with pytest.raises(OutputBroken, match="frames"):
        check(*copy, "hls")


def test_segments_cut_elsewhere_are_found(copy: tuple[Path, Media]) -> None:
    playlist = copy[0] / "360p/index.m3u8"
    playlist.write_text(playlist.read_text().replace("EXTINF:6.0", "EXTINF:5.0"))
    with pytest.raises(OutputBroken, match="segments"):
        check(*copy, "hls")


def test_rungs_that_changed_places_are_found(copy: tuple[Path, Media]) -> None:
    (copy[0] / "234p").rename(copy[0] / "other")
    (copy[0] / "360p").rename(copy[0] / "234p")
    (copy[0] / "other").rename(copy[0] / "360p")
    with pytest.raises(OutputBroken, match="size"):
        check(*copy, "hls")


@pytest.mark.parametrize("facts", [{"frames": 203}, {"frames": 197}, {"duration": 9.0}])
def test_another_length_or_content_is_found(whole: tuple[Path, Media], facts: dict[str, Any]) -> None:
    with pytest.raises(OutputBroken):
        verify(whole[0], replace(whole[1], **facts), defined("hls"), LIMITS, threading.Event())


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ((), ""),
        (("-pix_fmt", "yuv444p"), "picture"),
        (("-pix_fmt", "yuv420p10le"), "picture"),
        (("-vf", "setsar=2/1"), "picture"),
        (("-c:v", "libx265", "-x265-params", "log-level=0"), "picture"),
        (("-ac", "1"), "sound"),
        (("-ar", "44100"), "sound"),
        (("-g", "10"), "key frames"),
        (("-g", "100"), "key frames"),
        (("-t", "7"), "frames"),
        (("-an",), "streams"),
        (("-vf", "scale=320:180"), "size"),
    ],
)
def test_only_what_was_asked_for_passes(
    whole: tuple[Path, Media], tmp_path: Path, options: tuple[str, ...], wrong: str
) -> None:
    run_ffmpeg(*FILM, *RIGHT, *options, "-movflags", "+faststart", str(tmp_path / "video.mp4"))
    if not wrong:
        assert check(tmp_path, whole[1], "mp4").pictures[0].frames == 200
        return
    with pytest.raises(OutputBroken, match=wrong):
        check(tmp_path, whole[1], "mp4")

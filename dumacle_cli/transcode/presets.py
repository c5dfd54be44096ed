"""Presets: the outputs that can be made of a file."""

from dataclasses import dataclass
from typing import Literal

from dumacle_cli.errors import NotFound

Name = Literal["hls", "mp4", "audio", "poster"]


@dataclass(frozen=True, slots=True)
class Preset:
    """One way to transcode; players open its file `entry`. `charged` says what it costs the owner's quota."""

    name: str
    description: str
    entry: str
    charged: str
    requires_video: bool = True


LENGTH = "its length; at most 1 second for 20 pictures"
PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset("mp4", "H.264 and AAC in one file that plays while it downloads, up to 1080p.", "video.mp4", LENGTH),
        Preset(
            "hls",
            "H.264 in several sizes up to 1080p for adaptive players, with separate audio.",
            "master.m3u8",
            LENGTH,
        ),
        Preset("audio", "The audio only, as AAC.", "audio.m4a", "a tenth of its length", requires_video=False),
        Preset("poster", "One frame from a tenth into the video, at most 1280 pixels wide.", "poster.jpg", "1 second"),
    )
}


def get(name: str) -> Preset:
    """Return the preset of this name; raises NotFound."""
    if name not in PRESETS:
        raise NotFound("preset", name)
    return PRESETS[name]

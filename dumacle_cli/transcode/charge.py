"""What a transcode is charged: the length of what is encoded, by a rule for each preset.

* hls and mp4: the length of the film, but no more than a second for every 20 pictures, as slides have few.
  A tenth of that if the source's own video is all that it shows, so that only the sound is encoded.
* audio: a tenth of the length of the sound.
* poster: one second.
* sprite: a second for every 20 pictures in it.

Parts of a second count as whole ones. Each preset of a file is charged for itself, and what fails costs nothing.
"""

import math

from dumacle_cli.services.definitions import Poster, Preset, Sprite
from dumacle_cli.transcode.arguments import rungs
from dumacle_cli.transcode.probe import Media
from dumacle_cli.transcode.sprites import grid

PICTURES = 20
SOUND_SHARE = 10


def seconds(media: Media, preset: Preset) -> int:
    """Return the seconds of the owner's quota that a transcode costs."""
    if isinstance(preset, Poster):
        return 1
    if isinstance(preset, Sprite):
        return math.ceil(grid(media, preset).count / PICTURES)
    if not preset.requires_video:
        return math.ceil(media.sound_seconds / SOUND_SHARE)
    length = min(media.duration, media.frames / PICTURES)
    return math.ceil(length / SOUND_SHARE if all(rung.copied for rung in rungs(media, preset)) else length)

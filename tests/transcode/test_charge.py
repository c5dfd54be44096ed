"""What a transcode is charged: the length of what is encoded."""

from dataclasses import replace
from fractions import Fraction

import pytest

from dumacle_cli.transcode import charge
from dumacle_cli.transcode.probe import Media
from dumacle_cli.transcode.tracks import SoundTrack
from tests.presets import defined

pytestmark = pytest.mark.unit
FILM = Media(1799.4, (SoundTrack("1", "aac", 2, 1799.4),), "h264", 640, 360, 44_985, Fraction(25))


@pytest.mark.parametrize(
    ("preset", "seconds"), [("hls", 1800), ("mp4", 1800), ("audio", 180), ("poster", 1), ("sprite", 9)]
)
def test_each_preset_has_its_rule(preset: str, seconds: int) -> None:
    assert charge.seconds(FILM, defined(preset)) == seconds


def test_slides_are_charged_by_their_pictures() -> None:
    slides = replace(FILM, duration=21_001, sounds=(SoundTrack("1", "aac", 2, 21_001),), fps=Fraction(1), frames=21_001)
    assert charge.seconds(slides, defined("mp4")) == 1051
    assert charge.seconds(replace(slides, frames=1), defined("mp4")) == 1

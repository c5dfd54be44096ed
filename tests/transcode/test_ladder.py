"""The ladder: Apple's sizes and rates, never larger than the source."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dumacle_cli.transcode.ladder import ladder

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("size", "sizes"),
    [
        ((1920, 1080), ["416x234", "640x360", "768x432", "960x540", "1280x720", "1920x1080"]),
        ((3840, 2160), ["416x234", "640x360", "768x432", "960x540", "1280x720", "1920x1080"]),
        ((854, 480), ["416x234", "640x360", "768x432", "854x480"]),
        ((1080, 1920), ["234x416", "360x640", "432x768", "540x960", "720x1280", "1080x1920"]),
        ((768, 432), ["416x234", "640x360", "768x432"]),
        ((800, 450), ["416x234", "640x360", "768x432"]),
        ((161, 121), ["158x120"]),
        ((16, 16), ["16x16"]),
    ],
)
def test_sizes(size: tuple[int, int], sizes: list[str]) -> None:
    assert [f"{rung.width}x{rung.height}" for rung in ladder(*size)] == sizes


def test_rates_are_apples() -> None:
    rates = {rung.name: rung.bitrate for rung in ladder(1920, 1080)}
    assert rates == {
        "234p": 145_000,
        "360p": 365_000,
        "432p": 730_000,
        "540p": 2_000_000,
        "720p": 3_000_000,
        "1080p": 6_000_000,
    }


def test_a_size_of_its_own_lies_between_its_neighbours() -> None:
    assert 730_000 < ladder(854, 480)[-1].bitrate < 2_000_000


@given(st.integers(16, 8000), st.integers(16, 8000))
def test_never_larger_never_odd_always_rising(width: int, height: int) -> None:
    rungs = ladder(width, height)
    assert rungs
    assert all(rung.width <= width and rung.height <= height for rung in rungs)
    assert all(rung.width % 2 == rung.height % 2 == 0 for rung in rungs)
    assert [rung.bitrate for rung in rungs] == sorted({rung.bitrate for rung in rungs})
    assert len({rung.name for rung in rungs}) == len(rungs)

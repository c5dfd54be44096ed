"""The ladder: Apple's sizes and rates, never larger than the source."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dumacle_cli.transcode.ladder import Rung, Source, ladder, largest

pytestmark = pytest.mark.unit
TO_1080 = ["416x234", "640x360", "768x432", "960x540", "1280x720", "1920x1080"]


@pytest.mark.parametrize(
    ("size", "sizes"),
    [
        ((1920, 1080), TO_1080),
        ((3840, 2160), [*TO_1080, "2560x1440", "3840x2160"]),
        ((854, 480), ["416x234", "640x360", "768x432", "854x480"]),
        ((1080, 1920), ["234x416", "360x640", "432x768", "540x960", "720x1280", "1080x1920"]),
        ((768, 432), ["416x234", "640x360", "768x432"]),
        ((800, 450), ["416x234", "640x360", "768x432"]),
        ((1280, 700), ["416x228", "640x350", "768x420", "960x524", "1280x700"]),
        ((1920, 800), ["416x174", "640x266", "768x320", "960x400", "1280x534", "1920x800"]),
        ((7680, 1080), ["416x58", "640x90", "768x108", "960x136", "1280x180", "1920x270", "2560x360", "3840x540"]),
        ((8000, 16), ["8000x16"]),
        ((161, 121), ["160x120"]),
        ((16, 16), ["16x16"]),
    ],
)
def test_sizes(size: tuple[int, int], sizes: list[str]) -> None:
    assert [f"{rung.width}x{rung.height}" for rung in ladder(Source(*size))] == sizes


def test_nothing_is_larger_than_the_preset_wants() -> None:
    rungs = ladder(Source(3840, 2160, largest=720, share=0.5))
    assert [(rung.name, rung.bitrate) for rung in rungs][-1] == ("720p", 1_500_000)
    film = largest(Source(3840, 2160, largest=720))
    assert (film.width, film.height) == (1280, 720)


def test_rates_are_apples() -> None:
    rates = {rung.name: rung.bitrate for rung in ladder(Source(1920, 1080))}
    assert rates == {
        "234p": 145_000,
        "360p": 365_000,
        "432p": 730_000,
        "540p": 2_000_000,
        "720p": 3_000_000,
        "1080p": 6_000_000,
    }


def test_a_size_of_its_own_lies_between_its_neighbours() -> None:
    assert 730_000 < ladder(Source(854, 480))[-1].bitrate < 2_000_000


def test_a_lean_source_has_lean_rungs() -> None:
    rungs = ladder(Source(1280, 720, 700_000, 600))
    assert {rung.name: rung.bitrate for rung in rungs} == {
        "234p": 145_000,
        "360p": 350_000,
        "432p": 420_000,
        "540p": 525_000,
        "720p": 700_000,
    }
    assert [rung.buffer for rung in rungs] == [290_000, 730_000, 1_460_000, 4_000_000, 5_600_000]
    short = ladder(Source(1280, 720, 700_000, 12))[-1]
    assert short.buffer == 3 * short.bitrate


def test_the_smallest_pictures_get_cpu_time_instead_of_bits() -> None:
    assert [rung.name for rung in ladder(Source(1920, 1080)) if rung.lean] == ["234p"]
    assert ladder(Source(160, 90))[-1].lean


def test_a_source_that_hardly_changes_has_bits_for_key_frames() -> None:
    assert ladder(Source(1920, 1080, 2_000, 600))[-1].bitrate == 6_000_000 / 16


def _area(rung: Rung) -> int:
    return rung.width * rung.height


@given(st.integers(16, 8000), st.integers(16, 8000))
def test_never_larger_never_odd_always_rising(width: int, height: int) -> None:
    source = Source(width, height, 1_000_000, 60)
    rungs = ladder(source)
    assert rungs
    assert _area(largest(source)) >= _area(rungs[-1])
    assert all(rung.width <= width and rung.height <= height for rung in rungs)
    assert all(rung.width % 2 == rung.height % 2 == 0 for rung in rungs)
    assert [rung.bitrate for rung in rungs] == sorted(rung.bitrate for rung in rungs)
    assert all(rung.bitrate <= 1_000_000 for rung in rungs)
    assert len({rung.name for rung in rungs}) == len(rungs)

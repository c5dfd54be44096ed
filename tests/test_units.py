"""Units: what is shown can be read again, limits hold, and nonsense is refused in one sentence."""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dumacle_cli.errors import InvalidValue
from dumacle_cli.units import (
    exact_size,
    parse_age,
    parse_duration,
    parse_instant,
    parse_price,
    parse_size,
    show_duration,
    show_instant,
    show_minute,
    show_price,
    show_size,
)

pytestmark = pytest.mark.unit

KIB, MIB, GIB, EIB = 1024, 1024**2, 1024**3, 1024**6
LARGEST = 2**63 - 1


# Sizes


@pytest.mark.parametrize(
    ("size", "shown"), [(0, "0B"), (1000, "1000B"), (1536, "1536B"), (16 * MIB, "16MiB"), (5 * 1024 * GIB, "5TiB")]
)
def test_exact_size_takes_the_largest_unit_that_fits(size: int, shown: str) -> None:
    assert exact_size(size) == shown


@given(st.integers(0, LARGEST))
def test_exact_size_is_read_back(size: int) -> None:
    assert parse_size(exact_size(size)) == size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4096", 4096),
        (4096, 4096),
        ("0", 0),
        ("10KiB", 10 * KIB),
        ("10K", 10 * KIB),
        ("10kb", 10_000),
        ("10 GB", 10 * 10**9),
        (" 10 gib ", 10 * GIB),
        ("1.5MiB", MIB + MIB // 2),
        ("1.5 MB", 1_500_000),
        ("0.1KiB", 102),
        ("8388607TiB", 8388607 * 1024**4),
        (str(LARGEST), LARGEST),
    ],
)
def test_sizes_are_read(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", " ", "-1", "+1", "1e3", "1,5GiB", ".5G", "5.G", "1.2.3", "5 XiB", "5 bytes", "GiB", "1 2", "9" * 5000]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match=r"--capacity cannot be .*: a size is a number with B, KiB"):
        parse_size(text, "--capacity")


@pytest.mark.parametrize("text", ["1.5", "0.5 B"])
def test_a_part_of_a_byte_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="there is no part of a byte"):
        parse_size(text)


@pytest.mark.parametrize("text", [str(LARGEST + 1), "8EiB", "8.0 EiB", "9.3EB", "9" * 99])
def test_a_size_that_no_column_holds_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="it is 8 EiB or more"):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (-1536, "-1.50 KiB"),
        (10_234, "9.99 KiB"),
        (10_235, "10.0 KiB"),
        (102_348, "99.9 KiB"),
        (102_349, "100 KiB"),
        (1_048_063, "1023 KiB"),
        (1_048_064, "1.00 MiB"),
        (1_048_566, "1.00 MiB"),
        (MIB, "1.00 MiB"),
        (GIB - 1, "1.00 GiB"),
        (7 * EIB, "7.00 EiB"),
        (LARGEST, "8.00 EiB"),
    ],
)
def test_sizes_are_shown_with_three_digits(size: int, shown: str) -> None:
    assert show_size(size) == shown


@given(st.integers(0, 7 * EIB))
def test_a_shown_size_reads_as_nearly_that_size(size: int) -> None:
    read = parse_size(show_size(size))
    assert abs(read - size) <= size / 199 + 1
    assert read == size or size > 1023


@given(st.integers(0, 10**9), st.sampled_from(["", "B", "KB", "KiB", "MB", "MiB", "GB", "GiB"]))
def test_decimal_units_are_thousands_and_the_others_are_1024(number: int, unit: str) -> None:
    base = 1024 if "i" in unit else 1000
    power = " KMG".index(unit[0]) if len(unit) > 1 else 0
    assert parse_size(f"{number}{unit}") == parse_size(f"{number} {unit.lower()}") == number * base**power


# Durations and instants


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15min", 900), (" 12 h ", 43_200), ("30d", 2_592_000), ("30D", 2_592_000), ("2 weeks", 1209600)],
)
def test_durations_are_read(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "h", "90", "15m", "15M", "-1s", "1.5h", "1h30min", "1y", "12mo", "1234567890s", "\u0663d"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match=r"--expires cannot be .*: .*a number with its unit: 90s, 15min"):
        parse_duration(text, "--expires")


NOON = datetime(2024, 3, 31, 12, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("age", "instant"),
    [
        ("90s", "2024-03-31T12:28:30"),
        ("15min", "2024-03-31T12:15"),
        ("15 minutes", "2024-03-31T12:15"),
        ("12h", "2024-03-31T00:30"),
        ("365d", "2023-04-01T12:30"),
        ("2w", "2024-03-17T12:30"),
        ("1mo", "2024-02-29T12:30"),
        ("13 months", "2023-02-28T12:30"),
        ("12mo", "2023-03-31T12:30"),
        ("1y", "2023-03-31T12:30"),
        ("0mo", "2024-03-31T12:30"),
    ],
)
def test_ages_are_read_by_the_calendar(age: str, instant: str) -> None:
    assert parse_age(age, "--older-than", NOON) == datetime.fromisoformat(instant).replace(tzinfo=UTC)


@pytest.mark.parametrize("age", ["12m", "12M", " 12 m ", "365", "0", "1.5d", "1,5d", "-1d", "1d12h", "d", "", "1q"])
def test_an_age_without_a_clear_unit_is_refused_with_the_right_forms(age: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        parse_age(age, "--older-than", NOON)
    assert all(form in str(refused.value) for form in ("365d", "12mo", "1y", "15min"))
    assert ("m could be minutes or months" in str(refused.value)) == (age.strip().lower().endswith("m"))


def test_an_age_from_before_the_calendar_is_refused() -> None:
    for age in ("999999w", "999999999w", "99999mo", "3000y", "999999999y"):
        with pytest.raises(InvalidValue, match=f"--older-than cannot be '{age}': that is before the year 1"):
            parse_age(age, "--older-than", NOON)


def test_an_instant_is_told_to_the_minute_in_utc() -> None:
    assert show_minute(datetime(2025, 11, 28, 1, 0, 59, tzinfo=timezone(timedelta(hours=1)))) == "2025-11-28 00:00 UTC"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0s"),
        (59.4, "59s"),
        (59.5, "1min 00s"),
        (3599, "59min 59s"),
        (3600, "1h 00min"),
        (86_399, "23h 59min"),
        (86_400, "1d 00h"),
        (8_640_000, "100d 00h"),
    ],
)
def test_durations_are_shown_in_two_units(seconds: float, shown: str) -> None:
    assert show_duration(seconds) == shown


@given(st.integers(0, 10**9))
def test_a_shown_duration_reads_as_that_less_the_unit_left_out(seconds: int) -> None:
    shown = show_duration(seconds)
    left_out = 3600 if "d" in shown else 60 if "h" in shown else 1
    assert 0 <= seconds - sum(parse_duration(part) for part in shown.split()) < left_out


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T12:00", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T00:30:00+02:00", datetime(2026, 1, 30, 22, 30, tzinfo=UTC)),
    ],
)
def test_instants_are_read_in_utc(text: str, instant: datetime) -> None:
    assert parse_instant(text) == instant
    assert parse_instant(text).tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    ["", "now", "31.1.2026", "2026-02-30", "2026-01-31T25:00", "0001-01-01T00:00+14:00", "9999-12-31T23:59-01:00"],
)
def test_what_is_no_instant_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="--since cannot be"):
        parse_instant(text, "--since")


OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=OFFSETS))
def test_a_shown_instant_reads_as_that_second(instant: datetime) -> None:
    assert parse_instant(show_instant(instant)) == instant.replace(microsecond=0)
    assert parse_instant(instant.isoformat()) == instant


# Prices


@pytest.mark.parametrize(
    ("text", "currency", "minor"),
    [
        ("9.99", "usd", 999),
        ("9.9", "EUR", 990),
        (" 9 ", "eur", 900),
        ("0.00", "eur", 0),
        ("500", "jpy", 500),
        ("1.234", "kwd", 1234),
    ],
)
def test_prices_are_read(text: str, currency: str, minor: int) -> None:
    assert parse_price(text, currency) == minor


@pytest.mark.parametrize(
    ("text", "currency"),
    [("9.999", "usd"), ("9.0", "jpy"), ("1.2345", "kwd"), ("9,99", "eur"), ("-1", "eur"), ("", "eur"), ("1e3", "eur")],
)
def test_what_is_no_price_is_refused(text: str, currency: str) -> None:
    with pytest.raises(InvalidValue, match=f"a price in {currency.upper()} is a number with at most"):
        parse_price(text, currency)


@given(st.integers(0, 10**12 - 1), st.sampled_from(["usd", "eur", "jpy", "kwd"]))
def test_a_shown_price_reads_as_itself(minor: int, currency: str) -> None:
    assert parse_price(show_price(minor, currency), currency) == minor


@given(
    st.text(max_size=20), st.sampled_from([parse_size, parse_duration, parse_instant, lambda t: parse_price(t, "eur")])
)
def test_any_text_is_read_or_refused(text: str, parse: Callable[[str], object]) -> None:
    with suppress(InvalidValue):
        parse(text)

"""Sizes, durations, times and prices as people write them, and the type marks by which output formats them."""

import re
from calendar import monthrange
from datetime import UTC, datetime, timedelta
from typing import Annotated

from dumacle_cli import currencies
from dumacle_cli.errors import InvalidValue

Bytes = Annotated[int, "bytes"]
Seconds = Annotated[int, "seconds"]
Secret = Annotated[str, "secret"]
"""Shown once; never stored with an operation and never logged."""

Url = Annotated[str, "link"]
"""Shown on a line of its own, so that it can be copied."""
SecretUrl = Annotated[str, "secret", "link"]

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_FACTORS = {unit.lower(): 1024**power for power, unit in enumerate(_UNITS)}
_FACTORS |= {unit[0].lower(): 1024**power for power, unit in enumerate(_UNITS)}
_FACTORS |= {f"{unit[0].lower()}b": 1000**power for power, unit in enumerate(_UNITS) if power}
_LARGEST = 2**63 - 1
SIZES = "a number with B, KiB, MiB, GiB, TiB or PiB, or with kB, MB, GB, TB or PB (decimal); without any, bytes"
_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_MONTHS = {"mo": 1, "y": 12}
_SPELLED = {
    **dict.fromkeys(("sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("mins", "minute", "minutes"), "min"),
    **dict.fromkeys(("hr", "hrs", "hour", "hours"), "h"),
    **dict.fromkeys(("day", "days"), "d"),
    **dict.fromkeys(("week", "weeks"), "w"),
    **dict.fromkeys(("mos", "month", "months"), "mo"),
    **dict.fromkeys(("yr", "yrs", "year", "years"), "y"),
}
AGES = "a number with its unit: 90s, 15min, 12h, 365d, 2w, 12mo or 1y"
DURATIONS = "a number with its unit: 90s, 15min, 12h, 7d or 2w"
_ADVICE = {
    "size": "give a size such as 500GiB",
    "duration": "give a duration such as 7d",
    "age": "give an age such as 90d",
    "instant": "give a time such as 2026-01-31T12:00:00Z",
    "price": "give a price such as 9.99",
}


def parse_size(text: str | int, name: str = "size") -> int:
    """Read a size such as `500GiB`, `1.5 TiB`, `10GB` (decimal) or `4096`, and return bytes; raises InvalidValue."""
    match = re.fullmatch(r"\s*(\d{1,99}(?:\.\d{1,99})?)\s*([a-zA-Z]*)\s*", str(text), re.ASCII)
    factor = _FACTORS.get((match[2] or "b").lower()) if match else None
    if not match or factor is None:
        point = "; write a point for the comma" if re.search(r"\d,\d", str(text)) else ""
        raise InvalidValue(name=name, value=repr(text), reason=f"a size is {SIZES}{point}", advice=_ADVICE["size"])
    whole, _, fraction = match[1].partition(".")
    if fraction and factor == 1:
        raise InvalidValue(name=name, value=repr(text), reason="there is no part of a byte", advice=_ADVICE["size"])
    size: int = int(whole) * factor + (int(fraction) * factor // 10 ** len(fraction) if fraction else 0)
    if size > _LARGEST:
        raise InvalidValue(name=name, value=repr(text), reason="it is 8 EiB or more", advice=_ADVICE["size"])
    return size


def show_size(size: int) -> str:
    """Show bytes in IEC units with three digits, such as `1.46 GiB`."""
    power = 0
    value = float(abs(size))
    while value >= 1023.5 and power < len(_UNITS) - 1:
        value, power = value / 1024, power + 1
    digits = 0 if power == 0 or value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{'-' if size < 0 else ''}{value:.{digits}f} {_UNITS[power]}"


def exact_size(size: int) -> str:
    """Write bytes so that `parse_size` reads them back, in the largest unit without a fraction, such as `16MiB`."""
    power = max(power for power in range(len(_UNITS)) if size % 1024**power == 0) if size else 0
    return f"{size // 1024**power}{_UNITS[power]}"


def parse_duration(text: str, name: str = "duration") -> int:
    """Read a duration such as `7d`, `12h`, `15min` or `90s`, and return seconds; raises InvalidValue.

    A bare number and `m`, which could be minutes or months, are refused.
    """
    number, unit = _quantity(text, name, DURATIONS)
    if unit not in _SECONDS:
        raise InvalidValue(name=name, value=repr(text), reason=f"it is {DURATIONS}", advice=_ADVICE["duration"])
    return number * _SECONDS[unit]


def parse_age(text: str, name: str, now: datetime) -> datetime:
    """Return the time that long before `now`, by the calendar (UTC) for `12mo` or `1y`; raises InvalidValue.

    A bare number and `m`, which could be minutes or months, are refused.
    """
    number, unit = _quantity(text, name, AGES)
    try:
        if unit in _SECONDS:
            return now - timedelta(seconds=number * _SECONDS[unit])
        return _months_before(now.astimezone(UTC), number * _MONTHS[unit])
    except (OverflowError, ValueError):
        raise InvalidValue(
            name=name, value=repr(text), reason="that is before the year 1", advice=_ADVICE["age"]
        ) from None


def _quantity(text: str, name: str, forms: str) -> tuple[int, str]:
    match = re.fullmatch(r"\s*(\d{1,9})\s*([a-z]+)\s*", text.lower(), re.ASCII)
    unit = _SPELLED.get(match[2], match[2]) if match else ""
    if match and (unit in _SECONDS or unit in _MONTHS):
        return int(match[1]), unit
    doubt = "m could be minutes or months; " if unit == "m" else ""
    advice = _ADVICE["age" if forms is AGES else "duration"]
    raise InvalidValue(name=name, value=repr(text), reason=f"{doubt}it is {forms}", advice=advice)


def _months_before(now: datetime, months: int) -> datetime:
    year, month = divmod(now.year * 12 + now.month - 1 - months, 12)
    day = min(now.day, monthrange(max(year, 1), month + 1)[1])
    return now.replace(year=year, month=month + 1, day=day)


def show_minute(instant: datetime) -> str:
    """Show a time in UTC to the minute, such as `2025-11-28 00:00 UTC`."""
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def show_duration(seconds: float) -> str:
    """Show seconds as the two largest units, such as `2h 05min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}min {whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60:02}min"
    return f"{whole // 86400}d {whole % 86400 // 3600:02}h"


def parse_instant(text: str, name: str = "instant") -> datetime:
    """Read an ISO 8601 date or time, in UTC unless it has an offset; raises InvalidValue."""
    try:
        instant = datetime.fromisoformat(text)
        return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    except (ValueError, OverflowError):
        reason = "it is not an ISO 8601 date or time"
        raise InvalidValue(name=name, value=repr(text), reason=reason, advice=_ADVICE["instant"]) from None


def show_instant(instant: datetime) -> str:
    """Show a time in UTC to the second, such as `2026-01-31 12:00:00Z`."""
    return f"{instant.astimezone(UTC).replace(tzinfo=None).isoformat(' ', 'seconds')}Z"


def parse_currency(code: str) -> str:
    """Read a currency code such as `EUR`, and return it in small letters; raises InvalidValue."""
    if not re.fullmatch("[A-Za-z]{3}", code):
        raise InvalidValue(name="currency", value=repr(code), reason="it is three letters, such as EUR")
    return code.lower()


def parse_price(text: str, currency: str) -> int:
    """Read a price such as `9.99`, and return minor units of the currency, exactly; raises InvalidValue."""
    digits = currencies.currency(currency).digits
    match = re.fullmatch(r"(\d{1,15})(?:\.(\d+))?", text.strip(), re.ASCII)
    fraction = ((match[2] or "") if match else "").ljust(digits, "0")
    if not match or len(fraction) > digits:
        reason = f"a price in {currency.upper()} is a number with at most {digits} decimals"
        raise InvalidValue(name="price", value=repr(text), reason=reason, advice=_ADVICE["price"])
    return int(match[1] + fraction)


def show_price(minor: int, currency: str) -> str:
    """Show minor units of a currency so that `parse_price` reads them back, such as `9.99`."""
    digits = currencies.currency(currency).digits
    whole, fraction = divmod(minor, 10**digits)
    return f"{whole}.{fraction:0{digits}}" if digits else str(whole)

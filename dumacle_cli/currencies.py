"""How Stripe counts amounts of money, currency by currency.

Source: https://docs.stripe.com/currencies, sections "Zero-decimal currencies", "Three-decimal currencies", "Special
cases" and "Minimum and maximum charge amounts". A currency without a row has hundredths, any number of them, and
amounts of up to eight digits.
"""

from typing import NamedTuple


class Currency(NamedTuple):
    """The digits of the minor unit, and of which number of it an amount must be a multiple and at most what."""

    digits: int = 2
    step: int = 1
    largest: int = 99_999_999


_WHOLE, _THOUSANDTHS, _WHOLE_IN_HUNDREDTHS = Currency(digits=0), Currency(digits=3, step=10), Currency(step=100)
TABLE = {
    **dict.fromkeys(("bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg"), _WHOLE),
    **dict.fromkeys(("rwf", "vnd", "vuv", "xaf", "xof", "xpf"), _WHOLE),
    **dict.fromkeys(("bhd", "jod", "kwd", "omr", "tnd"), _THOUSANDTHS),
    # Without a minor unit, but counted as if they had hundredths.
    **dict.fromkeys(("isk", "ugx"), _WHOLE_IN_HUNDREDTHS),
    "idr": Currency(largest=999_999_999_999),
}


def currency(code: str) -> Currency:
    """Return how amounts of a currency are counted."""
    return TABLE.get(code.lower(), Currency())

"""Ids as they are typed: decimal digits, of a number that PostgreSQL's bigint holds."""

LARGEST = 2**63 - 1


def parse_id(typed: str) -> int | None:
    """Return the id that is typed in ASCII digits, or None where it is no id."""
    # int() reads `+1`, ` 1`, `1_0` and full-width digits, and raises ValueError for `²` and for thousands of digits.
    if not (typed.isascii() and typed.isdigit() and len(typed) <= len(str(LARGEST))):
        return None
    number = int(typed)
    return number if number <= LARGEST else None


def looks_like_id(typed: str) -> bool:
    """Tell whether a text is a number in any notation, and so no path or name."""
    return typed.replace("_", "").strip(" +-").isdigit()

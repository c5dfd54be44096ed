"""A percentage as a bar of characters that every terminal has."""

BAR = 20


def bar(percent: float) -> str:
    """Draw a percentage as 20 characters; anything above zero draws at least one."""
    full = min(BAR, max(round(percent * BAR / 100), percent > 0))
    return "#" * full + "." * (BAR - full)

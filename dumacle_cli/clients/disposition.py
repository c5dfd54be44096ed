"""Whether browsers show what a link leads to, or save it."""

from urllib.parse import quote

SHOWN = ("image/", "video/", "audio/", "application/vnd.apple.mpegurl", "text/vtt")
"""How the content types of media begin, which browsers and players show."""
ACTIVE = "image/svg"
"""Not shown, because it can have scripts in it."""


def disposition(filename: str, content_type: str, *, download: bool) -> str:
    """Return the Content-Disposition header (RFC 6266): media is shown unless it is a `download`, all else is saved."""
    kind = content_type.lower()
    shown = kind.startswith(SHOWN) and not kind.startswith(ACTIVE) and not download
    plain = "".join(char if " " <= char <= "~" and char not in '"\\%' else "_" for char in filename)
    encoded = quote(filename, safe="", errors="replace")
    return f"{'inline' if shown else 'attachment'}; filename=\"{plain}\"; filename*=UTF-8''{encoded}"

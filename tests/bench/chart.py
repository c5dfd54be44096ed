"""A bar chart of seconds as SVG, readable on light and on dark pages."""

from collections.abc import Mapping
from html import escape

WIDTH, LABEL, ROW, HEAD, GAP = 760, 150, 22, 34, 14
BARS = WIDTH - LABEL - 90
OURS, THEIRS = "#1f883d", "#8c959f"


def draw(groups: Mapping[str, Mapping[str, float]]) -> str:
    """Return a chart with one group of bars for each work, by tool; each group has its own scale."""
    lines, top = [], 0
    for title, tools in groups.items():
        lines.append(_text(0, top + 22, title, "bold"))
        top += HEAD
        longest = max(tools.values())
        for tool, seconds in tools.items():
            length = max(2, round(BARS * seconds / longest))
            colour = OURS if tool == "dumacle" else THEIRS
            lines.append(_text(0, top + 15, tool))
            lines.append(f'<rect x="{LABEL}" y="{top + 3}" width="{length}" height="{ROW - 6}" fill="{colour}"/>')
            lines.append(_text(LABEL + length + 8, top + 15, f"{seconds:.2f} s"))
            top += ROW
        top += GAP
    style = (
        "<style>text{font:13px sans-serif;fill:#1f2328}@media(prefers-color-scheme:dark){text{fill:#e6edf3}}</style>"
    )
    size = f'width="{WIDTH}" height="{top}" viewBox="0 0 {WIDTH} {top}"'
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">', style, *lines, "</svg>\n"])


def _text(x: int, y: int, words: str, weight: str = "normal") -> str:
    return f'<text x="{x}" y="{y}" font-weight="{weight}">{escape(words)}</text>'

"""WebVTT: texts with their times. What strangers wrote is shown as text, whatever it is."""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from html import escape

# What FFmpeg makes of every format: ASS, whose codes are in braces. Bold, italic and underlined text stays so.
_CODES = re.compile(r"\{([^}]*)\}")
_CODE = re.compile(r"\\(?:([ibu])([01])(?!\d)|(r)|p(\d)|an([1-9]))")
_ON_TOP = "789"


@dataclass(frozen=True, slots=True)
class Cue:
    """A text and when it is shown, in seconds; `settings` say where."""

    start: float
    end: float
    text: str
    settings: str = ""


@dataclass(slots=True)
class _Styles:
    """The state of a text between its codes."""

    opened: list[str] = field(default_factory=list)
    drawing: bool = False
    on_top: bool = False

    def change(self, codes: str) -> str:
        """Return the marks that codes become."""
        marks = ""
        for style, on, reset, draws, place in _CODE.findall(codes):
            if reset:
                marks += self.close(self.opened[:1])
            elif style and on == "0":
                marks += self.close([style])
            elif style and style not in self.opened:
                self.opened.append(style)
                marks += f"<{style}>"
            self.drawing = draws != "0" if draws else self.drawing
            self.on_top |= bool(place) and place in _ON_TOP
        return marks

    def close(self, styles: list[str]) -> str:
        """Return the marks that end these styles, and those opened after them."""
        if not styles or styles[0] not in self.opened:
            return ""
        at = self.opened.index(styles[0])
        ended = self.opened[at:]
        del self.opened[at:]
        return "".join(f"</{style}>" for style in reversed(ended))


def cue(start: float, end: float, dialogue: str) -> Cue | None:
    """Return a text of FFmpeg's as a cue, or None if there is nothing to read in it."""
    styles = _Styles()
    parts = []
    # Looking for codes where no brace is closed would take the square of the time if many are opened.
    coded = dialogue.rfind("}") + 1
    for number, part in enumerate([*_CODES.split(dialogue[:coded]), "", dialogue[coded:]]):
        if number % 2:
            parts.append(styles.change(part))
        elif not styles.drawing:
            parts.append(_readable(part))
    text = "".join(parts) + styles.close(styles.opened[:1])
    # A line without text would end the cue.
    lines = [line for line in text.splitlines() if re.sub("<[^>]*>", "", line).strip()]
    if not lines or end <= start:
        return None
    return Cue(start, end, "\n".join(lines), "line:0" if styles.on_top else "")


def document(cues: Iterable[Cue], header: str = "") -> str:
    """Return a WebVTT file of cues, in the order of their times."""
    lines = ["WEBVTT", *([header] if header else []), ""]
    for each in sorted(cues, key=lambda cue: (cue.start, cue.end)):
        times = f"{clock(each.start)} --> {clock(each.end)} {each.settings}".rstrip()
        lines += [times, each.text, ""]
    return "\n".join(lines)


def clock(seconds: float) -> str:
    """Return a time as WebVTT has it."""
    whole, rest = divmod(round(seconds * 1000), 1000)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}.{rest:03}"


def _readable(text: str) -> str:
    plain = text.replace(r"\N", "\n").replace(r"\n", "\n").replace(r"\h", "\N{NO-BREAK SPACE}")
    kept = (
        each for each in plain.replace("\r", "\n") if each == "\n" or unicodedata.category(each) not in ("Cc", "Cs")
    )
    return escape("".join(kept), quote=False)

r"""Text as it may be shown anywhere: what would move a cursor, break a line or be seen by nobody becomes `\uXXXX`.

What is shown so can be typed back: `meant` and `readings` undo it.
"""

import json
import re
import string
import unicodedata
from typing import Any, Literal, get_args

_ESCAPE = re.compile(r"\\u[0-9a-f]{4}|\\U00(?:0[0-9a-f]|10)[0-9a-f]{4}")
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
UNSTORABLE = re.compile("[\0\ud800-\udfff]")
Form = Literal["NFC", "NFD", "NFKC", "NFKD"]
FORMS: tuple[Form, ...] = get_args(Form)


def safe(text: str, keep: str = "") -> str:
    """Escape every character that is no printable one, less those to `keep`; doing it again changes nothing."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in keep else escape(char) for char in text)


def escape(char: str) -> str:
    r"""Write a character as `\uXXXX`, or `\UXXXXXXXX` where it needs more."""
    number = ord(char)
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"


def visible(text: str) -> str:
    """Escape so that no two texts look alike: also what would be taken for an escape, and where blanks end a text.

    A dash in front is escaped too, or it would be an option when it is typed back.
    """
    text = _ESCAPE.sub(lambda found: escape("\\") + found[0][1:], text)
    bare = text.strip(" ")
    before, _, behind = text.partition(bare) if bare else (text, "", "")
    first = escape("-") + bare[1:] if bare.startswith("-") and not before else bare
    return safe(f"{escape(' ') * len(before)}{first}{escape(' ') * len(behind)}")


def meant(typed: str) -> str:
    """Return the text that was shown as this."""
    if "\\" not in typed:
        return typed
    found = _ESCAPE.sub(lambda found: chr(int(found[0][2:], 16)), typed)
    return _PAIR.sub(lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), found)


def readings(typed: str) -> list[str]:
    """Return what may be meant by something typed: itself, what a table shows so, what stands so between JSON's quotes.

    Texts that PostgreSQL cannot hold are left out.
    """
    found = dict.fromkeys([typed, meant(typed), *_json(typed)])
    return [text for text in found if not UNSTORABLE.search(text)]


def _json(typed: str) -> list[str]:
    try:
        return [json.loads(f'"{typed}"')] if "\\" in typed else []
    except ValueError:
        return []


def alike(typed: str) -> list[str]:
    """Return the same text in the other normal forms of Unicode."""
    found = dict.fromkeys(unicodedata.normalize(form, text) for text in readings(typed) for form in FORMS)
    return [text for text in found if text != typed]


def quoted(text: object) -> str:
    """Return a text as one word of a shell, which this program reads back as that text."""
    import shlex

    return shlex.quote(visible(str(text)))


class Sentences(string.Formatter):
    """Fills sentences in; `{name!q}` is a word of a command that can be typed."""

    def convert_field(self, value: Any, conversion: Any) -> Any:
        """Quote for a shell where that is asked for."""
        return quoted(value) if conversion == "q" else super().convert_field(value, conversion)

r"""Text that is safe to show: characters that move the cursor, break a line or are invisible become `\uXXXX`.

Escaped text can be typed back: `unescape` and `readings` undo it.
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
    """Escape every character that is not printable, except those to `keep`; escaping twice changes nothing."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in keep else escape(char) for char in text)


def escape(char: str) -> str:
    r"""Write a character as `\uXXXX`, or as `\UXXXXXXXX` above U+FFFF."""
    number = ord(char)
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"


def visible(text: str) -> str:
    """Escape so that no two texts look alike: also text that looks like an escape, and spaces at either end.

    A leading dash is escaped too, because it would be an option when typed back.
    """
    text = _ESCAPE.sub(lambda found: escape("\\") + found[0][1:], text)
    bare = text.strip(" ")
    before, _, behind = text.partition(bare) if bare else (text, "", "")
    first = escape("-") + bare[1:] if bare.startswith("-") and not before else bare
    return safe(f"{escape(' ') * len(before)}{first}{escape(' ') * len(behind)}")


def unescape(typed: str) -> str:
    """Return the text that `safe` or `visible` shows as this."""
    if "\\" not in typed:
        return typed
    found = _ESCAPE.sub(lambda found: chr(int(found[0][2:], 16)), typed)
    return _PAIR.sub(lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), found)


def readings(typed: str) -> list[str]:
    """Return what a typed text may stand for: itself, its text in a table, its text between JSON's quotes.

    Texts that PostgreSQL cannot store are left out.
    """
    found = dict.fromkeys([typed, unescape(typed), *_json(typed)])
    return [text for text in found if not UNSTORABLE.search(text)]


def _json(typed: str) -> list[str]:
    try:
        return [json.loads(f'"{typed}"')] if "\\" in typed else []
    except ValueError:
        return []


def alike(typed: str) -> list[str]:
    """Return the text in the other Unicode normal forms."""
    found = dict.fromkeys(unicodedata.normalize(form, text) for text in readings(typed) for form in FORMS)
    return [text for text in found if text != typed]


def quoted(text: object) -> str:
    """Quote a text as one word for a shell, so that this program reads it back unchanged."""
    import shlex

    return shlex.quote(visible(str(text)))


class Sentences(string.Formatter):
    """Fills in sentences; `{name!q}` is quoted for a shell."""

    def convert_field(self, value: Any, conversion: Any) -> Any:
        """Quote for a shell if the conversion is `q`."""
        return quoted(value) if conversion == "q" else super().convert_field(value, conversion)

"""Paths as text: nothing is lost, whatever bytes a name is made of."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from dumacle_cli import paths

pytestmark = pytest.mark.unit
NAMES = some.binary(max_size=300).map(lambda raw: raw.replace(b"\0", b""))


@given(NAMES)
def test_any_bytes_come_back(raw: bytes) -> None:
    text = paths.encode(raw)
    assert paths.decode(text) == raw
    assert "\0" not in text
    text.encode("utf-8")


@given(NAMES, NAMES)
def test_different_names_stay_different(one: bytes, other: bytes) -> None:
    assert (paths.encode(one) == paths.encode(other)) == (one == other)


@given(some.text(max_size=50).filter(lambda text: "\0" not in text))
def test_text_comes_back(name: str) -> None:
    assert paths.decode(paths.encode(name.encode("utf-8", "ignore"))) == name.encode("utf-8", "ignore")


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"beach.jpg", "beach.jpg"),
        ("Müller 写真\u3000旅.jpg".encode(), "Müller 写真\u3000旅.jpg"),
        ("👨‍👩‍👧.jpg".encode(), "👨‍👩‍👧.jpg"),
        ("\U0001fae8 newer than this Unicode".encode(), "\U0001fae8 newer than this Unicode"),
        (b"caf\xe9.jpg", r"caf\xe9.jpg"),
        (b"two\nlines", r"two\x0alines"),
        (b"esc\x1b[31m", r"esc\x1b[31m"),
        (b"back\\slash", r"back\\slash"),
        (rb"\x0a", r"\\x0a"),
        ("evil\u202egpj.exe".encode(), r"evil\xe2\x80\xaegpj.exe"),
        ("\x85next".encode(), r"\xc2\x85next"),
    ],
)
def test_what_is_escaped(raw: bytes, text: str) -> None:
    assert paths.encode(raw) == text
    assert paths.decode(text) == raw

"""Text that is shown: nothing in it is invisible, no two look alike, and all of it can be typed back."""

import json
import shlex

import pytest
from hypothesis import example, given
from hypothesis import strategies as some

from dumacle_cli import paths
from dumacle_cli.errors import Conflict, UserDisabled
from dumacle_cli.escapes import alike, quoted, readings, safe, unescape, visible

pytestmark = pytest.mark.unit

# Letters of every class of Unicode, and what escapes are made of.
ODD = "\\ux20-0aA \t\r\n\x00\x1b\x7f\x85\x9b\u00a0\u00ad\u0301\u200b\u200d\u200e\u202e\u2028\u2066\u3000\ufeff\udc80"
PIECES = some.one_of(some.characters(), some.sampled_from([*ODD, "\\u200d", "\\x1b", "\\\\", "\U0001f468", "\ud83d"]))
TEXTS = some.lists(PIECES, max_size=20).map("".join)


@given(TEXTS)
@example("\\u200d")
@example("\\\\u200d")
@example("-rf")
@example(" ")
def test_what_is_visible_is_printable_and_means_the_text(text: str) -> None:
    assert visible(text).isprintable()
    assert visible(text) == visible(text).strip()
    assert not visible(text).startswith("-")
    assert _paired(text) or unescape(visible(text)) == text


def _paired(text: str) -> bool:
    """Tell whether two halves of a letter meet, which no text of PostgreSQL holds."""
    return text != text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@given(TEXTS, TEXTS)
def test_different_texts_look_different(one: str, other: str) -> None:
    if not (_paired(one) or _paired(other)):
        assert (visible(one) == visible(other)) == (one == other)


@given(TEXTS)
def test_being_safe_is_lasting(text: str) -> None:
    assert safe(text).isprintable()
    assert safe(safe(text)) == safe(text)
    assert safe(visible(text)) == visible(text)


@given(some.text(some.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_each_form_in_which_a_text_is_shown_is_read(text: str) -> None:
    for form in (text, visible(text), json.dumps(text)[1:-1]):
        assert text in readings(form)
    assert readings(shlex.split(quoted(text))[0])[-1] == text or text in readings(shlex.split(quoted(text))[0])


@given(some.binary(max_size=60).map(lambda raw: raw.replace(b"\0", b"")))
def test_each_form_of_a_path_is_read(raw: bytes) -> None:
    stored = paths.encode(raw)
    for form in (stored, visible(stored), json.dumps(stored)[1:-1]):
        assert stored in paths.candidates(form)
    assert paths.stored_prefix(visible(stored)) == paths.stored_prefix(stored) == stored


@pytest.mark.parametrize("name", ["two\nlines", "tab\t", "back\\slash", "evil\u202egpj", "no\u00a0break\\"])
def test_a_path_is_read_as_the_system_writes_it(name: str) -> None:
    assert paths.encode(name) in paths.candidates(name)


@pytest.mark.parametrize("typed", ["x\\x41y", "\\x2e\\x2e", "\\xc3\\xa9", "a\\", "\\q", "C:\\xfg"])
def test_what_no_stored_path_can_be_is_read_as_on_disk(typed: str) -> None:
    assert paths.encode(typed) in paths.candidates(typed)
    assert paths.stored_prefix(typed) == paths.encode(typed) != typed


@pytest.mark.parametrize("text", ["\0", "\ud800", "a\udc80"])
def test_what_postgresql_cannot_hold_is_not_looked_for(text: str) -> None:
    assert readings(text) == []


def test_other_normal_forms() -> None:
    assert "Mu\u0308ller" in alike("M\u00fcller")
    assert "M\u00fcller" in alike("Mu\u0308ller")
    assert "fi" in alike("\ufb01")
    assert "no break" in alike("no\u00a0break")
    assert alike("plain") == []


def test_an_error_is_one_line_and_its_fix_one_command() -> None:
    error = UserDisabled(user="a b\n\x1b[2J@x")
    assert str(error) == "user a b\\u000a\\u001b[2J@x is disabled"
    words = shlex.split(error.remedy)
    assert words[:3] == ["dumacle", "users", "enable"]
    assert unescape(words[3]) == "a b\n\x1b[2J@x"
    assert "\u2028" not in str(Conflict(reason="a\u2028b", advice="c\x9b"))

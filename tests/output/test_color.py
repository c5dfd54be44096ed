"""Colour: on a terminal unless the environment or the person says no, and in a pipe only where it is asked for."""

import io
import sys
from collections.abc import Callable

import pytest

from dumacle_cli.__main__ import main
from dumacle_cli.console import Console
from dumacle_cli.options import Options
from tests.conftest import Run

pytestmark = pytest.mark.unit

LISTING = ("config", "list")
BOLD = "\x1b[1m"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def on_terminal(environment: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run the program on a terminal that shows colours, and return what it wrote there."""
    environment(TERM="xterm-256color")

    def call(*argv: str) -> str:
        terminal = Terminal()
        monkeypatch.setattr(sys, "stdout", terminal)
        assert main(argv) == 0
        return terminal.getvalue()

    return call


@pytest.mark.parametrize(
    ("choice", "environ", "expected"),
    [
        ("auto", {}, None),
        ("auto", {"TERM": "xterm"}, None),
        ("auto", {"NO_COLOR": ""}, None),
        ("auto", {"NO_COLOR": "1"}, False),
        ("auto", {"TERM": "dumb"}, False),
        ("never", {}, False),
        ("always", {}, True),
        ("always", {"NO_COLOR": "1", "TERM": "dumb"}, True),
    ],
)
def test_who_decides(choice: str, environ: dict[str, str], expected: bool | None) -> None:
    console = Console(None, None, environ)
    console.options = Options(color=choice)
    assert console.color is expected


def test_a_terminal_is_coloured_unless_told_not_to(
    on_terminal: Callable[..., str], environment: Callable[..., None]
) -> None:
    assert BOLD in on_terminal(*LISTING)
    assert "\x1b" not in on_terminal(*LISTING, "--color", "never")
    assert "\x1b" not in on_terminal(*LISTING, "-o", "json", "--color", "always")
    environment(NO_COLOR="1")
    assert "\x1b" not in on_terminal(*LISTING)
    assert BOLD in on_terminal(*LISTING, "--color", "always")


def test_a_dumb_terminal_gets_no_escape(on_terminal: Callable[..., str], environment: Callable[..., None]) -> None:
    environment(TERM="dumb")
    assert "\x1b" not in on_terminal(*LISTING)


@pytest.mark.parametrize("form", ["table", "json", "jsonl", "csv"])
def test_a_pipe_gets_no_escape(form: str, invoke: Run, environment: Callable[..., None]) -> None:
    environment(TERM="xterm-256color")
    result = invoke(*LISTING, "-o", form)
    assert "database_url" in result.out
    assert "\x1b" not in result.out + result.err


def test_a_pipe_that_wants_colours_gets_them(invoke: Run, environment: Callable[..., None]) -> None:
    environment(TERM="xterm-256color")
    assert BOLD in invoke(*LISTING, "--color", "always").out


@pytest.mark.parametrize("argv", [("--help",), ("users", "--help"), ("users", "list", "--help")])
def test_help_has_no_escape_in_a_pipe(argv: tuple[str, ...], invoke: Run) -> None:
    assert "\x1b" not in invoke(*argv).out


def test_an_error_has_no_escape_in_a_pipe(invoke: Run) -> None:
    assert "\x1b" not in invoke("users", "lst", expect=2).err

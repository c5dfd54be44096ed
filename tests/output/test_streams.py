"""The one door: nothing else writes, nothing that passes moves a cursor, and every encoding takes it."""

import ast
import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as some

import dumacle_cli
from dumacle_cli.escapes import unescape
from dumacle_cli.output import documents, grid, tables
from dumacle_cli.output.result import OutputFormat, OutputSpec, Result
from dumacle_cli.output.streams import Outlet

pytestmark = pytest.mark.unit

PACKAGE = Path(dumacle_cli.__file__).parent
# Who may touch a stream, and why.
DOORS = {
    "output/streams.py": "the door",
    "__main__.py": "takes the streams over, and gives them to the door; prints the version before anything is imported",
    "output/screen.py": "draws by rich, what it draws is escaped there",
    "output/steps.py": "draws over its own line",
    "transcode/reader.py": "is a child that writes to a pipe of ours",
}


NAMES = {"sys": {"stdout", "stderr", "__stdout__", "__stderr__"}, "getpass": {"getpass"}}
NAMES |= {name: {"echo", "secho", "confirm", "prompt"} for name in ("typer", "click", "_click")}


def touches(tree: ast.AST) -> Iterator[str]:
    """Yield what writes to a standard stream past the door."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="print" | "input" as name)):
                yield f"line {node.lineno}: {name}()"
            case ast.Attribute(value=ast.Name(id=owner), attr=name) if name in NAMES.get(owner, ()):
                yield f"line {node.lineno}: {owner}.{name}"
            case ast.Attribute(attr="unescaped"):
                yield f"line {node.lineno}: unescaped"
            case ast.ImportFrom(module="sys" | "getpass" as name):
                yield f"line {node.lineno}: from {name}"


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_nobody_writes_past_the_door(file: Path) -> None:
    found = list(touches(ast.parse(file.read_text("utf-8"))))
    if str(file.relative_to(PACKAGE)) not in DOORS:
        assert found == []


def test_the_doors_are_all_needed() -> None:
    for file in DOORS:
        assert file == "output/streams.py" or list(touches(ast.parse((PACKAGE / file).read_text("utf-8"))))


def test_what_writes_past_the_door_is_found() -> None:
    for line in ("print('x')", "sys.stderr.write('x')", "typer.echo('x')", "from sys import stdout"):
        assert list(touches(ast.parse(line)))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@given(some.text())
def test_a_terminal_gets_no_control_character(text: str) -> None:
    terminal = Terminal(newline="")
    Outlet(terminal, data=True).write(text)
    assert terminal.getvalue().replace("\n", "").isprintable()


@given(some.text(some.characters(exclude_categories=["Cs"])))
def test_a_pipe_gets_data_as_it_is(text: str) -> None:
    pipe = io.StringIO(newline="")
    Outlet(pipe, data=True).write(text)
    assert pipe.getvalue() == text


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8", "cp1252"])
@pytest.mark.parametrize("text", ["Łódź 写真", "\U0001f468", "\udc80", "plain"])
def test_no_encoding_lacks_a_letter(encoding: str, text: str) -> None:
    raw = io.BytesIO()
    outlet = Outlet(io.TextIOWrapper(raw, encoding=encoding))
    outlet.write(text)
    outlet.flush()
    assert unescape(raw.getvalue().decode(encoding)) == text


def test_a_stream_for_sentences_bears_that_nobody_takes_them() -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

        flush = write  # type: ignore[assignment]

    Outlet(Full(), ignore_errors=True).write("x")
    with pytest.raises(OSError, match="space"):
        Outlet(Full()).write("x")


# CSV


@dataclass(frozen=True, slots=True)
class Row:
    one: str
    two: str | None


def records(text: str) -> list[list[str]]:
    """Read CSV by the letter of RFC 4180, and refuse all else."""
    found: list[list[str]] = []
    record: list[str] = []
    at = 0
    while at < len(text):
        if text[at] == '"':
            field, at = "", at + 1
            while text[at] != '"' or text[at : at + 2] == '""':
                step = 2 if text[at] == '"' else 1
                field, at = field + text[at], at + step
            at += 1
        else:
            end = min(place for mark in (",", "\r\n") if (place := text.find(mark, at)) >= 0)
            field, at = text[at:end], end
            assert not set(field) & set('"\r\n')
        record.append(field)
        if text.startswith("\r\n", at):
            found, record, at = [*found, record], [], at + 2
        else:
            assert text[at] == ","
            at += 1
            if text.startswith("\r\n", at):
                found, record, at = [*found, [*record, ""]], [], at + 2
    assert not record
    return found


CELLS = some.text(
    some.one_of(some.sampled_from('",;\r\n\t =+-@\x1b\u2028'), some.characters(exclude_categories=["Cs"]))
)


@given(some.lists(some.tuples(CELLS, CELLS), max_size=5))
@example([("a\rb", " x ")])
@example([("\r", "\n")])
@example([('"', "=1+1")])
def test_csv_is_read_back_by_the_letter_of_the_rfc(rows: list[tuple[str, str]]) -> None:
    raw = io.BytesIO()
    out = Outlet(io.TextIOWrapper(raw, encoding="ascii", newline=""), data=True)
    view = OutputSpec("test", Row, many=True)
    documents.write(Result([Row(*row) for row in rows]), view, OutputFormat.CSV, out)
    out.flush()
    text = raw.getvalue().decode("utf-8")
    expected = [["one", "two"], *[list(row) for row in rows]]
    assert records(text) == expected
    assert list(csv.reader(io.StringIO(text, newline=""), strict=True)) == expected


@given(some.lists(some.tuples(CELLS, CELLS), min_size=1, max_size=5))
def test_a_table_in_a_pipe_has_one_line_a_row_and_its_columns_stand_in_line(rows: list[tuple[str, str]]) -> None:
    out = io.StringIO(newline="")
    tables.write(Result([Row(*row) for row in rows]), OutputSpec("test", Row, many=True), Outlet(out, data=True), False)
    lines = out.getvalue().split("\n")[:-1]
    assert len(lines) == 1 + len(rows)
    assert all(line.isprintable() for line in lines)
    start = grid.cells(lines[0][: lines[0].index("two")])
    for line, (one, _) in zip(lines[1:], rows, strict=True):
        width, at = 0, 0
        while width < start:
            width, at = width + grid.cells(line[at]), at + 1
        assert width == start
        assert unescape(line[:at].strip(" ")) == one or (not one and line[:at].strip() == "-")


@pytest.mark.parametrize(
    ("text", "wide"),
    [("abc", 3), ("日本語", 6), ("한국", 4), ("ｆｕｌｌ", 8), ("e\u0301", 1), ("👍", 2), ("ü", 1), ("\u1112\u1161", 2)],
)
def test_cells_are_counted_as_a_terminal_does(text: str, wide: int) -> None:
    assert grid.cells(text) == wide

"""Tables as a person reads them, and as a pipe gets them."""

import io
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from dumacle_cli.output import screen, tables
from dumacle_cli.output.result import OutputSpec, Result
from dumacle_cli.output.streams import Outlet
from dumacle_cli.units import Bytes, Seconds

pytestmark = pytest.mark.unit


@dataclass(frozen=True, slots=True)
class Part:
    name: str
    free: Bytes
    is_default: bool


@dataclass(frozen=True, slots=True)
class Whole:
    path: str
    status: str
    took: Seconds
    upload_limit: Bytes | None
    created_at: datetime
    period_end: datetime | None
    tags: list[str]
    found: dict[str, Any]
    parts: list[Part]


MIDNIGHT = datetime(2026, 12, 1, tzinfo=UTC)
FOUND = {"is_md5": True, "many_parts": False, "x\ty": "\t"}
WHOLE = Whole("a\nb", "active", 125, None, MIDNIGHT, MIDNIGHT, ["one", "two"], FOUND, [Part("films", 1024, True)])


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def written(data: Any, *, many: bool = False, out: io.StringIO | None = None, color: bool | None = False) -> str:
    out = out or io.StringIO()
    tables.write(Result(data), OutputSpec("test", Whole, many), Outlet(out, data=True), color)
    return out.getvalue()


def test_fields_of_one() -> None:
    assert written(WHOLE).splitlines() == [
        r"path          a\u000ab",
        "status        active",
        "took          2min 05s",
        "upload limit  unlimited",
        "created at    2026-12-01 00:00:00Z",
        "period end    2026-12-01 00:00Z",
        "tags          one",
        "              two",
        "found         md5: yes",
        "              many parts: no",
        r"              x\u0009y: \u0009",
        "parts",
        "  name       free  default",
        "  films  1.00 KiB  yes",
    ]


def test_an_earlier_result_has_its_fields_in_order() -> None:
    stored = dict(sorted(asdict(WHOLE).items()))
    assert written(stored) == written(WHOLE)


def test_an_empty_list_and_no_value_are_a_dash() -> None:
    shown = written(Whole("", "active", 0, 0, MIDNIGHT, None, [], {}, [])).splitlines()
    assert [line.split()[-1] for line in shown if line.split()[0] in ("path", "period", "tags", "found", "parts")] == [
        "-"
    ] * 5


def test_a_pipe_gets_each_row_on_one_line() -> None:
    long = Whole("x" * 3000, "active", 0, 0, MIDNIGHT, None, [], {}, [])
    shown = written([WHOLE, long], many=True).splitlines()
    assert len(shown) == 3
    assert "x" * 3000 in shown[2]
    assert shown == [line.rstrip() for line in shown]


def test_a_terminal_folds_the_widest_column_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "130")
    long = Whole("x" * 100, "active", 0, 0, MIDNIGHT, None, [], {}, [])
    shown = written([long], many=True, out=Terminal()).splitlines()
    assert len(shown) > 2
    assert "2026-12-01 00:00:00Z" in shown[1]
    assert all(len(line) <= 130 for line in shown)


def test_a_narrow_terminal_gets_records_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    shown = written([WHOLE, WHOLE], many=True, out=Terminal())
    one, two, end = shown.split("\n\n")
    assert (one, end) == (two, "")
    assert one.splitlines()[:4] == [
        r"path          a\u000ab",
        "status        active",
        "took          2min 05s",
        "upload limit  unlimited",
    ]
    assert "created at    2026-12-01 00:00:00Z" in one


def test_headings_are_never_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    data = Result([Part("films", 1024, True)])
    for columns in range(20, 30):
        monkeypatch.setenv("COLUMNS", str(columns))
        out = Terminal()
        tables.write(data, OutputSpec("test", Part, True), Outlet(out, data=True), False)
        assert {"name", "free", "default", "films", "1.00 KiB", "yes"} <= {
            " ".join(cell.split()) for cell in re.split(r"  |\n", out.getvalue())
        }, columns


def test_colour_only_where_it_is_wanted() -> None:
    assert "\x1b[32mactive" in written(WHOLE, out=Terminal(), color=True)
    assert "\x1b" not in written(WHOLE, out=Terminal(), color=False)
    assert "\x1b" not in written(WHOLE, color=None)


def test_a_reader_who_left_is_not_a_system_exit() -> None:
    class Left(io.StringIO):
        def flush(self) -> None:
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        screen.console(Outlet(Left()), None).print("x")

"""Progress without a terminal: lines as text and as JSON."""

import io
import json

import pytest

from dumacle_cli.ingest.items import Attempt, Item, Outcome, Result
from dumacle_cli.output import progress_lines
from dumacle_cli.output.progress_lines import Lines
from dumacle_cli.output.streams import Outlet

pytestmark = pytest.mark.unit
ATTEMPT = Attempt(Item("a.jpg", b"a.jpg", 2048, 1), 1, 1, 1, "k", False)


def lines(monkeypatch: pytest.MonkeyPatch, *, as_json: bool) -> list[str]:
    """What is written while two files of 2 KiB are uploaded in 2.5 s."""
    clock = iter(range(100))
    monkeypatch.setattr(progress_lines.time, "monotonic", lambda: next(clock) / 2)
    written = io.StringIO()
    with Lines(Outlet(written), as_json=as_json) as shown:
        shown.planned(2, 4096)
        shown.moved(ATTEMPT, 2048)
        shown.ended(Outcome("a.jpg", Result.UPLOADED, 2048, 1, "k"))
        shown.ended(Outcome("b.jpg", Result.UNCHANGED, 2048, 1))
    return written.getvalue().splitlines()


def test_a_line_a_second_and_one_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lines(monkeypatch, as_json=False) == [
        "0 of 2 files, 2.00 KiB of 4.00 KiB, 2.00 KiB/s",
        "1 of 2 files, 2.00 KiB of 4.00 KiB, 1.00 KiB/s",
        "1 of 2 files, 2.00 KiB of 4.00 KiB, 819 B/s",
    ]


def test_lines_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    assert json.loads(lines(monkeypatch, as_json=True)[-1]) == {
        "schema": "dumacle.progress.v1",
        "uploaded": 1,
        "planned": 2,
        "uploaded_size": 2048,
        "planned_size": 4096,
        "bytes_per_second": 819,
    }

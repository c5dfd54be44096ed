"""`dumacle local status` on a terminal of 80 columns: what is copied stands unbroken on one line."""

import pytest

from tests.conftest import Run
from tests.terminal import watch

pytestmark = pytest.mark.integration


def test_addresses_are_not_folded(installed: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    rows = installed("local", "status", "-o", "json").data
    screen = watch("local", "status", "--color", "never")[1].splitlines()
    for row in rows:
        for name in ("folder", "address", "log"):
            assert f"{name:<7}  {row[name]}" in screen

"""Scratch: private, gone at the end, and gone with the next worker where its own was killed."""

import stat
from pathlib import Path

import pytest

from dumacle_cli.transcode.scratch import PREFIX, scratch

pytestmark = pytest.mark.unit


def test_private_and_gone_at_the_end(tmp_path: Path) -> None:
    with scratch(tmp_path) as folder:
        assert folder.parent == tmp_path
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "film").write_text("bytes")
    assert list(tmp_path.iterdir()) == []


def test_removes_what_the_dead_left_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / f"{PREFIX}dead" / "unit").mkdir(parents=True)
    (tmp_path / f"{PREFIX}dead" / "unit" / "source").write_text("bytes")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / f"{PREFIX}link").symlink_to(elsewhere)
    with scratch(tmp_path) as living, scratch(tmp_path) as second:
        assert living.exists()
        assert {path.name for path in tmp_path.iterdir()} == {living.name, second.name, "elsewhere", f"{PREFIX}link"}
    assert elsewhere.exists()

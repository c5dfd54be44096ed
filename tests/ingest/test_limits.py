"""Which files a pod and its owner's plan accept: others are refused before a byte moves."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.store.database import Database
from tests.conftest import Result
from tests.ingest import checker

pytestmark = pytest.mark.integration
Upload = Callable[..., Result]
PNG = b"\x89PNG\r\n\x1a\n"


def limit(database: Database, table: str, **columns: str) -> None:
    with database.session() as session:
        changed = ", ".join(f"{name} = {value}" for name, value in columns.items())
        session.execute(text(f"UPDATE app.{table} SET {changed}"))


def results(result: Result) -> dict[str, int]:
    return {name: result.data[name] for name in ("uploaded", "refused", "failed") if result.data[name]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A picture and a page, each of them named as the other, and with a part of it that is sent in parts."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "picture.html").write_bytes(PNG + bytes(100))
    (folder / "page.txt").write_bytes(b"<html>" + bytes(100))
    (folder / "large.txt").write_bytes(b"words " * 200)
    return folder


@pytest.mark.parametrize("table", ["pods", "plans"])
@pytest.mark.parametrize("parts", ["1MiB", "500"])
def test_other_types_are_refused_before_bytes_move(
    table: str,
    parts: str,
    upload: Upload,
    folder: Path,
    database: Database,
    object_store: ObjectStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DUMACLE_LARGE_FILE_SIZE", parts)
    limit(database, table, allowed_types="'{image/*}'")
    foreseen = upload(folder, "--dry-run", expect=3)
    real = upload(folder, expect=3)
    assert results(foreseen) == results(real) == {"uploaded": 1, "refused": 2}
    assert "is text/plain, and" in real.err
    assert "takes only image/*" in real.err
    assert len(list(object_store.list(""))) == 1
    checker.books(database)
    limit(database, table, allowed_types="NULL")
    assert results(upload(folder)) == {"uploaded": 2}


@pytest.mark.parametrize("table", ["pods", "plans"])
def test_larger_files_are_refused(table: str, upload: Upload, folder: Path, database: Database) -> None:
    limit(database, table, max_file_size="1000")
    foreseen = upload(folder, "--dry-run", expect=3)
    real = upload(folder, expect=3)
    assert results(foreseen) == results(real) == {"uploaded": 2, "refused": 1}
    assert "takes files of 1000 B at most" in real.err


def test_where_all_are_refused_the_limit_is_told(upload: Upload, folder: Path, database: Database) -> None:
    limit(database, "pods", allowed_types="'{video/*}'")
    refused = upload(folder, expect=8)
    assert refused.error["fix"] == "to change that: dumacle pods update films --allow-types LIST"

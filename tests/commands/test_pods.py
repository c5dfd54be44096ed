"""`dumacle pods` through the only door: what is typed, what is shown, and with which exit status."""

import io
import sys
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text

from dumacle_cli.commands.pods import bar
from dumacle_cli.store.database import Database
from tests.factories import make_file, make_pod, make_user

Run = Callable[..., Any]
TIB = 1024**4


class Terminal(io.StringIO):
    """Someone who types."""

    def isatty(self) -> bool:
        return True


@pytest.mark.unit
@pytest.mark.parametrize(
    ("percent", "full"), [(0.0, 0), (0.1, 1), (2.5, 1), (50.0, 10), (99.9, 20), (100.0, 20), (130.0, 20)]
)
def test_bars(percent: float, full: int) -> None:
    assert bar(percent) == "#" * full + "." * (20 - full)


@pytest.mark.integration
def test_create_reads_sizes_and_takes_the_bucket_from_the_settings(run: Run, database: Database) -> None:
    made = run("pods", "create", "films", "--capacity", "1.5TiB", "--provider", "s3", "--set", "s3_bucket=b", *JSON)
    data = made.json["data"]
    assert (made.code, data["capacity"], data["provider"], data["bucket"]) == (0, TIB * 3 // 2, "s3", "b")
    assert run("pods", "create", "films", "--capacity", "1TiB", "--provider", "s3", "--bucket", "b").code == 7
    missing = run("pods", "create", "other", "--capacity", "1TiB", "--provider", "oracle")
    assert missing.code == 2
    assert "oracle_bucket" in missing.err
    assert run("pods", "create", "other", "--capacity", "much", "--provider", "s3", "--bucket", "b").code == 2
    assert run("pods", "create", "other", "--capacity", "1TiB", "--provider", "ftp", "--bucket", "b").code == 2


@pytest.mark.integration
def test_a_dry_run_creates_nothing(run: Run, database: Database) -> None:
    asked = ("pods", "create", "films", "--capacity", "1TiB", "--provider", "s3", "--bucket", "b")
    assert run(*asked, "--dry-run", *JSON).json["dry_run"] is True
    assert run("pods", "list", *JSON).json["data"] == []
    assert run(*asked).code == 0


@pytest.mark.integration
def test_grant_and_revoke_say_whether_they_changed_anything(run: Run, library: None) -> None:
    for verb in ("grant", "revoke"):
        changed = [run("pods", verb, "films", "bob@example.com", *JSON).json["changed"] for _ in range(2)]
        assert changed == [True, False]
    assert run("pods", "grant", "films", "nobody@example.com").code == 6


@pytest.mark.integration
def test_update_needs_something_to_change(run: Run, library: None) -> None:
    assert run("pods", "update", "films").code == 2
    assert run("pods", "update", "films", "--capacity", "6B").code == 7
    assert run("pods", "update", "films", "--secondary", "s3", *JSON).json["data"]["secondary"] == "s3"
    assert run("pods", "update", "films", "--secondary", "none", *JSON).json["data"]["secondary"] is None


@pytest.mark.integration
def test_delete_wants_the_name_where_files_live(run: Run, library: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("pods", "delete", "films").code == 2
    answers = [("films", "y", 1), ("empty", "n", 1), ("films", "films", 0), ("empty", "y", 0)]
    for pod, answer, status in answers:
        monkeypatch.setattr(sys, "stdin", Terminal(f"{answer}\n"))
        assert run("pods", "delete", pod).code == status, (pod, answer)
    assert run("pods", "grant", "films", "bob@example.com").code == 6
    deleted = run("pods", "list", "--deleted", "--sort", "name", *JSON).json["data"]
    assert [pod["name"] for pod in deleted] == ["empty", "films"]
    assert run("pods", "restore", "films", *JSON).json["changed"] is True
    assert run("pods", "show", "films").code == 0


@pytest.mark.integration
def test_usage_has_bars_for_people_and_bytes_for_scripts(run: Run, library: None) -> None:
    shown = run("pods", "usage")
    assert "##########.........." in shown.out
    assert "#" not in run("pods", "usage", *JSON).out
    films = run("pods", "usage", "films", *JSON).json["data"]
    expected = {"pod": "films", "owner": None, "capacity": 14, "used": 7, "reserved": 0, "free": 7}
    assert films == [expected | {"percent": 50.0, "files": 1}]
    owned = run("pods", "usage", "films", "--by-owner", *JSON).json["data"]
    assert [(row["owner"], row["used"], row["files"]) for row in owned] == [("ada@example.com", 7, 1)]
    assert "ada@example.com" in run("pods", "usage", "films", "--by-owner").out
    assert run("pods", "usage", "--by-owner").code == 2
    assert len(run("pods", "usage", "--all", "-o", "jsonl").out.splitlines()) == 2


@pytest.mark.integration
def test_check_exits_12_on_drift_until_it_is_repaired(run: Run, library: None, database: Database) -> None:
    assert run("pods", "check").code == 0
    with database.session() as session:
        session.execute(text("UPDATE app.pods SET used = used + 5 WHERE name = 'films'"))
    found = run("pods", "check", *JSON)
    drift = {"pod": "films", "user": None, "counter": "pod used", "recorded": 12, "actual": 7, "drift": -5}
    assert (found.code, found.json["data"], found.json["changed"]) == (12, [drift], False)
    foreseen = run("pods", "check", "--repair", "--dry-run", *JSON).json
    assert (foreseen["data"], foreseen["changed"]) == ([drift], True)
    assert run("pods", "check", "--quiet").code == 12
    assert run("pods", "check", "--repair").code == 0
    assert run("pods", "check").code == 0


JSON = ("-o", "json")


@pytest.fixture
def library(database: Database) -> None:
    """A pod of 14 bytes, half full with a file of ada's, and an empty one."""
    with database.session() as session:
        pod, ada = make_pod(session, "films", capacity=14), make_user(session, "ada@example.com")
        make_file(session, pod, ada, "a.txt", b"content")
        make_user(session, "bob@example.com")
        make_pod(session, "empty")

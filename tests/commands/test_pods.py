"""`dumacle pods` through the only door: what is typed, what is shown, and with which exit status."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text

from dumacle_cli.output.bar import bar
from dumacle_cli.store.database import Database
from tests.factories import make_file, make_pod, make_user
from tests.terminal import ask

Run = Callable[..., Any]
TIB = 1024**4
JSON = ("-o", "json")


@pytest.mark.unit
@pytest.mark.parametrize(
    ("percent", "full"), [(0.0, 0), (0.1, 1), (2.5, 1), (50.0, 10), (99.9, 20), (100.0, 20), (130.0, 20)]
)
def test_bars(percent: float, full: int) -> None:
    assert bar(percent) == "#" * full + "." * (20 - full)


@pytest.mark.integration
def test_create_reads_sizes_and_takes_the_bucket_from_the_settings(run: Run, database: Database) -> None:
    made = run("pods", "create", "films", "--capacity", "1.5TiB", "--provider", "s3", "--set", "s3_bucket=b", *JSON)
    data = made.data
    assert (made.code, data["capacity"], data["provider"], data["bucket"]) == (0, TIB * 3 // 2, "s3", "b")
    run("pods", "create", "films", "--capacity", "1TiB", "--provider", "s3", "--bucket", "b", expect=7)
    missing = run("pods", "create", "other", "--capacity", "1TiB", "--provider", "oracle", expect=2)
    assert "oracle_bucket" in missing.err
    run("pods", "create", "other", "--capacity", "much", "--provider", "s3", "--bucket", "b", expect=2)
    run("pods", "create", "other", "--capacity", "1TiB", "--provider", "ftp", "--bucket", "b", expect=2)


@pytest.mark.integration
def test_a_dry_run_creates_nothing(run: Run, database: Database) -> None:
    asked = ("pods", "create", "films", "--capacity", "1TiB", "--provider", "s3", "--bucket", "b")
    assert run(*asked, "--dry-run", *JSON).json["dry_run"] is True
    assert run("pods", "list", *JSON).data == []
    run(*asked)


@pytest.mark.integration
def test_grant_and_revoke_say_whether_they_changed_anything(run: Run, library: None) -> None:
    for verb in ("grant", "revoke"):
        changed = [run("pods", verb, "films", "bob@example.com", *JSON).json["changed"] for _ in range(2)]
        assert changed == [True, False]
    run("pods", "grant", "films", "nobody@example.com", expect=6)


@pytest.mark.integration
def test_update_needs_something_to_change(run: Run, library: None) -> None:
    run("pods", "update", "films", expect=2)
    run("pods", "update", "films", "--capacity", "6B", expect=7)
    run("pods", "update", "films", "--secondary", "s3", "--no-secondary", expect=2)
    run("pods", "update", "films", "--secondary-bucket", "b", expect=2)


@pytest.mark.integration
def test_delete_wants_the_name_where_files_live(run: Run, library: None) -> None:
    run("pods", "delete", "films", expect=2)
    answers = [("films", "y", 1), ("empty", "n", 1), ("films", "films", 0), ("empty", "y", 0)]
    for pod, answer, status in answers:
        assert ask(answer, "pods", "delete", pod).code == status, (pod, answer)
    run("pods", "grant", "films", "bob@example.com", expect=6)
    assert [pod["name"] for pod in run("pods", "list", "--deleted", "--sort", "name", *JSON).data] == ["empty", "films"]
    assert run("pods", "restore", "films", *JSON).json["changed"] is True
    run("pods", "show", "films")


@pytest.mark.integration
def test_usage_has_bars_for_people_and_bytes_for_scripts(run: Run, library: None) -> None:
    shown = run("pods", "usage")
    assert "##########.........." in shown.out
    assert "#" not in run("pods", "usage", *JSON).out
    films = run("pods", "usage", "films", *JSON).data
    expected = {"pod": "films", "owner": None, "capacity": 14, "used": 7, "reserved": 0, "free": 7}
    assert films == [expected | {"percent": 50.0, "files": 1}]
    owned = run("pods", "usage", "films", "--by-owner", *JSON).data
    assert [(row["owner"], row["used"], row["files"]) for row in owned] == [("ada@example.com", 7, 1)]
    assert "ada@example.com" in run("pods", "usage", "films", "--by-owner").out
    run("pods", "usage", "--by-owner", expect=2)
    assert len(run("pods", "usage", "--all", "-o", "jsonl").out.splitlines()) == 2


@pytest.mark.integration
def test_check_exits_12_on_drift_until_it_is_repaired(run: Run, library: None, database: Database) -> None:
    run("pods", "check")
    with database.session() as session:
        session.execute(text("UPDATE app.pods SET used = used + 5 WHERE name = 'films'"))
    found = run("pods", "check", *JSON, expect=12)
    drift = {"pod": "films", "user": None, "counter": "pod used", "recorded": 12, "actual": 7, "drift": -5}
    assert (found.data, found.json["changed"]) == ([drift], False)
    foreseen = run("pods", "check", "--repair", "--dry-run", *JSON).json
    assert (foreseen["data"], foreseen["changed"]) == ([drift], True)
    run("pods", "check", "--quiet", expect=12)
    run("pods", "check", "--repair")
    run("pods", "check")


@pytest.fixture
def library(database: Database) -> None:
    """A pod of 14 bytes, half full with a file of ada's, and an empty one."""
    with database.session() as session:
        pod, ada = make_pod(session, "films", capacity=14), make_user(session, "ada@example.com")
        make_file(session, pod, ada, "a.txt", b"content")
        make_user(session, "bob@example.com")
        make_pod(session, "empty")

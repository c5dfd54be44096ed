"""Several processes share one run: each file is uploaded once, whoever dies, sleeps or comes late."""

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.local.process import wait
from dumacle_cli.store.database import Database
from tests.conftest import Result, Run
from tests.ingest import checker
from tests.ingest.conftest import Fill, Home
from tests.processes import Begin, Process, program

__all__ = ["program"]
pytestmark = pytest.mark.integration

SECONDS = 180
SLOW = ("--set", "upload_concurrency=4", "--bandwidth", "700KiB")


@pytest.fixture
def begin(configured: None, home: Home, program: Begin) -> Begin:
    """Start uploads as processes of their own."""
    to = ("--pod", "films", "--owner", "ada@example.com", "-o", "json")
    return lambda *arguments: program("files", "upload", *arguments, *to)


def many(fill: Fill, files: int = 1000) -> Path:
    return fill(**{f"n{number}": 20_000 + number for number in range(files)})


def uploaded(database: Database) -> int:
    with database.session() as session:
        return int(session.scalar(text("SELECT count(version_id) FROM app.files")) or 0)


def once(database: Database, store: ObjectStore, folder: Path) -> None:
    """Every file is there, and was uploaded by one attempt."""
    checker.check(database, store, checker.tree(folder))
    with database.session() as session:
        assert session.scalar(text("SELECT count(*) FROM app.versions WHERE status = 'superseded'")) == 0


def end(process: Process) -> None:
    said = process.communicate(timeout=SECONDS)[1]
    assert process.returncode == 0, said


def test_two_share_the_work(begin: Begin, run: Run, fill: Fill, database: Database, object_store: ObjectStore) -> None:
    folder = many(fill)
    processes = [begin(folder, "--join", *SLOW) for _ in range(2)]
    for process in processes:
        end(process)
    once(database, object_store, folder)
    shown = run("files", "runs", "show", "1", "-o", "json").data
    assert (shown["status"], shown["uploaded"], shown["missing"]) == ("done", 1000, 0)
    assert len(shown["parts"]) == 2
    assert min(part["uploaded"] for part in shown["parts"]) > 0
    with database.session() as session:
        assert session.scalar(text("SELECT count(*) FROM app.versions")) == 1000


def test_without_join_a_run_is_busy_and_says_how(
    begin: Begin, upload: Callable[..., Result], fill: Fill, database: Database
) -> None:
    folder = many(fill)
    first = begin(folder, *SLOW)
    wait(lambda: uploaded(database) > 0, SECONDS)
    error = upload(folder, expect=9).error
    assert (error["code"], "--join" in error["fix"]) == ("run-busy", True)
    end(first)


def test_join_begins_a_run_where_there_is_none(
    upload: Callable[..., Result], fill: Fill, database: Database, object_store: ObjectStore
) -> None:
    folder = fill(a=1, b=2)
    assert upload(folder, "--join").data["uploaded"] == 2
    once(database, object_store, folder)


@pytest.mark.parametrize("victim", [0, 1])
def test_one_is_killed_and_the_other_does_all(
    victim: int, begin: Begin, run: Run, fill: Fill, database: Database, object_store: ObjectStore
) -> None:
    folder = many(fill, 800)
    processes = [begin(folder, *SLOW)]
    wait(lambda: uploaded(database) > 0, SECONDS)
    processes.append(begin(folder, "--join", *SLOW))
    wait(lambda: len(list_parts(database)) == 2, SECONDS)
    processes[victim].kill()
    processes[victim].wait()
    end(processes[1 - victim])
    once(database, object_store, folder)
    assert run("files", "runs", "show", "1", "-o", "json").data["status"] == "done"


def list_parts(database: Database) -> list[int]:
    with database.session() as session:
        return list(session.scalars(text("SELECT id FROM app.runs WHERE ended_at IS NULL")))


def test_one_that_slept_cannot_harm(
    begin: Begin, run: Run, fill: Fill, database: Database, object_store: ObjectStore
) -> None:
    folder = many(fill, 600)
    sleeper = begin(folder, *SLOW)
    wait(lambda: uploaded(database) > 0, SECONDS)
    sleeper.send_signal(signal.SIGSTOP)
    other = begin(folder, "--join", *SLOW)
    end(other)  # It waits until the leases of the first have run out.
    assert uploaded(database) == 600
    sleeper.send_signal(signal.SIGCONT)
    sleeper.communicate(timeout=SECONDS)
    time.sleep(1)
    run("files", "reap", "--older-than", "0s")
    once(database, object_store, folder)

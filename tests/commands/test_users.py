"""`dumacle users` through the program's only door."""

import json
from pathlib import Path

import pytest
from sqlalchemy import func, select

from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.services import imports
from dumacle_cli.store.database import Database
from dumacle_cli.store.models import File, Lease, Operation, Subscription, User, Version
from tests.conftest import ROOT_EMAIL, Run
from tests.factories import (
    make_file,
    make_grant,
    make_plan,
    make_pod,
    make_rendition,
    make_subscription,
    make_transcode,
    make_user,
)
from tests.terminal import ask

pytestmark = pytest.mark.integration


def _count(database: Database, table: type) -> int:
    with database.session() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def _endusers(database: Database) -> int:
    with database.session() as session:
        return session.scalar(select(func.count()).where(User.role == "enduser")) or 0


def test_a_users_life(run: Run) -> None:
    made = run("users", "create", "Ada@x", "--name", "Ada", "-o", "json")
    assert made.json["changed"]
    run("users", "create", "ada@x", expect=7)
    assert run("users", "disable", "ada@x", "-o", "json").json["changed"]
    assert not run("users", "disable", str(made.data["id"]), "-o", "json").json["changed"]
    run("users", "enable", "ada@x")
    run("users", "update", "ada@x", "--email", "eve@x", "--role", "admin")
    run("users", "show", "ada@x", expect=6)
    run("users", "delete", "eve@x")
    assert [user["email"] for user in run("users", "list", "-o", "json").data] == [ROOT_EMAIL]
    assert [user["email"] for user in run("users", "list", "--deleted", "-o", "json").data] == ["eve@x"]
    run("users", "restore", "eve@x")
    listed = run("users", "list", "--role", "admin", "--status", "active", "--sort", "email", "-o", "json").data
    assert [user["email"] for user in listed] == ["eve@x"]


def test_show_says_why_for_people_too(run: Run, database: Database) -> None:
    with database.session() as session:
        user = make_user(session, "ada@x")
        make_grant(session, make_pod(session, "films", capacity=2048), user, is_default=True)
        make_subscription(session, user, make_plan(session, "pro", storage_limit=0))
    out = run("users", "show", "ada@x").out
    assert "the storage quota is used up  dumacle quotas set ada@x --storage SIZE" in out
    assert "films  2.00 KiB  yes" in out
    assert "unlimited" in out


# Purge


def test_purge_erases_user_files_and_bytes(run: Run, database: Database, object_store: ObjectStore) -> None:
    with database.session() as session:
        user, other = make_user(session, "ada@x"), make_user(session, "bob@x")
        pod = make_pod(session, "films", bucket=object_store.location.bucket)
        make_subscription(session, user, make_plan(session, "pro"))
        make_grant(session, pod, user)
        film = make_file(session, pod, user, "a.bin", b"12345", store=object_store)
        make_rendition(session, make_transcode(session, film), {"a.mp4": b"1234567"}, store=object_store)
        make_transcode(session, film, "mp4", "running", reserved=9)
        make_file(session, pod, user, "b.bin", b"123", store=object_store, deleted_at=func.now())
        make_file(session, pod, other, "c.bin", b"1", store=object_store)
    planned = run("users", "purge", "ada@x", "--yes", "--dry-run", "-o", "json")
    assert (planned.data["files"], planned.data["bytes"], planned.json["changed"]) == (2, 8 + 7, True)
    assert (_count(database, File), _endusers(database), _count(database, Operation)) == (3, 2, 0)
    done = run("users", "purge", "ada@x", "--yes", "--op-id", "p1", "-o", "json")
    assert done.data == planned.data
    assert (_count(database, File), _endusers(database), _count(database, Subscription)) == (1, 1, 0)
    assert len(list(object_store.list(""))) == 1
    usage = run("pods", "usage", "films", "-o", "json").data[0]
    assert (usage["used"], usage["reserved"]) == (1, 0)
    repeated = run("users", "purge", "ada@x", "--yes", "--op-id", "p1", "-o", "json")
    assert (repeated.data, repeated.json["changed"]) == (planned.data | {"email": "[erased]"}, False)
    run("users", "purge", "ada@x", "--yes", expect=6)


def test_purge_waits_for_open_uploads_and_goes_on_later(run: Run, database: Database) -> None:
    with database.session() as session:
        user, pod = make_user(session, "ada@x"), make_pod(session, "films")
        lease = Lease(pod_id=pod.id, user_id=user.id, granted=0, period_start=func.now(), until=func.now())
        session.add(lease)
        session.flush()
        file = make_file(session, pod, user)
        file.version_id = None
        session.flush()
        session.execute(Version.__table__.update().values(lease_id=lease.id))
    run("users", "purge", "ada@x", "--yes", expect=7)
    assert [user["email"] for user in run("users", "list", "--deleted", "-o", "json").data] == ["ada@x"]


def test_purge_asks(run: Run, database: Database) -> None:
    run("users", "create", "ada@x")
    run("users", "purge", "ada@x", expect=2)
    assert _endusers(database) == 1


@pytest.mark.parametrize(("answer", "code", "left"), [("y", 1, 2), ("bob@x", 1, 2), ("", 1, 2), ("ada@x", 0, 1)])
def test_purge_wants_the_email_typed(
    run: Run, database: Database, object_store: ObjectStore, answer: str, code: int, left: int
) -> None:
    with database.session() as session:
        pod = make_pod(session, "films", bucket=object_store.location.bucket)
        for email in ("ada@x", "bob@x"):
            make_file(session, pod, make_user(session, email), "a.bin", b"12345", store=object_store)
    asked = ask(answer, "users", "purge", "ada@x")
    assert asked.code == code
    assert "Permanently erase ada@x with 1 files (5 B)?" in asked.err
    assert "Type ada@x to continue" in asked.err
    assert (_endusers(database), _count(database, File), len(list(object_store.list("")))) == (left, left, left)
    assert len(run("users", "list", "--role", "enduser", "-o", "json").data) == left


# Import


def test_import_accounts_for_each_line(run: Run, database: Database, tmp_path: Path) -> None:
    run("users", "create", "bob@x")
    file = tmp_path / "users.csv"
    file.write_bytes(b"email,name\nada@x,Ada\nbob@x,\nada@x,\n\xff@x,\n")
    expected = ["created", "unchanged", "unchanged", "failed"]
    planned = run("users", "import", file, "--dry-run", "-o", "json", expect=3)
    assert ([line["result"] for line in planned.data], _endusers(database)) == (expected, 1)
    done = run("users", "import", file, "--op-id", "i1", "-o", "json", expect=3)
    assert done.data == planned.data
    assert (done.json["changed"], done.json["operation"]) == (True, "i1")
    run("users", "purge", "ada@x", "--yes")
    repeated = run("users", "import", file, "--op-id", "i1", "-o", "json", expect=3)
    forgotten = [line | {"email": "[erased]"} if line["email"] == "ada@x" else line for line in done.data]
    assert (repeated.data, repeated.json["changed"], _endusers(database)) == (forgotten, False, 1)
    file.write_text("email\nother@x\n")
    assert run("users", "import", file, "--op-id", "i1", "-o", "json", expect=7).error["code"] == "operation-reused"


def test_import_in_several_batches(run: Run, database: Database) -> None:
    number = 2 * imports.BATCH + 1
    lines = "".join(json.dumps({"email": f"u{n}@x"}) + "\n" for n in range(number))
    planned = run("users", "import", "-", "--format", "jsonl", "--dry-run", "-o", "jsonl", stdin=lines + lines)
    assert _endusers(database) == 0
    done = run("users", "import", "-", "--format", "jsonl", "-o", "jsonl", stdin=lines + lines)
    assert done.out == planned.out
    results = [json.loads(line)["result"] for line in done.out.splitlines()]
    assert (results.count("created"), results.count("unchanged")) == (number, number)
    assert _endusers(database) == number
    assert _count(database, Operation) == 5


def test_import_in_quiet_shows_only_what_failed(run: Run) -> None:
    assert run("users", "import", "-", "--format", "csv", "-q", stdin="email\nada@x\n").out == ""
    out = run("users", "import", "-", "--format", "csv", "-q", "-o", "jsonl", stdin="email\nada@x\nbad\n", expect=3).out
    assert [json.loads(line)["line"] for line in out.splitlines()] == [3]


def test_import_says_what_is_wrong_with_the_file(run: Run, tmp_path: Path) -> None:
    run("users", "import", tmp_path / "nowhere.csv", expect=2)
    run("users", "import", "-", stdin="email\n", expect=2)
    wrong = run("users", "import", "-", "--format", "csv", "-o", "json", stdin="ada@x\n", expect=2)
    assert "first line must name the columns" in wrong.error["message"]
    empty = run("users", "import", "-", "--format", "csv", "-o", "json", stdin="email\n")
    assert (empty.data, empty.json["changed"]) == ([], False)

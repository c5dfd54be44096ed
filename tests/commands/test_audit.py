"""`dumacle audit` through the only door."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text

from dumacle_cli.local import servers
from dumacle_cli.local.servers import Servers
from dumacle_cli.store import logins
from dumacle_cli.store.database import Database
from dumacle_cli.store.models import User
from tests.conftest import ROOT, ROOT_EMAIL, Run
from tests.factories import make_file, make_pod, make_user

pytestmark = pytest.mark.integration

JSON = ("-o", "json")
LIST = ("audit", "list", *JSON)


@pytest.fixture(autouse=True)
def ada(run: Run) -> int:
    """A user who was created on Monday and renamed on Tuesday."""
    made = run("users", "create", "ada@example.com", "--op-id", "monday", *JSON).data
    run("users", "update", "ada@example.com", "--name", "Ada", "--op-id", "tuesday")
    return int(made["id"])


def told(changes: Any) -> list[tuple[str, str]]:
    return [(change["action"], change["target"]) for change in changes]


def test_change_by_a_command_names_the_user_his_login_and_the_operation(run: Run, ada: int) -> None:
    (listed,) = run(*LIST, "--operation", "tuesday").data
    shown = run("audit", "show", str(listed["id"]), *JSON).data
    assert shown.pop("changes") == [{"column": "name", "before": "", "after": "Ada"}]
    assert shown == listed
    assert (listed["actor"], listed["login"], listed["on_behalf_of"]) == (ROOT_EMAIL, ROOT, "ada@example.com")
    assert (listed["action"], listed["target"], listed["operation"]) == ("update", f"users:{ada}", "tuesday")


def test_dry_run_and_repeat_are_not_recorded(run: Run) -> None:
    before = run(*LIST).data
    run("users", "update", "ada@example.com", "--name", "Eve", "--dry-run")
    run("users", "update", "ada@example.com", "--name", "Ada", "--op-id", "tuesday")
    assert run(*LIST).data == before


def test_list_pages_from_the_latest(run: Run, ada: int) -> None:
    changes = (*LIST, "--target", f"users:{ada}")
    both = [("update", f"users:{ada}"), ("insert", f"users:{ada}")]
    assert told(run(*changes).data) == both
    first = run(*changes, "--limit", "1").json
    assert told(first["data"]) == both[:1]
    assert told(run(*changes, "--limit", "1", "--after", first["next"]).data) == both[1:]
    assert told(run(*changes, "--limit", "1", "--all").data) == both


@pytest.mark.parametrize(
    ("found", "missed"),
    [
        (("--actor", ROOT_EMAIL), ("--actor", "ada@example.com")),
        (("--actor", "1"), ("--actor", "999")),
        (("--login", ROOT), ("--login", "another")),
        (("--target", "users"), ("--target", "plans")),
        (("--target", "users:ada@example.com"), ("--target", f"users:{ROOT_EMAIL}")),
        (("--action", "update"), ("--action", "delete")),
        (("--operation", "tuesday"), ("--operation", "friday")),
        (("--since", "1h"), ("--since", "2100-01-01")),
        (("--until", "2100-01-01T00:00:00Z"), ("--until", "1h")),
    ],
)
def test_filters(run: Run, ada: int, found: tuple[str, str], missed: tuple[str, str]) -> None:
    assert ("update", f"users:{ada}") in told(run(*LIST, *found).data)
    assert ("update", f"users:{ada}") not in told(run(*LIST, *missed).data)


def test_files_of_a_bulk_change_are_found_one_by_one(run: Run, database: Database, ada: int) -> None:
    with database.session() as session:
        pod, owner = make_pod(session), session.get_one(User, ada)
        ids = [make_file(session, pod, owner).id for _ in range(2)]
        session.execute(text("UPDATE app.files SET deleted_at = now()"))
    first, second = (run(*LIST, "--target", f"files:{id_}", "--limit", "1").data for id_ in ids)
    assert first == second
    shown = run("audit", "show", str(first[0]["id"]), *JSON).data["changes"]
    assert {value["column"]: value["after"] for value in shown}["ids"] == ids


def test_show_reads_well(run: Run, ada: int) -> None:
    (id_,) = (change["id"] for change in run(*LIST, "--operation", "tuesday").data)
    shown = [" ".join(line.split()) for line in run("audit", "show", str(id_)).out.splitlines()]
    assert shown[0] == f"id {id_}"
    assert f"target users:{ada}" in shown
    assert shown[-3:] == ["changes", "column before after", "name - Ada"]


def test_export_writes_what_was_before_and_after_from_the_earliest(run: Run, ada: int) -> None:
    lines = run("audit", "export", "--target", "users:ada@example.com", "-o", "jsonl").out.splitlines()
    made, renamed = map(json.loads, lines)
    assert (made["action"], made["before"], made["after"]["email"]) == ("insert", None, "ada@example.com")
    assert (renamed["before"], renamed["after"]) == ({"name": ""}, {"name": "Ada"})
    assert len(run("audit", "export", "--since", "1h", "-o", "csv").out.splitlines()) > 2


def test_who_was_purged_is_still_named_by_his_id(run: Run, ada: int) -> None:
    run("users", "purge", "ada@example.com", "--yes")
    (gone,) = run(*LIST, "--target", f"users:{ada}", "--action", "delete").data
    assert gone["on_behalf_of"] == str(ada)


@pytest.mark.parametrize(
    ("typed", "status", "code"),
    [
        (("list", "--target", "user"), 2, "invalid-value"),
        (("list", "--target", "users:nobody@example.com"), 6, "not-found"),
        (("list", "--target", "plans:\udcff"), 2, "invalid-value"),
        (("list", "--login", "\udcff"), 2, "invalid-value"),
        (("list", "--actor", "nobody@example.com"), 6, "not-found"),
        (("list", "--since", "yesterday"), 2, "invalid-value"),
        (("export", "--since", "999999999w"), 2, "invalid-value"),
        (("show", "999999999"), 6, "not-found"),
    ],
)
def test_refusals(run: Run, typed: tuple[str, ...], status: int, code: str) -> None:
    assert run("audit", *typed, *JSON, expect=status).error["code"] == code


def test_admin_is_told_that_it_takes_a_superadmin(
    run: Run, database: Database, embedded: Servers, copied: str, environment: Callable[..., None]
) -> None:
    with database.session() as session:
        login = logins.grant_personal(session, make_user(session, role="admin").id, embedded.owner_password)
    environment(DUMACLE_DATABASE_URL=servers.url(embedded, login, embedded.owner_password, copied))
    for typed in (("list",), ("list", "--target", "files:1"), ("show", "1"), ("export",)):
        refused = run("audit", *typed, expect=5)
        assert refused.out == ""
        assert "superadmin" in refused.err

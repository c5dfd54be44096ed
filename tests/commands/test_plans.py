"""`dumacle plans` through the program's only door."""

import pytest

from tests.conftest import Run

pytestmark = pytest.mark.integration

CREATE = ("plans", "create", "starter", "--price", "9.99", "--storage", "500GiB", "--upload", "unlimited")


def test_what_is_typed_becomes_limits(run: Run) -> None:
    made = run(*CREATE, "--transcode-minutes", "600", "-o", "json").data
    limits = {"storage_limit": 500 * 1024**3, "upload_limit": None, "transcode_limit": 36_000}
    assert made | limits == made
    assert (made["price"], made["currency"], made["interval"]) == ("9.99", "EUR", "month")
    changed = run("plans", "update", "starter", "--upload", "1GiB", "--transcode-minutes", "unlimited", "-o", "json")
    assert changed.data | {"upload_limit": 1024**3, "transcode_limit": None} == changed.data
    assert changed.json["changed"]
    assert run("plans", "show", "starter", "-o", "json").data["subscribers"] == 0


@pytest.mark.parametrize(
    "option",
    [
        ("--price", "x"),
        ("--currency", "E"),
        ("--storage", "much"),
        ("--transcode-minutes", "1.5"),
        ("--interval", "day"),
    ],
)
def test_what_cannot_be_typed(run: Run, option: tuple[str, str]) -> None:
    run(*CREATE, *option, expect=2)


def test_price_and_currency_belong_together(run: Run) -> None:
    run(*CREATE)
    for option in (("--price", "5"), ("--currency", "JPY")):
        run("plans", "update", "starter", *option, expect=2)
    assert run("plans", "update", "starter", "--price", "5", "--currency", "JPY", "-o", "json").data["price"] == "5"


def test_archive_restore_and_errors(run: Run) -> None:
    run(*CREATE)
    run(*CREATE, expect=7)
    run("plans", "show", "nope", expect=6)
    assert run("plans", "archive", "starter", "-o", "json").data["status"] == "archived"
    assert run("plans", "list", "-o", "json").data == []
    assert [plan["name"] for plan in run("plans", "list", "--archived", "-o", "json").data] == ["starter"]
    assert (
        run("users", "create", "ada@x", "--plan", "starter", "-o", "json", expect=7)
        .error["fix"]
        .endswith("restore starter")
    )
    assert run("plans", "restore", "starter", "-o", "json").json["changed"]

"""What only resembles an id is not found, whichever command and argument it is given to."""

from collections.abc import Iterator
from typing import Any

import pytest

from dumacle_cli import commands
from dumacle_cli.__main__ import main
from dumacle_cli.ids import LARGEST, looks_like_id, parse_id
from tests.conftest import Run
from tests.promises import WALKED, example

NO_IDS = ["²", "9" * 5000, "+1", " 1", "1_0", "１", str(LARGEST + 1)]
ARGUMENTS = ("USER", "POD", "PLAN", "FILE", "ID", "USER|ID", "EVENT")
OPTIONS = ("USER", "POD", "PLAN")
ELSEWHERE = {("users import", "file"), ("plans create", "name")}
"""A file on this machine, and the name of a new plan."""
ALTERNATIVES = {"files purge": ["--older-than", "30d"], "pods credentials clear": ["--default"]}
"""What a command's example gives instead of the argument."""
LEAVES = dict(commands.walk())


def references() -> Iterator[tuple[str, Any]]:
    """Yield each parameter that names a row, with its command."""
    for path in WALKED:
        for param in LEAVES[path].params:
            known = OPTIONS if param.opts[0].startswith("-") else ARGUMENTS
            if param.metavar in known and (path, param.name) not in ELSEWHERE:
                yield path, param


def naming(path: str, param: Any, value: str) -> list[str]:
    """Return the arguments of a command's example, with another value of this parameter."""
    argv = example(path)
    words, given = argv[: len(path.split())], argv[len(path.split()) :]
    if param.opts[0].startswith("-"):
        if param.opts[0] in given:
            given[given.index(param.opts[0]) + 1] = value
            return [*words, *given]
        return [*words, *given, param.opts[0], value]
    was = LEAVES[path].make_context(path, list(given), resilient_parsing=True).params[param.name]
    if not was:
        return [*words, value, *(word for word in given if word not in ALTERNATIVES.get(path, []))]
    given[given.index(was if isinstance(was, str) else was[0])] = value
    return [*words, *given]


@pytest.mark.integration
@pytest.mark.parametrize("typed", NO_IDS, ids=range(len(NO_IDS)))
def test_no_command_takes_for_an_id_what_is_none(typed: str, seeded: Run) -> None:
    asked = [(path, param.name, naming(path, param, typed)) for path, param in references()]
    assert len(asked) > 80
    found = {(path, name): main(argv) for path, name, argv in asked}
    assert {where: code for where, code in found.items() if code != 6} == {}


@pytest.mark.unit
@pytest.mark.parametrize("typed", ["", "a1", "1.5", "-1", "0x1", *NO_IDS])
def test_what_is_no_id(typed: str) -> None:
    assert parse_id(typed) is None


@pytest.mark.unit
def test_ids_reach_as_far_as_a_bigint() -> None:
    assert [parse_id(typed) for typed in ("0", "7", str(LARGEST))] == [0, 7, LARGEST]
    assert all(map(looks_like_id, ["7", *NO_IDS]))
    assert not any(map(looks_like_id, ["", "a/7", "film.mp4", "7.mp4"]))

"""Help as a newcomer reads it, and what a refusal says of what was typed."""

import re
import sys
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

from dumacle_cli import commands, errors
from dumacle_cli.commands import help
from dumacle_cli.commands.tree import Group
from tests.conftest import Run

pytestmark = pytest.mark.unit

LEAVES = dict(commands.walk())
GROUPS = {name: node for name in commands.GROUPS if isinstance(node := commands.load(name), Group)}
GROUPS |= {
    f"{name} {child}": node
    for name, group in GROUPS.items()
    for child, node in group.children().items()
    if isinstance(node, Group)
}
# In this order where a group has them: what is looked at first, then how it comes and goes.
VERBS = ("create", "list", "show", "update", "delete", "restore", "purge")


def words(said: str) -> str:
    return " ".join(said.split())


def application(*argv: str) -> tuple[int, str, str]:
    """Run the Typer application by itself, 80 columns wide; returns its exit status and what it printed."""
    with CliRunner().isolation() as (out, err, _):
        with pytest.raises(SystemExit) as ended:
            commands.root().main(argv, prog_name="dumacle")
        sys.stdout.flush()
        return int(ended.value.code or 0), out.getvalue().decode(), err.getvalue().decode()


def help_of(path: str) -> str:
    status, said, complaint = application(*path.split(), "--help")
    assert (status, complaint) == (0, "")
    return said


@pytest.mark.parametrize("path", ["", *GROUPS, *LEAVES])
def test_help_fits_and_shows_no_python(path: str) -> None:
    said = help_of(path)
    example = said.partition("\nExample:\n")[2].partition("\n")[0]  # whole, so that it can be copied
    assert [line for line in said.splitlines() if len(line) > 80 and line != example] == []
    assert re.findall(r"<\w+|list\[|x[<>]=|<=x|\[\[|\{", said) == []
    assert words(said).count("dumacle --help") == (path != "")


@pytest.mark.parametrize("columns", ["50", "80"])
@pytest.mark.parametrize("path", GROUPS)
def test_help_of_a_group_cuts_no_summary(
    path: str, columns: str, invoke: Run, environment: Callable[..., None]
) -> None:
    environment(COLUMNS=columns)
    said = words(invoke(*path.split(), "--help").out)
    for name, node in GROUPS[path].children().items():
        assert f"{name} {words(node.help.split(chr(10) * 2)[0])}" in said


@pytest.mark.parametrize("path", GROUPS)
def test_verbs_stand_in_the_same_order_everywhere(path: str) -> None:
    names = [name for name in GROUPS[path].commands if name in VERBS]
    assert names == sorted(names, key=VERBS.index)


def test_logins_come_behind_what_users_are() -> None:
    assert list(GROUPS["users"].commands)[-3:] == ["grant-login", "revoke-login", "set-role"]


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("files upload", "[OPTIONS] --owner USER [PATH...]"),
        ("files download", "[OPTIONS] [FILE]"),
        ("plans push", "[OPTIONS] [PLAN...]"),
        ("config list", "[OPTIONS]"),
        ("plans", "[OPTIONS] COMMAND [ARGS]..."),
    ],
)
def test_usage(path: str, line: str) -> None:
    assert help_of(path).startswith(f"Usage: dumacle {path} {line}\n")


@pytest.mark.parametrize("path", ["", *GROUPS])
def test_a_command_that_does_not_exist(path: str) -> None:
    status, said, complaint = application(*path.split(), "nonsense")
    assert (status, said) == (2, "")
    assert "nonsense" in complaint


@pytest.mark.parametrize("path", LEAVES)
def test_an_option_that_does_not_exist(path: str) -> None:
    status, said, complaint = application(*path.split(), "--nonsense")
    assert (status, said) == (2, "")
    assert "--nonsense" in complaint


@pytest.mark.parametrize(
    ("path", "record"),
    [
        ("files upload", "--prefix PREFIX Put this before each path. --keep-name"),
        ("files upload", "--stop-after N Stop after N failures; 0 never stops. --checksum"),
        ("files upload", "--owner USER The owner: e-mail address or id. [required]"),
        ("files list", "--limit N Rows per page. [default: 50, at most 1000]"),
        ("files list", "--prefix PREFIX Filter by path prefix, sorted by path; needs --owner or --pod."),
        ("files list", "created, path or size."),
        ("pods update", "--[no-]use-custom-s3 Use the pod's own credential"),
        ("users create", "--role ROLE What they may do: superadmin, admin, enduser or service. [default: enduser]"),
        ("transcode watch", "ID Ids of transcodes; by default all that are queued or running. Example:"),
        ("", "-o, --output FORMAT Output format: table, json, jsonl or csv. [default: table]"),
        ("", "-v, --verbose Show how long it took; -vv: also each SQL statement. -q"),
        ("", "-V, --version Print the version."),
    ],
)
def test_options(path: str, record: str) -> None:
    assert record in words(help_of(path))


def test_the_end_of_help_names_every_shared_option(invoke: Run, environment: Callable[..., None]) -> None:
    environment(COLUMNS="80")
    names, where = invoke("users", "--help").out.splitlines()[-2:]
    assert names == "  -o, --profile, --set, --timeout, -v, -q, --log-format, --color, -h"
    assert where == "  Explained in: dumacle --help"
    environment(COLUMNS="50")
    assert invoke("users", "--help").out.splitlines()[-2:] == ["  --log-format, --color, -h", where]


def test_no_choice_is_told_twice() -> None:
    params = [param for leaf in LEAVES.values() for param in leaf.params if help.choices(param)]
    assert params
    for param in params:
        assert ", ".join(help.choices(param)[:-1]) not in param.help, param.opts


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("users list -o xml", "--output cannot be 'xml': it is table, json, jsonl or csv"),
        ("users list --limit abc", "--limit cannot be 'abc': it is a whole number from 1 to 1000"),
        ("users list --limit 0", "--limit cannot be '0': it is a whole number from 1 to 1000"),
        ("users list --timeout x", "--timeout cannot be 'x': it is a number from 0 to 31536000"),
        ("files delete x --max 0", "--max cannot be '0': it is a whole number, at least 1"),
        ("completion show", "completion show needs SHELL: bash, zsh, fish or powershell"),
        ("completion show ksh", "SHELL cannot be 'ksh': it is bash, zsh, fish or powershell"),
        ("files upload photos", "files upload needs --owner USER"),
        ("files upload --owner ada", "give a PATH, --files-from, --manifest or --stdin-name"),
        (
            "config list --set url_expiry=0",
            "url_expiry cannot be '0': it must be greater than or equal to 1 (from --set)",
        ),
        ("config list --set url_expiry=x", "url_expiry cannot be 'x': it must be a valid integer (from --set)"),
        (
            "config list --set max_file_size=huge",
            "max_file_size cannot be 'huge': a size is a number with B, KiB, MiB, GiB, TiB or PiB, "
            "or with kB, MB, GB, TB or PB (decimal); without any, bytes (from --set)",
        ),
    ],
)
def test_refusal_says_what_was_typed_and_what_is_right(typed: str, sentence: str, invoke: Run) -> None:
    refused = invoke(*typed.split(), expect=errors.Exit.USAGE)
    assert refused.err.splitlines()[0] == f"dumacle: {sentence}"
    assert len(refused.err.splitlines()) == 2


# What means something when it is empty: no name, no default pod, the top of a bucket or pod, a setting that is off.
MEANT = {
    ("plans update", "--other-price"),
    ("users create", "--name"),
    ("users update", "--name"),
    ("plans update", "--default-pod"),
    ("pods create", "--prefix"),
    ("files upload", "--prefix"),
    ("config set", "VALUE"),
}


def takes_no_value(param: Any) -> bool:
    return bool(param.param_type_name == "option" and (param.is_flag or param.count))


def with_value(path: str, param: Any, value: str) -> list[str]:
    """Return what gives one parameter this value, behind what must stand before it."""
    if param.param_type_name == "option":
        return [f"{help.called(param)}={value}"]
    arguments = [each for each in LEAVES[path].params if each.param_type_name == "argument"]
    return [*["x"] * arguments.index(param), value]


TYPED = [(path, param) for path, leaf in LEAVES.items() for param in leaf.params if not takes_no_value(param)]


def test_few_arguments_mean_something_when_empty() -> None:
    allowed = {path: leaf.declaration.may_be_empty for path, leaf in LEAVES.items() if leaf.declaration}
    declared = {(path, help.called(param)) for path, param in TYPED if param.name in allowed[path]}
    assert declared == MEANT
    assert len(declared) == sum(map(len, allowed.values()))


@pytest.mark.parametrize(
    ("path", "param"),
    [(path, param) for path, param in TYPED if (path, help.called(param)) not in MEANT],
    ids=lambda each: each if isinstance(each, str) else each.name,
)
def test_empty_argument_is_not_taken_for_absent(path: str, param: Any, invoke: Run) -> None:
    name = help.called(param)
    for value in ("", " \t"):
        refused = invoke(*path.split(), *with_value(path, param, value), expect=errors.Exit.USAGE)
        assert f"{name} is empty: give a value or leave it out\n" in refused.err
        assert refused.out == ""


@pytest.mark.parametrize("option", ["--profile=", "--set=", "--output=", "--timeout="])
def test_empty_shared_option_is_refused_before_the_command_too(option: str, invoke: Run) -> None:
    refused = invoke(option, "files", "list", expect=errors.Exit.USAGE)
    assert f"{option[:-1]} is empty: give a value or leave it out\n" in refused.err

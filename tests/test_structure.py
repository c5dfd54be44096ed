"""The house stands as designed: what help imports, what the registry promises, and that imports go down only."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from typer.main import _get_params_name_from_function

from dumacle_cli import commands
from dumacle_cli.__main__ import main
from dumacle_cli.commands import options, tree
from dumacle_cli.commands.command import Effect
from tests.processes import unmeasured

pytestmark = pytest.mark.unit

TOP = Path(__file__).parent.parent
TYPER = {"annotated_doc", "shellingham", "typer"}
PYDANTIC = {"annotated_types", "pydantic", "pydantic_core", "typing_extensions", "typing_inspection"}
SQLALCHEMY = {"cython_runtime", "psycopg", "psycopg_binary", "sqlalchemy"}
LEAVES = dict(commands.walk())


def imported(code: str, *argv: str) -> set[str]:
    """The modules that are there after this code."""
    code = f"import sys; {code}; print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code, *argv], env=unmeasured(), capture_output=True, text=True, check=True
    )
    return set(done.stderr.split())


def told(*argv: str) -> set[str]:
    return imported("from dumacle_cli.__main__ import main; assert main(sys.argv[1:]) == 0", *argv)


def vendors(modules: set[str]) -> set[str]:
    """The packages that are neither ours nor Python's, nor what the environment itself imports at each start."""
    known = {"dumacle_cli", *sys.stdlib_module_names, *imported("pass")}
    return {package for module in modules if (package := module.split(".")[0]) not in known and package[0] != "_"}


def test_help_imports_no_vendor_but_typer() -> None:
    modules = told("--help")
    assert vendors(modules) <= TYPER
    groups = {name for name in modules if name.startswith("dumacle_cli.commands.")}
    assert groups == {
        f"dumacle_cli.commands.{name}" for name in ("command", "deferred", "help", "options", "run", "tree")
    }


def test_all_groups_together_import_no_more_than_these() -> None:
    modules = imported("from dumacle_cli import commands; assert list(commands.walk())")
    assert vendors(modules) <= {*TYPER, *PYDANTIC, *SQLALCHEMY, "tomlkit"}


@pytest.mark.parametrize("name", [name for name in commands.GROUPS if isinstance(commands.load(name), tree.Group)])
def test_help_of_a_group_imports_no_vendor_but_typer(name: str) -> None:
    assert vendors(told(name, "--help")) <= {*TYPER, "tomlkit"}


@pytest.mark.parametrize("name", ["worker", "schema"])
def test_help_of_a_single_command_imports_no_orm(name: str) -> None:
    assert not vendors(told(name, "--help")) & SQLALCHEMY


def test_an_upload_imports_nothing_of_the_other_commands_of_its_group() -> None:
    modules = imported("from dumacle_cli.__main__ import main; main(['files', 'upload', 'x', '--owner', 'ada'])")
    assert "dumacle_cli.ingest.engine" in modules
    services = {name.removeprefix("dumacle_cli.services.") for name in modules if "cli.services." in name}
    assert services == {"limits", "names", "placement", "side_by_side", "transcode_request"}


def test_users_map_no_table_but_theirs() -> None:
    tables = {name for name in told("users", "list", "--help") if name.startswith("dumacle_cli.store.models.")}
    assert tables == {f"dumacle_cli.store.models.{name}" for name in ("base", "users")}


def test_version_imports_no_vendor() -> None:
    modules = told("--version")
    assert vendors(modules) == set()
    assert not modules & {"dumacle_cli.commands", "dumacle_cli.context"}


@pytest.mark.parametrize("name", commands.GROUPS)
def test_every_group_explains_itself(name: str) -> None:
    assert commands.load(name).help


@pytest.mark.parametrize("path", LEAVES)
def test_every_command_explains_itself(path: str) -> None:
    leaf = LEAVES[path]
    declaration = leaf.declaration
    assert declaration is not None
    assert leaf.help
    assert leaf.help.strip().split("\n")[0].endswith(".")
    assert declaration.example == f"dumacle {path}" or declaration.example.startswith(f"dumacle {path} ")
    assert declaration.name == path.replace(" ", ".")
    assert all(getattr(param, "help", None) for param in leaf.params)
    assert (declaration.output is None) == (declaration.effect in (Effect.PRINTS, Effect.SERVES))


def test_no_two_options_share_a_name() -> None:
    for path, leaf in LEAVES.items():
        names = [name for param in leaf.params for name in param.opts if name.startswith("-")]
        assert len(names) == len(set(names)), path


def test_the_private_function_of_typer_is_still_there() -> None:
    def declared(size: int = 3) -> None: ...

    assert [param.name for param in _get_params_name_from_function(declared)[0]] == ["size"]
    assert [param.expose_value for param in options.params(declared)] == [False]


@pytest.mark.parametrize(
    "argv",
    [
        ("-o", "json", "config", "path"),
        ("config", "-o", "json", "path"),
        ("config", "path", "-o", "json"),
        ("config", "path", "--output=json"),
    ],
)
def test_shared_options_stand_anywhere(argv: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 0
    assert capsys.readouterr().out.startswith('{"schema": "dumacle.config.path.v1"')


def test_imports_go_down_only() -> None:
    program = Path(sysconfig.get_path("scripts"), "lint-imports")
    done = subprocess.run([program, "--no-cache"], cwd=TOP, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout

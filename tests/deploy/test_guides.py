"""The program accepts the commands in the documents, and what the documents state about it is true."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from dumacle_cli import errors, settings, sources
from dumacle_cli.services.billing import inbox
from tests.deploy import starters
from tests.deploy.grammar import DOCUMENTS, TOP, fenced, parse, typed

pytestmark = pytest.mark.unit
DEPLOY = (TOP / "docs" / "deploy.md").read_text("utf-8")
TROUBLE = (TOP / "docs" / "troubleshooting.md").read_text("utf-8")
# The least number of commands in a document; the generated reference has none to type.
COMMANDS = {"README.md": 20, "install.md": 12, "deploy.md": 30, "operate.md": 20, "troubleshooting.md": 10}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_commands_parse(document: Path) -> None:
    lines = list(typed(document.read_text("utf-8")))
    assert len(lines) >= COMMANDS.get(document.name, 0)
    assert all(words == ["--version"] or parse(words) for words in lines)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_links_lead_to_files_and_headings(document: Path) -> None:
    links = re.findall(r"\]\(([^)#:]*)(?:#([^)]+))?\)", document.read_text("utf-8"))
    assert [link for link, _ in links if not (document.parent / link).exists()] == []
    targets = [(document.parent / link if link else document, anchor) for link, anchor in links if anchor]
    assert [anchor for target, anchor in targets if anchor not in anchors(target)] == []


def anchors(document: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a document."""
    headings = re.findall(r"^#+ (.+)$", document.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_settings_of_the_example_are_valid() -> None:
    [example] = fenced((TOP / "docs" / "install.md").read_text("utf-8"), "toml")
    document = tomllib.loads(example)
    [owner] = document.pop("profiles").values()
    for values in (document, owner):
        sources.validate(values, "install.md")


def test_every_setting_that_is_named_exists() -> None:
    named = set(re.findall(r"`((?:[a-z0-9]+_)+[a-z0-9]+)`", DEPLOY + TROUBLE)) - {"dumacle_owner", "auth_query"}
    named -= {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}
    variables = {name.lower() for name in re.findall(r"\bDUMACLE_(\w+)", DEPLOY)} - {"config"}
    assert {*named, *variables} - set(settings.Settings.model_fields) == set()
    assert len(named) > 10


# Troubleshooting


def test_statuses_are_those_of_the_program() -> None:
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", TROUBLE, re.MULTILINE)
    assert rows == [(str(int(status)), meaning) for status, meaning in errors.MEANING.items()]


def test_codes_are_listed_under_their_status() -> None:
    statuses = {error.__new__(error).code: int(error.exit) for error in _errors(errors.DumacleError)}
    listed = {code: int(status) for status, text in _sections() for code in re.findall(r"`([a-z]+(?:-[a-z]+)+)`", text)}
    assert len(listed) >= 10
    assert listed == {code: statuses[code] for code in listed}


def _sections() -> list[tuple[str, str]]:
    rows = re.findall(r"^\| (\d+) \|(.*)$", TROUBLE, re.MULTILINE)
    return rows + re.findall(r"^## (\d+):(.*?)(?=^## )", TROUBLE, re.MULTILINE | re.DOTALL)


def _errors(kind: type[errors.DumacleError]) -> "list[type[errors.DumacleError]]":
    return [each for child in kind.__subclasses__() for each in (child, *_errors(child))]


# Stripe


def test_listed_events_are_those_that_are_applied() -> None:
    listed = re.findall(r"`([a-z]+(?:[._][a-z_]+)+)`", DEPLOY.partition("exactly these types:")[2].partition("\n4.")[0])
    listed.remove("invoice.created")
    watched = inbox._WATCHED
    assert {prefix for type_ in listed for prefix in watched if type_.startswith(prefix)} == set(watched)
    assert all(type_.startswith(tuple(watched)) for type_ in listed)


# systemd


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units with an existing program, and the drop-in for a credential from deploy.md."""
    folder = shutil.copytree(starters.UNITS, tmp_path / "units")
    _, credential = fenced(DEPLOY, "ini")
    (folder / "dumacle-.service.d" / "credential.conf").write_text(credential)
    for unit in folder.glob("*.service"):
        unit.write_text(unit.read_text().replace(starters.INSTALLED, "/bin/true"))
    return folder


def analyze(*argv: str | Path) -> "subprocess.CompletedProcess[str]":
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not on this machine")
    return subprocess.run(["systemd-analyze", *argv], capture_output=True, text=True, timeout=100, check=False)


def test_systemd_accepts_the_units(units: Path) -> None:
    done = analyze("verify", *units.glob("*.service"), *units.glob("*.timer"))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("unit", sorted(starters.UNITS.glob("*.service")), ids=lambda unit: unit.name)
def test_services_are_confined(units: Path, unit: Path) -> None:
    done = analyze("security", "--no-pager", "--offline=yes", "--threshold=25", units / unit.name)
    assert done.returncode == 0, done.stdout


def test_only_the_listener_has_an_account_of_its_own_and_a_folder() -> None:
    every = [*starters.services("exec"), *starters.services("oneshot")]
    assert len(every) == len(list(starters.UNITS.glob("*.service")))
    apart = {start.by: (start.account, start.folder) for start in every if start.account != "dumacle"}
    assert apart == {"dumacle-webhooks": ("dumacle-listener", "/etc/dumacle-listener")}
    assert {start.folder for start in every if start.account == "dumacle"} == {"/etc/dumacle"}
    # A drop-in would win over the units.
    assert not re.search(r"^(?:User|BindReadOnlyPaths)=", starters.COMMON.read_text(), re.MULTILINE)


@pytest.mark.parametrize("document", ["install.md", "deploy.md"])
def test_guides_create_and_use_the_listeners_account(document: str) -> None:
    text = (TOP / "docs" / document).read_text("utf-8")
    lines = re.findall(r"^    (.*listener.*/etc/dumacle.*|.*/etc/dumacle.*listener.*)$", text, re.MULTILINE)
    assert lines
    assert [line for line in lines if re.search(r"/etc/dumacle(?!-listener)\b", line)] == []


def test_deploy_names_every_unit() -> None:
    named = set(re.findall(r"dumacle-[\w-]+\.(?:service|timer)", DEPLOY))
    services = {f"{start.by}.service" for start in starters.services("exec")}
    assert named == services | {unit.name for unit in starters.UNITS.glob("*.timer")}

"""The Dockerfile and the compose file, without a Docker engine: what they say is consistent, and with the program."""

import json
import re
import shlex
from pathlib import PurePosixPath
from typing import Any

import pytest
import yaml

from dumacle_cli.settings import Settings
from tests.deploy.grammar import TOP, parse

pytestmark = pytest.mark.unit
FOLDER = TOP / "docs" / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
KNOWN = {"FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD"}


def instructions() -> list[tuple[str, str]]:
    text = (FOLDER / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    return [(name, " ".join(rest.split())) for name, rest in lines]


def values(name: str) -> list[str]:
    return [rest for found, rest in instructions() if found == name]


def test_dockerfile_says_nothing_unknown() -> None:
    assert {name for name, _ in instructions()} <= KNOWN
    assert [rest.partition(" AS ")[0] for rest in values("FROM")] == ["python:3.11-slim"] * 2
    assert not re.search(
        r"https?://(?!127\.0\.0\.1)|--(?:extra-)?index-url|curl|wget", (FOLDER / "Dockerfile").read_text()
    )


def test_dockerfile_copies_what_exists_and_nothing_else_gets_in() -> None:
    copied = [shlex.split(rest)[:-1] for rest in values("COPY") if not rest.startswith("--from=build ")]
    sources = {source for words in copied for source in words}
    assert all((TOP / source).exists() for source in sources)
    ignored = [line for line in (FOLDER / "Dockerfile.dockerignore").read_text().splitlines() if line[0] != "#"]
    assert ignored[0] == "*"
    assert {line[1:] for line in ignored if line.startswith("!")} == sources


def test_image_runs_the_program_as_an_ordinary_user() -> None:
    last = instructions()[max(index for index, (name, _) in enumerate(instructions()) if name == "FROM") :]
    made = re.search(r"useradd .*--uid (\d+) .*?(\w+)$", dict(last)["RUN"])
    assert made
    assert (int(made[1]) > 0, dict(last)["USER"]) == (True, made[2])
    names = [name for name, _ in last]
    assert names.index("USER") > max(index for index, name in enumerate(names) if name in {"RUN", "COPY"})
    assert json.loads(dict(last)["ENTRYPOINT"]) == ["dumacle"]
    assert parse(json.loads(dict(last)["CMD"])) == "webhooks serve"


def test_the_listener_has_an_account_of_its_own_in_the_image() -> None:
    made = dict(re.findall(r"--uid (\d+) .*? ([\w-]+)(?= &&|$)", values("RUN")[-1]))
    users = {name: service.get("user", "") for name, service in OURS.items()}
    assert {name: user for name, user in users.items() if user} == {"listener": "dumacle-listener"}
    assert {"dumacle", "dumacle-listener"} == set(made.values())


def test_image_holds_settings_and_no_secret() -> None:
    given = dict(word.split("=", 1) for rest in values("ENV") for word in rest.split())
    fields = {name.removeprefix("DUMACLE_").lower() for name in given if name != "PATH"}
    assert fields == {"listen_host", "scratch_dir"}
    assert given["DUMACLE_SCRATCH_DIR"] in " ".join(values("RUN"))


def test_health_is_asked_where_the_listener_is() -> None:
    [check] = values("HEALTHCHECK")
    interpreter, option, code = json.loads(check.partition(" CMD ")[2])
    assert (interpreter, option) == ("python", "-c")
    compile(code, "HEALTHCHECK", "exec")
    port = Settings.model_fields["listen_port"].default
    assert f"http://127.0.0.1:{port}/healthz" in code
    assert values("EXPOSE") == [str(port)]
    assert SERVICES["listener"]["ports"] == [f"127.0.0.1:{port}:{port}"]


# Compose


def test_commands_of_the_services_exist() -> None:
    commands = {name: parse(service["command"]) for name, service in OURS.items()}
    running = {"listener": "webhooks serve", "worker": "worker"}
    assert commands == {"bootstrap": "db bootstrap", "upgrade": "db upgrade", "cron": "quotas reset"} | running
    assert {name for name, service in SERVICES.items() if "restart" in service} == {"postgres", *running}


def test_services_wait_for_what_exists_and_can_be_waited_for() -> None:
    for service in SERVICES.values():
        for name, wait in service.get("depends_on", {}).items():
            ends = "restart" not in SERVICES[name]
            assert wait == {"condition": "service_completed_successfully" if ends else "service_healthy"}
            assert ends or "test" in SERVICES[name]["healthcheck"]
            assert "profiles" not in SERVICES[name]


def test_services_get_no_secret_but_from_files_of_their_own() -> None:
    documented = set(re.findall(r"^\| `(\w+\.env)`", (TOP / "docs" / "deploy.md").read_text(), re.MULTILINE))
    assert {service["env_file"] for service in SERVICES.values()} == documented
    assert len(documented) == len(SERVICES)  # none has another's login
    assert not any("environment" in service for service in SERVICES.values())
    assert f"{FOLDER.relative_to(TOP)}/*.env" in (TOP / ".gitignore").read_text().splitlines()


def test_only_the_listener_is_asked_for_its_health() -> None:
    watched = {name for name, service in OURS.items() if "healthcheck" not in service and "restart" in service}
    assert watched == {"listener"}


def test_services_drain_before_they_are_killed() -> None:
    worker = SERVICES["worker"]
    drain = int(worker["command"][worker["command"].index("--drain-timeout") + 1])
    assert int(worker["stop_grace_period"].removesuffix("s")) > drain
    assert int(SERVICES["listener"]["stop_grace_period"].removesuffix("s")) > 20


def test_images_are_built_from_the_checkout() -> None:
    for service in OURS.values():
        context = FOLDER / service["build"]["context"]
        assert context.resolve() == TOP
        assert (context / service["build"]["dockerfile"]).is_file()
    mounts = {mount.partition(":")[0] for service in SERVICES.values() for mount in service.get("volumes", ())}
    assert mounts == set(COMPOSE["volumes"])
    assert all(PurePosixPath(service["tmpfs"]).is_absolute() and service["read_only"] for service in OURS.values())

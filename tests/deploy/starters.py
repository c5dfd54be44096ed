"""The commands of the crontab and the systemd units, started with the same command line and environment."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).parents[2]
INSTALLED = "/opt/dumacle/bin/dumacle"
PROGRAM = f"{sys.executable} -m dumacle_cli"
UNITS = TOP / "docs" / "systemd"
COMMON = UNITS / "dumacle-.service.d" / "all.conf"
CRON = {"HOME": "/nonexistent", "LOGNAME": "dumacle", "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin"}


@dataclass(frozen=True, slots=True)
class Start:
    """A command line of a crontab or unit (`by`), with its environment."""

    by: str
    line: str
    environment: Mapping[str, str]
    password: str = ""
    """The file that systemd passes as the password credential; empty for cron."""
    account: str = "dumacle"
    folder: str = "/etc/dumacle"
    """The folder that it sees as /etc/dumacle."""

    @property
    def typed(self) -> list[str]:
        """The arguments of the program."""
        program, *arguments = shlex.split(self.line)
        assert program == INSTALLED
        return arguments

    @property
    def duty(self) -> str:
        """The service whose login it uses; its profile has the same name."""
        return self.environment["DUMACLE_PROFILE"]

    def begin(self, config: Path, password: Path, folder: Path) -> subprocess.Popen[str]:
        """Start it as cron or systemd does, with this configuration and password file."""
        line = self.line.replace(INSTALLED, PROGRAM)
        argv = ["/bin/sh", "-c", line] if self.by == "cron" else shlex.split(line)
        given = {name: value.replace("%C", str(folder)) for name, value in self.environment.items()}
        given |= {"DUMACLE_CONFIG": str(config), **self._credentials(password, folder)}
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(argv, env=given, cwd=TOP, text=True, **pipes)

    def _credentials(self, password: Path, folder: Path) -> dict[str, str]:
        if not self.password:
            return {}
        credential, _, file = self.password.partition(":")
        assert file == f"{self.folder}/{password.name}"
        place = folder / f"credentials of {self.by}"
        place.mkdir(exist_ok=True)
        (place / credential).write_text(password.read_text())
        return {"CREDENTIALS_DIRECTORY": str(place)}


def cron() -> list[Start]:
    """Return the lines of docs/crontab."""
    lines = (TOP / "docs" / "crontab").read_text().splitlines()
    given = dict(line.split("=", 1) for line in lines if re.match(r"\w+=", line))
    jobs = [line.split(maxsplit=5)[5] for line in lines if line[:1].isdigit()]
    return [Start("cron", job, CRON | given) for job in jobs]


def services(kind: str) -> list[Start]:
    """Return what the services of this Type= start."""
    return [start for unit in sorted(UNITS.glob("*.service")) for start in _starts(unit, kind)]


def _starts(unit: Path, kind: str) -> Iterator[Start]:
    lines = [line.partition("=")[::2] for file in (unit, COMMON) for line in file.read_text().splitlines()]
    values = {name: [value for other, value in lines if other == name] for name, _ in lines}
    if values["Type"] == [kind]:
        environment = dict(each.split("=", 1) for each in values["Environment"])
        [command], [password] = values["ExecStart"], values["LoadCredential"]
        [account], [binding] = values["User"], values.get("BindReadOnlyPaths", ["/etc/dumacle:/etc/dumacle"])
        folder, _, seen_as = binding.partition(":")
        assert seen_as == "/etc/dumacle"
        yield Start(unit.stem, command, environment, password, account, folder)


def configure(start: Start, settings: dict[str, str], folder: Path, password: str = "none") -> tuple[Path, Path]:
    """Write settings by their variables into the profile of a service, and its password; returns both files."""
    config, file = folder / "config.toml", folder / f"{start.duty}.password"
    file.touch(0o600)
    file.write_text(password)
    kept = {} if start.password else {"DUMACLE_PASSWORD_FILE": str(file)}
    lines = (f"{name.removeprefix('DUMACLE_').lower()} = '{value}'\n" for name, value in (settings | kept).items())
    config.write_text(f"[profiles.{start.duty}]\n{''.join(lines)}")
    return config, file


def settings() -> dict[str, str]:
    """Return the settings that the test put into its environment."""
    return {name: value for name, value in os.environ.items() if name.startswith("DUMACLE_")}

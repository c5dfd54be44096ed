"""What cron and systemd start, as they would start it: command line, environment, and nothing else."""

import os
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
    """A command line that starts the program, and by whom, with the environment that it gives."""

    by: str
    line: str
    environment: Mapping[str, str]
    environment_file: str = ""

    @property
    def typed(self) -> list[str]:
        """The arguments of the program."""
        program, *arguments = shlex.split(self.line)
        assert program == INSTALLED
        return arguments

    def begin(self, settings: Mapping[str, str], folder: Path) -> subprocess.Popen[str]:
        """Start it with what the starter gives, and these settings where its account keeps them."""
        line = self.line.replace(INSTALLED, PROGRAM)
        argv = ["/bin/sh", "-c", line] if self.by == "cron" else shlex.split(line)
        given = {name: value.replace("%C", str(folder)) for name, value in self.environment.items()}
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(argv, env=given | self._kept(settings, folder), cwd=TOP, text=True, **pipes)

    def _kept(self, settings: Mapping[str, str], folder: Path) -> dict[str, str]:
        if self.environment_file:
            return dict(settings)
        config = folder / "config.toml"
        lines = (f"{name.removeprefix('DUMACLE_').lower()} = '{value}'\n" for name, value in settings.items())
        config.write_text("".join(lines))
        return {"DUMACLE_CONFIG": str(config)}


def cron() -> list[Start]:
    """Return the lines of docs/crontab."""
    lines = (TOP / "docs" / "crontab").read_text().splitlines()
    jobs = [line.split(maxsplit=5)[5] for line in lines if line and not line.startswith("#")]
    return [Start("cron", job, CRON) for job in jobs]


def services(kind: str) -> list[Start]:
    """Return what the services of this Type= start."""
    return [start for unit in sorted(UNITS.glob("*.service")) for start in _starts(unit, kind)]


def _starts(unit: Path, kind: str) -> Iterator[Start]:
    lines = [line.partition("=")[::2] for file in (unit, COMMON) for line in file.read_text().splitlines()]
    values = {name: [value for other, value in lines if other == name] for name, _ in lines}
    if values["Type"] == [kind]:
        environment = dict(each.split("=", 1) for each in values.get("Environment", ()))
        [command], [file] = values["ExecStart"], values["EnvironmentFile"]
        yield Start(unit.stem, command, environment, file.replace("%N", unit.stem))


def settings() -> dict[str, str]:
    """Return the settings that the test put into its environment."""
    return {name: value for name, value in os.environ.items() if name.startswith("DUMACLE_")}

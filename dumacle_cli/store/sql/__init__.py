"""What PostgreSQL itself enforces: functions, triggers, policies and rights as SQL files.

The files of this folder are the present state. Migrations load copies of them that never change (`frozen`).
"""

import re
from collections.abc import Callable
from importlib import resources
from pathlib import Path

from sqlalchemy import Connection

Read = Callable[[str], str]
"""How the text of an SQL file is had by its name."""


def read(name: str) -> str:
    """Return the text of the file `name`.sql of this folder."""
    return resources.files(__name__).joinpath(f"{name}.sql").read_text(encoding="utf-8")


def names() -> list[str]:
    """Return the names of the files of this folder, in alphabetical order."""
    files = (entry.name for entry in resources.files(__name__).iterdir())
    return sorted(file.removesuffix(".sql") for file in files if file.endswith(".sql"))


def frozen(migrations: Path, revision: str) -> Read:
    """Return how the migrations in that folder read a file as it was at a revision: its latest copy up to there.

    The copies are `sql/<revision>_<name>.sql`, each named by the first revision that loads it. Where there is none yet,
    the file is empty.
    """

    def read_copy(name: str) -> str:
        copies = sorted((migrations / "sql").glob(f"[0-9][0-9][0-9][0-9]_{name}.sql"))
        return "".join([copy.read_text(encoding="utf-8") for copy in copies if copy.name[:4] <= revision][-1:])

    return read_copy


def functions(script: str) -> list[str]:
    """Return the names of the functions that a script makes in the schema `app`."""
    return _MADE.findall(script)


def run(connection: Connection, script: str) -> None:
    """Run a script of several statements, taken literally: no percent sign or colon in it is a parameter."""
    driver = connection.connection.driver_connection
    assert driver is not None  # noqa: S101  a checked-out connection always has one
    driver.execute(script)


_MADE = re.compile(r"^CREATE OR REPLACE FUNCTION app\.(\w+)", re.MULTILINE)

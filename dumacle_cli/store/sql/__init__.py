"""What PostgreSQL itself enforces: functions and triggers as SQL files, loaded by the migrations."""

import re
from importlib import resources

from sqlalchemy import Connection


def load(connection: Connection, name: str) -> None:
    """Run the file `name`.sql of this folder in the connection's transaction."""
    run(connection, read(name))


def read(name: str) -> str:
    """Return the text of the file `name`.sql of this folder."""
    return resources.files(__name__).joinpath(f"{name}.sql").read_text(encoding="utf-8")


def functions(name: str) -> list[str]:
    """Return the names of the functions that the file `name`.sql makes in the schema `app`."""
    return _MADE.findall(read(name))


def run(connection: Connection, script: str) -> None:
    """Run a script of several statements, taken literally: no percent sign or colon in it is a parameter."""
    driver = connection.connection.driver_connection
    assert driver is not None  # noqa: S101  a checked-out connection always has one
    driver.execute(script)


_MADE = re.compile(r"^CREATE OR REPLACE FUNCTION app\.(\w+)", re.MULTILINE)

"""What PostgreSQL itself enforces: functions and triggers as SQL files, loaded by the migrations."""

from importlib import resources

from sqlalchemy import Connection


def load(connection: Connection, name: str) -> None:
    """Run the file `name`.sql of this folder in the connection's transaction."""
    run(connection, resources.files(__name__).joinpath(f"{name}.sql").read_text(encoding="utf-8"))


def run(connection: Connection, script: str) -> None:
    """Run a script of several statements, taken literally: no percent sign or colon in it is a parameter."""
    driver = connection.connection.driver_connection
    assert driver is not None  # noqa: S101  a checked-out connection always has one
    driver.execute(script)

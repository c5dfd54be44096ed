"""What the database says of itself: its version, its clock, its functions, the buckets of its pods."""

import re
from dataclasses import dataclass
from datetime import datetime
from importlib import resources

from sqlalchemy import Connection, func, select, text

from dumacle_cli.store import sql
from dumacle_cli.store.models import Pod
from dumacle_cli.store.place_columns import KEYHOLDER
from dumacle_cli.store.revisions import OLDEST_SERVER

_MADE = re.compile(r"^CREATE OR REPLACE FUNCTION app\.(\w+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket that pods use with the provider's own keys, and the prefix of one of them."""

    provider: str
    name: str
    prefix: str


def server(connection: Connection) -> tuple[str, bool]:
    """Return the server's version, and whether it is one that Dumacle works with."""
    query = "SELECT current_setting('server_version'), current_setting('server_version_num')::int"
    version, number = connection.execute(text(query)).one()
    return str(version), number >= OLDEST_SERVER


def clock(connection: Connection) -> datetime:
    """Return the server's clock as it is now, in UTC."""
    now: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    return now


def missing_functions(connection: Connection) -> list[str]:
    """Return the functions that the migrations make and the database does not have."""
    query = text("SELECT proname FROM pg_proc WHERE pronamespace = to_regnamespace('app')")
    return sorted(_made() - set(connection.scalars(query)))


def buckets(connection: Connection) -> list[Bucket]:
    """Return each bucket that is the primary one of a pod without keys of its own."""
    places = Pod.primary_provider, Pod.bucket
    query = select(*places, func.min(Pod.prefix)).where(Pod.deleted_at.is_(None), KEYHOLDER.is_(None)).group_by(*places)
    return [Bucket(*row) for row in connection.execute(query.order_by(*places))]


def _made() -> set[str]:
    files = (file for file in resources.files(sql).iterdir() if file.name.endswith(".sql"))
    return {name for file in files for name in _MADE.findall(file.read_text("utf-8"))}

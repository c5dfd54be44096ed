"""The schemas that this release works with: its own and the previous one."""

from dumacle_cli.errors import DatabaseTooOldServer, SchemaMissing, SchemaTooNew, SchemaTooOld

TABLE = "app.schema_version"
OLDEST_SERVER = 160_000
OWN = "0039"
PREVIOUS = "0015"
"""The revision of the previous release, which this one works on until `db upgrade` ran."""


def require_server(number: int) -> None:
    """Refuse a server before 16, in which a role that may create roles could grant itself far more.

    `number` is libpq's, such as 180006. Raises DatabaseTooOldServer.
    """
    if number < OLDEST_SERVER:
        raise DatabaseTooOldServer(version=number // 10_000)


def require(found: str | None) -> None:
    """Refuse a schema that this release cannot work with; raises SchemaMissing, SchemaTooOld or SchemaTooNew."""
    if found is None:
        raise SchemaMissing()
    if found < PREVIOUS:
        raise SchemaTooOld(found=found, needed=OWN)
    if found > OWN:
        raise SchemaTooNew(found=found, needed=OWN)

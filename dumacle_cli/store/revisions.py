"""Which schemas this release works with: its own and the previous one."""

from dumacle_cli.errors import SchemaMissing, SchemaTooNew, SchemaTooOld

TABLE = "app.schema_version"
OWN = "0009"
PREVIOUS = "0009"
"""The first release has no previous schema; a later one names it here."""


def require(found: str | None) -> None:
    """Refuse a schema that this release cannot work with; raises SchemaMissing, SchemaTooOld or SchemaTooNew."""
    if found is None:
        raise SchemaMissing()
    if found < PREVIOUS:
        raise SchemaTooOld(found=found, needed=OWN)
    if found > OWN:
        raise SchemaTooNew(found=found, needed=OWN)

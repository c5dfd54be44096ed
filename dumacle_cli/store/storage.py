"""What counts against the capacity of pods and the storage of users: contents and renditions until they are purged."""

from sqlalchemy import Subquery, literal, select, union_all

from dumacle_cli.store import models


def counted() -> Subquery:
    """Select `file_id` with what its stored contents and renditions use, and what is reserved for more (bytes)."""
    version, rendition, transcode, unit = models.Version, models.Rendition, models.Transcode, models.Unit
    nothing = literal(0)
    return union_all(
        select(version.file_id, version.size.label("used"), nothing.label("reserved")).where(
            version.stored_at.is_not(None)
        ),
        select(rendition.file_id, rendition.size, nothing),
        select(transcode.file_id, nothing, unit.reserved)
        .join(unit, unit.transcode_id == transcode.id)
        .where(unit.reserved > 0),
    ).subquery("counted")

"""Presets: the outputs that can be made of a file. A change makes a new version; what was submitted keeps its own."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from dumacle_cli.errors import Conflict, NotFound
from dumacle_cli.services import definitions
from dumacle_cli.services.definitions import Preset as Definition
from dumacle_cli.store import models
from dumacle_cli.store import presets as store


@dataclass(frozen=True, slots=True)
class Preset:
    """A version of a preset, by the hash of its definition; players open its file `entry`.

    `charged` says what it costs the owner's quota. New submissions do not use it after `ended_at`.
    """

    name: str
    kind: str
    description: str
    entry: str
    charged: str
    requires_video: bool
    hash: str
    definition: dict[str, Any]
    created_at: datetime
    ended_at: datetime | None


def list_(session: Session) -> list[Preset]:
    """Return the present versions of all presets by name."""
    return [_view(row) for row in store.all_present(session)]


def show(session: Session, typed: str) -> Preset:
    """Return the present version of the preset of a name, or the version with a hash; raises NotFound."""
    return _view(store.present(session, typed) or store.version(session, typed) or _missing(typed))


def get(session: Session, name: str) -> Definition:
    """Return what the preset of this name makes now; raises NotFound."""
    return definitions.parse((store.present(session, name) or _missing(name)).definition)


def used(session: Session, name: str, version: str | None) -> Definition:
    """Return what a transcode was made with: a version by its hash, or the present one without; raises NotFound."""
    found = store.version(session, version) if version else store.present(session, name)
    return definitions.parse((found or _missing(name)).definition)


def create(session: Session, definition: Definition) -> tuple[Preset, bool]:
    """Create a preset; raises Conflict if there is one of this name that differs."""
    name, wanted = definition.name, definitions.complete(definition)
    found = store.present(session, name, lock=True)
    if found is None and store.begin(session, definitions.hash_of(wanted), wanted):
        return show(session, name), True
    if found is not None and found.definition == wanted:
        return _view(found), False
    raise Conflict(reason=f"there is a preset {name}", advice="dumacle transcode presets update")


def update(session: Session, definition: Definition) -> tuple[Preset, bool]:
    """Give a preset another definition; what was submitted before keeps the one it had. Raises NotFound."""
    found = store.present(session, definition.name, lock=True) or _missing(definition.name)
    wanted = definitions.complete(definition)
    given = definitions.hash_of(wanted)
    if found.hash == given:
        return _view(found), False
    store.end(session, found.hash)
    if not store.begin(session, given, wanted):
        raise Conflict(reason=f"preset {definition.name} changed meanwhile", advice="repeat the command")
    return show(session, definition.name), True


def archive(session: Session, name: str) -> tuple[Preset, bool]:
    """End a preset: what was submitted is still made, and nothing more is. Raises NotFound."""
    found = store.present(session, name, lock=True) or _missing(name)
    store.end(session, found.hash)
    session.refresh(found)
    return _view(found), True


def _missing(name: str) -> models.Preset:
    raise NotFound("preset", name)


def _view(row: models.Preset) -> Preset:
    definition = definitions.parse(row.definition)
    return Preset(
        name=row.name,
        kind=definition.kind,
        description=definition.description,
        entry=definition.entry,
        charged=definition.charged,
        requires_video=definition.requires_video,
        hash=row.hash,
        definition=row.definition,
        created_at=row.created_at,
        ended_at=row.ended_at,
    )

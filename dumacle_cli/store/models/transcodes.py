"""Transcodes, their units of work, and their renditions."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    SmallInteger,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from dumacle_cli.store.models import files  # noqa: F401 - foreign keys refer to them
from dumacle_cli.store.models.base import ERROR_BYTES, KIB, Base, Created, Id, Sorted, documents, one_of, texts, times

TRANSCODE_STATUSES = ("queued", "running", "publishing", "done", "failed", "cancelled", "quarantined")
UNIT_KINDS = ("chunk", "audio", "finalize", "whole")
UNIT_STATUSES = ("queued", "running", "done", "failed", "cancelled")
DAMAGE = ("refuse", "repair")
RENDITION_KINDS = ("hls", "mp4", "audio", "poster", "sprite", "vtt")

_LIVE = text("status IN ('queued', 'running', 'publishing')")


class Preset(Base):
    """One version of a preset, by the hash of its definition, which never changes; the present one has not ended."""

    __tablename__ = "presets"

    hash: Mapped[Sorted] = mapped_column(primary_key=True)
    name: Mapped[Sorted]
    definition: Mapped[dict[str, Any]]
    created_at: Mapped[Created]
    ended_at: Mapped[datetime | None]

    __table_args__ = (
        times("created_at", "ended_at"),
        texts(hash=64, name=255),
        documents(definition=16 * KIB),
        CheckConstraint("definition ->> 'name' = name", name="name"),
        Index("uq_presets_present", "name", unique=True, postgresql_where=text("ended_at IS NULL")),
    )


class Transcode(Base):
    """One version through one preset; at most one of the same is in progress. `seconds` were charged to the quota.

    It is made as the version of the preset with `preset_hash` says, or without one as the present version says.
    Higher priorities are worked on first; among equals owners take turns: the lowest `turn` is next.
    """

    __tablename__ = "transcodes"

    id: Mapped[Id]
    file_id: Mapped[int] = mapped_column(ForeignKey("app.files.id", ondelete="RESTRICT"))
    version_id: Mapped[int] = mapped_column(index=True)
    preset: Mapped[str]
    preset_hash: Mapped[Sorted | None] = mapped_column(ForeignKey("app.presets.hash"), deferred=True)
    status: Mapped[str] = mapped_column(server_default="queued")
    progress: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    damage: Mapped[str] = mapped_column(server_default="repair", deferred=True)
    priority: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    turn: Mapped[int] = mapped_column(server_default=text("0"), deferred=True)
    attempts: Mapped[int] = mapped_column(server_default="0")
    seconds: Mapped[int | None]
    error: Mapped[str | None]
    created_at: Mapped[Created]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]

    __table_args__ = (
        # The pair: a transcode of a content belongs to the file of that content.
        ForeignKeyConstraint(
            ["file_id", "version_id"], ["app.versions.file_id", "app.versions.id"], ondelete="RESTRICT"
        ),
        times("created_at", "started_at", "ended_at"),
        texts(preset=255, preset_hash=64, error=ERROR_BYTES),
        one_of("status", TRANSCODE_STATUSES),
        one_of("damage", DAMAGE),
        CheckConstraint("progress BETWEEN 0 AND 100", name="progress"),
        CheckConstraint("attempts >= 0", name="attempts"),
        CheckConstraint("seconds >= 0", name="seconds"),
        Index("uq_transcodes_live", "version_id", "preset", unique=True, postgresql_where=_LIVE),
        Index(None, "file_id", "id"),
        Index(None, "status", "id"),
        Index("ix_transcodes_priority_live", text("priority DESC"), "turn", "id", postgresql_where=_LIVE),
        {"postgresql_with": {"fillfactor": "80"}},
    )


class Unit(Base):
    """A part of a transcode: a chunk of its pictures, the sound, putting both together, or the whole film.

    The first unit is a chunk without frames until its worker has seen whether the film is long. A worker with
    `lease_token` may publish a result of `reserved` bytes until `lease_until`; a done unit keeps the token, and with
    `inventory`, the SHA-256 of what lists them, its objects are still at the store.

    A waiting unit is not claimed before `lease_until`. `attempt` counts what may be the media's fault, `crashes`
    those of FFmpeg or the worker, and `setbacks` what was not the media's fault. `machine` is where the worker ran,
    and `fps` how many frames a second it encoded when the lease was last renewed.
    """

    __tablename__ = "units"

    id: Mapped[Id]
    transcode_id: Mapped[int] = mapped_column(ForeignKey("app.transcodes.id", ondelete="CASCADE"))
    number: Mapped[int]
    kind: Mapped[str]
    status: Mapped[str] = mapped_column(server_default="queued")
    attempt: Mapped[int] = mapped_column(server_default="0")
    lease_token: Mapped[uuid.UUID | None]
    lease_until: Mapped[datetime | None]
    worker: Mapped[str | None]
    machine: Mapped[str | None] = mapped_column(deferred=True)
    fps: Mapped[float | None] = mapped_column(deferred=True)
    first_frame: Mapped[int | None]
    last_frame: Mapped[int | None]
    progress: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"), deferred=True)
    inventory: Mapped[bytes | None] = mapped_column(deferred=True)
    reserved: Mapped[int] = mapped_column(server_default="0")
    crashes: Mapped[int] = mapped_column(server_default="0")
    setbacks: Mapped[int] = mapped_column(server_default=text("0"), deferred=True)
    error: Mapped[str | None]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]

    __table_args__ = (
        times("lease_until", "started_at", "ended_at"),
        texts(worker=255, machine=255, error=ERROR_BYTES),
        one_of("kind", UNIT_KINDS),
        one_of("status", UNIT_STATUSES),
        CheckConstraint("first_frame BETWEEN 0 AND last_frame", name="frames"),
        CheckConstraint("reserved >= 0", name="reserved"),
        CheckConstraint("crashes >= 0", name="crashes"),
        CheckConstraint("setbacks >= 0", name="setbacks"),
        CheckConstraint("fps >= 0", name="fps"),
        CheckConstraint("progress BETWEEN 0 AND 100", name="progress"),
        CheckConstraint("octet_length(inventory) = 32", name="inventory"),
        CheckConstraint("(status = 'running') = (lease_token IS NOT NULL AND lease_until IS NOT NULL)", name="lease"),
        UniqueConstraint("transcode_id", "number"),
        Index("ix_units_pieces", "transcode_id", postgresql_where=text("inventory IS NOT NULL")),
        Index("ix_units_lease_until_running", "lease_until", postgresql_where=text("status = 'running'")),
        {"postgresql_with": {"fillfactor": "70"}},
    )


class Rendition(Base):
    """One published output: the objects whose keys begin with `prefix`; players open `entry` below it.

    `damaged` is the share of the source, 0 to 1, that could not be decoded and was repaired; `inventory` is the SHA-256
    of the object that lists the others, with theirs.
    """

    __tablename__ = "renditions"

    id: Mapped[Id]
    transcode_id: Mapped[int] = mapped_column(ForeignKey("app.transcodes.id", ondelete="RESTRICT"))
    file_id: Mapped[int] = mapped_column(ForeignKey("app.files.id", ondelete="RESTRICT"))
    name: Mapped[Sorted]
    kind: Mapped[str]
    prefix: Mapped[Sorted]
    entry: Mapped[str] = mapped_column(server_default="")
    width: Mapped[int | None]
    height: Mapped[int | None]
    bitrate: Mapped[int | None]
    size: Mapped[int]
    duration_ms: Mapped[int | None]
    frames: Mapped[int | None]
    rungs: Mapped[list[dict[str, Any]] | None] = mapped_column(JSONB)
    damaged: Mapped[float] = mapped_column(server_default=text("0"), deferred=True)
    inventory: Mapped[bytes | None] = mapped_column(deferred=True)
    created_at: Mapped[Created]

    __table_args__ = (
        times("created_at"),
        texts(name=255, prefix=1024, entry=1024),
        documents(rungs=64 * KIB),
        one_of("kind", RENDITION_KINDS),
        CheckConstraint("size >= 0", name="size"),
        CheckConstraint("damaged BETWEEN 0 AND 1", name="damaged"),
        CheckConstraint("octet_length(inventory) = 32", name="inventory"),
        UniqueConstraint("transcode_id", "name"),
        Index(None, "file_id", "id"),
    )


class Pause(Base):
    """A pod whose store is away for transcodes `since`; after as many `setbacks` it is tried again `until`."""

    __tablename__ = "pauses"

    pod_id: Mapped[int] = mapped_column(ForeignKey("app.pods.id", ondelete="CASCADE"), primary_key=True)
    since: Mapped[datetime] = mapped_column(server_default=func.now())
    until: Mapped[datetime]
    setbacks: Mapped[int] = mapped_column(server_default=text("1"))
    error: Mapped[str]

    __table_args__ = (times("since", "until"), texts(error=ERROR_BYTES))


class Worker(Base):
    """A worker that was alive at `seen_at`; `problem` says why it transcodes nothing.

    `machine` is the start of the machine's system that it runs under: another one after the machine lost its power.
    """

    __tablename__ = "workers"

    name: Mapped[Sorted] = mapped_column(primary_key=True)
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())
    slots: Mapped[int]
    queues: Mapped[str]
    problem: Mapped[str | None]
    machine: Mapped[str | None] = mapped_column(deferred=True)

    __table_args__ = (
        times("started_at", "seen_at"),
        texts(name=255, queues=255, problem=ERROR_BYTES, machine=255),
    )


class HookCall(Base):
    """An ended transcode that the hook is to be told of, not before `due_at`; the error is that of the last attempt."""

    __tablename__ = "hook_calls"

    transcode_id: Mapped[int] = mapped_column(ForeignKey("app.transcodes.id", ondelete="CASCADE"), primary_key=True)
    created_at: Mapped[Created]
    due_at: Mapped[datetime] = mapped_column(server_default=func.now())
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    error: Mapped[str | None]

    __table_args__ = (
        times("created_at", "due_at"),
        texts(error=ERROR_BYTES),
        Index(None, "due_at"),
        Index(None, "created_at"),
    )

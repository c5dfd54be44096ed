"""Presets and their versions: what each transcode is made as."""

import hashlib
import json
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import op

from dumacle_cli.store import identity, sql

revision = "0034"
down_revision = "0033"

MIGRATIONS = Path(__file__).parents[1]
READ, BEFORE = sql.frozen(MIGRATIONS, revision), sql.frozen(MIGRATIONS, down_revision)

TABLE = """
    CREATE TABLE app.presets (
        hash text COLLATE "C" NOT NULL,
        name text COLLATE "C" NOT NULL,
        definition jsonb NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        ended_at timestamptz,
        CONSTRAINT pk_presets PRIMARY KEY (hash),
        CONSTRAINT ck_presets_times CHECK (created_at BETWEEN '1970-01-01 00:00:00+00' AND '2999-12-31 23:59:59+00'
            AND ended_at BETWEEN '1970-01-01 00:00:00+00' AND '2999-12-31 23:59:59+00'),
        CONSTRAINT ck_presets_texts CHECK (octet_length(hash) <= 64 AND octet_length(name) <= 255),
        CONSTRAINT ck_presets_documents CHECK (octet_length(definition::text) <= 16384),
        CONSTRAINT ck_presets_name CHECK (definition ->> 'name' = name)
    );
    CREATE UNIQUE INDEX uq_presets_present ON app.presets (name) WHERE ended_at IS NULL;
    ALTER TABLE app.transcodes
        ADD COLUMN preset_hash text COLLATE "C" CONSTRAINT fk_transcodes_preset_hash REFERENCES app.presets (hash),
        DROP CONSTRAINT ck_transcodes_texts,
        ADD CONSTRAINT ck_transcodes_texts CHECK (octet_length(preset) <= 255 AND octet_length(preset_hash) <= 64
            AND octet_length(error) <= 8192);
    DROP FUNCTION app.claim_next(uuid, text, double precision);
"""
NO_TABLE = """
    DROP FUNCTION app.claim_next(uuid, text, double precision, text[]);
    ALTER TABLE app.transcodes
        DROP CONSTRAINT ck_transcodes_texts,
        ADD CONSTRAINT ck_transcodes_texts CHECK (octet_length(preset) <= 255 AND octet_length(error) <= 8192),
        DROP COLUMN preset_hash;
    DROP TABLE app.presets;
"""
VIDEO: dict[str, Any] = {"codec": "h264", "quality": None, "largest": 1080, "max_fps": 60}
AUDIO: dict[str, Any] = {"bitrate": 128_000, "loudness": None}
PRESETS: list[dict[str, Any]] = [
    {
        "name": "hls",
        "kind": "hls",
        "description": "H.264 in several sizes up to 2160p for adaptive players, with separate audio.",
        "video": {**VIDEO, "largest": 2160},
        "audio": AUDIO,
    },
    {
        "name": "mp4",
        "kind": "mp4",
        "description": "H.264 and AAC in one file that plays while it downloads, up to 1080p.",
        "video": VIDEO,
        "audio": AUDIO,
    },
    {"name": "audio", "kind": "audio", "description": "The audio only, as AAC.", "audio": AUDIO},
    {
        "name": "poster",
        "kind": "poster",
        "description": "One frame from a tenth into the video, at most 1280 pixels wide.",
        "width": 1280,
    },
    {
        "name": "sprite",
        "kind": "sprite",
        "description": "Small pictures for the time line of a player, every 10 seconds, with an index in WebVTT.",
        "seconds": 10,
        "size": 160,
    },
]


def upgrade() -> None:
    connection = op.get_bind()
    sql.run(connection, TABLE)
    for preset in PRESETS:
        text = json.dumps(preset, sort_keys=True, separators=(",", ":"))
        row = {"hash": hashlib.sha256(text.encode()).hexdigest(), "name": preset["name"], "definition": text}
        insert = "INSERT INTO app.presets (hash, name, definition) VALUES (:hash, :name, CAST(:definition AS jsonb))"
        connection.execute(sa.text(insert), row)
    sql.run(connection, READ("units"))
    identity.install(connection, READ)


def downgrade() -> None:
    connection = op.get_bind()
    sql.run(connection, NO_TABLE)
    sql.run(connection, BEFORE("units"))
    identity.install(connection, BEFORE)

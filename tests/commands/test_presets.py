"""`dumacle transcode presets`: what can be made of a file is data, and each change of it a new version."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.local import ffmpeg
from dumacle_cli.services import definitions
from dumacle_cli.store.database import Database
from tests.conftest import Run
from tests.films import Films, Submit, check, films, rows, statuses, submit
from tests.presets import defined, document

__all__ = ["films", "submit"]
pytestmark = pytest.mark.integration
JSON = ("-o", "json")
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a definition to a file, and return its path."""

    def call(name: str, /, **changed: Any) -> Path:
        target = tmp_path / "preset.json"
        target.write_text(json.dumps(document(name, **changed)))
        return target

    return call


def test_the_first_presets_are_complete(run: Run) -> None:
    found = {each["name"]: each for each in run("transcode", "presets", "list", *JSON).data}
    assert sorted(found) == ["audio", "hls", "mp4", "poster", "sprite"]
    for name, each in found.items():
        assert each["definition"] == definitions.complete(defined(name))
        assert each["hash"] == definitions.hash_of(each["definition"])
    assert found["hls"]["entry"] == "master.m3u8"
    head = run("transcode", "presets", "list").out.splitlines()[0]
    assert " ".join(head.split()) == "name description file to open charged needs video"
    assert run("transcode", "presets", "show", "vhs", *JSON, expect=6).error["code"] == "not-found"


def test_a_preset_is_created_changed_and_archived(run: Run, write: Write) -> None:
    file = write("mp4", name="tiny", video={"largest": 234})
    assert run("transcode", "presets", "create", file, "--dry-run", *JSON).json["changed"] is True
    run("transcode", "presets", "show", "tiny", expect=6)
    first = run("transcode", "presets", "create", file, *JSON).data
    assert run("transcode", "presets", "create", file, *JSON).json["changed"] is False
    changed = json.dumps(document("mp4", name="tiny", video={"largest": 360}))
    assert run("transcode", "presets", "create", "-", stdin=changed, expect=7).code == 7
    second = run("transcode", "presets", "update", "-", *JSON, stdin=changed).data
    assert second["hash"] != first["hash"]
    assert run("transcode", "presets", "show", first["hash"], *JSON).data["ended_at"] is not None
    assert run("transcode", "presets", "update", file, *JSON).data["hash"] == first["hash"]
    run("transcode", "presets", "archive", "tiny")
    run("transcode", "presets", "archive", "tiny", expect=6)
    assert "tiny" not in run("transcode", "presets", "list").out
    assert run("transcode", "presets", "create", file, *JSON).data["ended_at"] is None


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"video": {"codec": "h265"}}, "video.codec: input should be 'h264', 'hevc' or 'av1', not \"h265\""),
        ({"video": {"largest": 1000}}, "video.largest: input should be 234, 360, 432, 540, 720, 1080, 1440 or 2160"),
        ({"audio": {"loudness": -5}}, "audio.loudness: input should be less than or equal to -10, not -5"),
        ({"audio": {"volume": 11}}, "there is no field audio.volume"),
        ({"name": "My Preset"}, "name may have lowercase letters, digits and dashes only"),
        ({"kind": "vhs"}, "kind must be one of hls, mp4, audio, poster, sprite"),
    ],
)
def test_what_is_wrong_with_a_definition_is_told(run: Run, write: Write, wrong: dict[str, Any], said: str) -> None:
    failed = run("transcode", "presets", "create", write("hls", **wrong), *JSON, expect=2)
    assert said in failed.error["message"]
    assert failed.error["code"] == "bad-preset"


@pytest.mark.parametrize("text", ["", "{", "[1]", '"hls"', "[" * 100_000])
def test_what_is_no_definition_is_refused(run: Run, text: str) -> None:
    assert run("transcode", "presets", "create", "-", *JSON, stdin=text, expect=2).error["code"] == "bad-preset"


def test_a_file_that_is_not_there_is_refused(run: Run) -> None:
    assert "cannot be read" in run("transcode", "presets", "create", "nowhere.json", expect=2).err


def test_a_transcode_is_made_as_the_preset_was_when_it_was_submitted(
    run: Run, write: Write, submit: Submit, films: Films, database: Database, object_store: ObjectStore
) -> None:
    run("transcode", "presets", "create", write("mp4", name="small", video={"largest": 234}))
    submit(films(2, "640x360"), preset="small")
    run("transcode", "presets", "update", write("mp4", name="small", video={"largest": 360}))
    submit(films(2, "640x360"), preset="small")
    run("transcode", "presets", "archive", "small")
    run("worker", "--once")
    check(database, object_store, 2)
    assert rows(database, "SELECT name, kind, height FROM app.renditions ORDER BY id") == [
        {"name": "small", "kind": "mp4", "height": 234},
        {"name": "small", "kind": "mp4", "height": 360},
    ]
    first, second = (run("transcode", "show", number, *JSON).data["preset_hash"] for number in ("1", "2"))
    assert run("transcode", "presets", "show", first, *JSON).data["definition"]["video"]["largest"] == 234
    assert run("transcode", "presets", "show", second, *JSON).data["definition"]["video"]["largest"] == 360
    run("transcode", "retry", "1", expect=6)


def test_what_the_release_before_submitted_is_made_as_the_preset_is_now(
    run: Run, submit: Submit, films: Films, database: Database
) -> None:
    submit(films(2), preset="poster")
    with database.session() as session:
        session.connection().exec_driver_sql("UPDATE app.transcodes SET preset_hash = NULL")
    run("worker", "--once")
    assert statuses(database) == ["done"]


def test_a_worker_leaves_what_it_cannot_encode_to_others(
    run: Run, write: Write, submit: Submit, films: Films, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("transcode", "presets", "create", write("mp4", name="modern", video={"codec": "hevc"}))
    submit(films(2), preset="modern")
    submit(films(2), preset="poster")
    with monkeypatch.context() as lacking:
        lacking.setitem(ffmpeg.ENCODERS, "hevc", "no_such_encoder")
        run("worker", "--once")
    assert statuses(database) == ["queued", "done"]
    run("worker", "--once")
    assert statuses(database) == ["done", "done"]

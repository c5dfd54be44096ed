"""Long films through `dumacle worker`: divided, encoded by several units, put together, and nothing left behind."""

import uuid
from pathlib import Path

import pytest
from sqlalchemy import text

from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.errors import OutputBroken, PodFull
from dumacle_cli.store import pieces, work_units
from dumacle_cli.store.database import Database
from dumacle_cli.store.work_units import Claimed
from dumacle_cli.transcode import chunks
from tests.conftest import Run
from tests.films import Films, Submit, check, films, rows, statuses, submit
from tests.transcode.conftest import run_ffmpeg

__all__ = ["films", "submit"]
pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut after each segment, so that short films have chunks."""
    monkeypatch.setattr(chunks, "LEAST_SEGMENTS", 1)
    monkeypatch.setattr(chunks, "LEAST", 3)


def film(folder: Path) -> bytes:
    """Make a film with too few key frames to be copied."""
    pictures, sound = "testsrc2=size=64x36:rate=25:duration=14", "sine=duration=14"
    inputs = ("-f", "lavfi", "-i", pictures, "-f", "lavfi", "-i", sound)
    run_ffmpeg(*inputs, "-c:v", "libx264", "-preset", "ultrafast", "-g", "300", str(folder / "film.mp4"))
    return (folder / "film.mp4").read_bytes()


def kinds(run: Run) -> list[tuple[str, str]]:
    return [(unit["kind"], unit["status"]) for unit in run("transcode", "show", "1", "-o", "json").data["units"]]


def claim(database: Database, worker: str = "here:1") -> Claimed:
    with database.session() as session:
        found = work_units.claim_next(session, worker, 60, uuid.uuid4(), ["h264"])
    assert found is not None
    return found


def divided(database: Database) -> None:
    """Divide the only film into three chunks and its sound."""
    unit = claim(database)
    with database.session() as session:
        assert pieces.divide(session, unit, [0, 150, 300, 350], sound=True)


def complete(database: Database, unit: Claimed) -> None:
    with database.session() as session:
        work_units.reserve(session, unit, 1000)
        assert pieces.complete(session, unit, "ab" * 32)


@pytest.mark.parametrize("preset", ["hls", "mp4"])
def test_a_long_film_is_made_of_chunks(
    preset: str, run: Run, submit: Submit, database: Database, object_store: ObjectStore, tmp_path: Path
) -> None:
    submit(film(tmp_path), preset=preset)
    run("worker", "--once", "--slots", "2")
    assert statuses(database) == ["done"]
    assert kinds(run) == [*[("chunk", "done")] * 3, ("audio", "done"), ("finalize", "done")]
    check(database, object_store, 1)
    assert rows(database, "SELECT frames FROM app.renditions") == [{"frames": 350}]
    assert rows(database, "SELECT progress, attempts, seconds FROM app.transcodes") == [
        {"progress": 100, "attempts": 1, "seconds": 14}
    ]
    charged = rows(database, "SELECT sum(delta) AS seconds FROM app.quota_entries WHERE metric = 'transcode'")
    assert charged == [{"seconds": 14}]
    run("transcode", "verify", "1")


def test_what_cannot_be_joined_is_made_as_a_whole(
    run: Run, submit: Submit, films: Films, database: Database, object_store: ObjectStore
) -> None:
    """As if a piece had changed at the store: the whole film is encoded, and nothing of the pieces is left."""
    submit(films(14, "64x36"), preset="hls")
    divided(database)
    for _ in range(4):
        complete(database, claim(database))
    told = run("worker", "--once").err
    assert "unit made whole" in told
    assert statuses(database) == ["done"]
    assert kinds(run)[-2:] == [("finalize", "cancelled"), ("whole", "done")]
    check(database, object_store, 1)
    charged = rows(database, "SELECT sum(delta) AS seconds FROM app.quota_entries WHERE metric = 'transcode'")
    assert charged == [{"seconds": 14}]


def test_a_chunk_that_comes_out_wrong_twice_is_no_chunk(
    run: Run,
    submit: Submit,
    films: Films,
    database: Database,
    object_store: ObjectStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[int] = []

    def broken(*given: object) -> list[str]:
        tried.append(1)
        raise OutputBroken(reason="it has no pictures")

    monkeypatch.setattr(chunks, "encode_chunk", broken)
    monkeypatch.setattr(work_units, "RETRY_SECONDS", 0)
    submit(films(14, "64x36"), preset="hls")
    told = run("worker", "--once").err
    assert told.count("unit failed") == told.count("unit made whole") == 1
    assert statuses(database) == ["done"]
    assert kinds(run)[-1] == ("whole", "done")
    assert len(tried) <= 4  # each of three chunks once, and one of them again
    check(database, object_store, 1)


def test_a_film_that_is_put_together_takes_the_room_of_its_pieces(
    run: Run, submit: Submit, films: Films, database: Database
) -> None:
    """As much as if it had been encoded as a whole: the pod and the quota have no room for both."""
    submit(films(14, "64x36"), preset="hls")
    divided(database)
    for _ in range(4):
        complete(database, claim(database))
    with database.session() as session:
        session.execute(text("UPDATE app.pods SET capacity = used + reserved + 50"))
    last = claim(database)
    with database.session() as session, pytest.raises(PodFull, match=r"3\.96 KiB free"):
        work_units.reserve(session, last, 4051)
    for size in (4050, 3000, 4050):  # as a repeat after a lost answer, or another attempt
        with database.session() as session:
            work_units.reserve(session, last, size)
    [books] = rows(database, "SELECT reserved, capacity - used AS room FROM app.pods")
    assert books["reserved"] == books["room"] == 4050
    output = work_units.Output("hls", "hls", f"renditions/{last.content.file_id}/1/{last.token}/", "master.m3u8", 4050)
    with database.session() as session:
        assert work_units.publish(session, last, [output])
    assert rows(database, "SELECT reserved, capacity - used AS room FROM app.pods") == [{"reserved": 0, "room": 0}]
    assert rows(database, "SELECT FROM app.quota_counters WHERE reserved <> 0") == []


def test_pieces_are_removed_when_the_transcode_is_cancelled(
    run: Run, submit: Submit, films: Films, database: Database, object_store: ObjectStore
) -> None:
    submit(films(14, "64x36"), preset="hls")
    divided(database)
    unit = claim(database)
    object_store.put(f"renditions/{unit.content.file_id}/1/{unit.token}/a.m4s", b"a", SHA256_OF_A, "video/iso.segment")
    complete(database, unit)
    running = claim(database, "there:1")
    assert run("transcode", "cancel", "1", "-o", "json").data[0]["status"] == "cancelled"
    assert kinds(run) == [("chunk", "done"), *[("chunk", "cancelled")] * 2, ("audio", "cancelled")]
    with database.session() as session:
        assert not work_units.renew(session, running.id, running.token, 60, 50)
        assert not pieces.complete(session, running, "ab" * 32)
    run("worker", "--once")
    check(database, object_store, 0)
    assert rows(database, "SELECT FROM app.units WHERE inventory IS NOT NULL") == []


def test_units_are_claimed_once_and_completed_in_any_order(submit: Submit, films: Films, database: Database) -> None:
    """The last one to complete adds the unit that puts them together; a lost answer changes nothing."""
    submit(films(14, "64x36"), preset="hls")
    divided(database)
    claimed = [claim(database, f"worker:{number}") for number in range(4)]
    assert [(unit.number, unit.kind, unit.first, unit.last) for unit in claimed] == [
        (1, "chunk", 0, 149),
        (4, "audio", None, None),
        (2, "chunk", 150, 299),
        (3, "chunk", 300, 349),
    ]
    assert [unit.is_charged for unit in claimed] == [True, False, False, False]
    for unit in reversed(claimed):
        assert rows(database, "SELECT FROM app.units WHERE kind = 'finalize'") == []
        complete(database, unit)
        with database.session() as session:
            assert pieces.complete(session, unit, "ab" * 32)
    assert [row["number"] for row in rows(database, "SELECT number FROM app.units WHERE kind = 'finalize'")] == [5]
    with database.session() as session:
        last = claim(database)
        assert [piece.token for piece in pieces.of(session, last)] == [
            unit.token for unit in sorted(claimed, key=lambda unit: unit.number)
        ]


def test_progress_is_that_of_all_chunks(submit: Submit, films: Films, database: Database) -> None:
    submit(films(14, "64x36"), preset="hls")
    divided(database)
    first, _sound, second = claim(database), claim(database), claim(database)
    with database.session() as session:
        work_units.renew(session, first.id, first.token, 60, 50)
        work_units.renew(session, second.id, second.token, 60, 20)
    # 150 pictures of 350 by half, and 150 by a fifth, of 97 %
    assert rows(database, "SELECT progress, status FROM app.transcodes") == [{"progress": 29, "status": "running"}]


def test_workers_that_know_nothing_of_chunks_get_none(submit: Submit, films: Films, database: Database) -> None:
    submit(films(14, "64x36"), preset="hls")
    divided(database)
    query = text("SELECT app.claim_next(gen_random_uuid(), 'old:1', 60, '{h264}')")
    with database.session() as session:
        assert session.scalars(query).one() is None


def test_others_need_not_wait_for_a_whole_film(submit: Submit, films: Films, database: Database) -> None:
    """Its chunks and the films that were submitted after it take turns."""
    submit(films(14, "64x36"), preset="hls")
    divided(database)
    submit(films(2), films(2), preset="poster")
    claimed = [claim(database, f"worker:{number}").transcode_id for number in range(6)]
    assert claimed == [1, 1, 1, 2, 1, 3]


SHA256_OF_A = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"

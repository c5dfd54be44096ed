"""`dumacle worker`, in this process: what waits is done, told, and accounted for."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.commands.sweep import Sweep
from dumacle_cli.local.process import wait
from dumacle_cli.local.servers import Servers
from dumacle_cli.services.billing import inbox
from dumacle_cli.store.database import Database
from dumacle_cli.transcode import job
from tests.conftest import Run
from tests.films import Films, Submit, check, films, rows, statuses, submit
from tests.stripe_double.double import StripeDouble

__all__ = ["films", "submit"]
pytestmark = pytest.mark.integration


def test_does_what_waits_and_ends(
    run: Run, submit: Submit, films: Films, database: Database, object_store: ObjectStore
) -> None:
    submit(films(2))
    submit(films(2), preset="hls")
    submit(b"this is no film" * 1000)
    said = run("worker", "--once", expect=3).err
    assert statuses(database) == ["done", "done", "failed"]
    assert "unit done" in said
    assert "unit failed" in said
    check(database, object_store, 2)
    assert rows(database, "SELECT * FROM queue.procrastinate_jobs") == []
    assert run("worker", "--once").err == ""


def test_tells_each_failure_also_when_quiet(run: Run, submit: Submit, films: Films) -> None:
    submit(b"this is no film" * 1000, films(2), b"")
    told = run("worker", "--once", "--quiet", expect=3).err.splitlines()
    assert [line.split(" of ")[0] for line in told[::2]] == ["dumacle: transcode 1", "dumacle: transcode 3"]
    assert "(mp4) failed: this media cannot be transcoded: it is not media that FFmpeg knows" in told[0]
    assert "it is empty; upload the whole file" in told[2]
    assert told[1].endswith("dumacle transcode show 1")


def test_a_store_that_is_away_is_no_failure_of_the_media(
    run: Run,
    submit: Submit,
    films: Films,
    environment: Callable[..., None],
    embedded: Servers,
    database: Database,
    object_store: ObjectStore,
) -> None:
    """The other transcodes of the pod are not even tried, and all go on at once when it answers."""
    submit(*[films(2)] * 5, preset="poster")
    environment(DUMACLE_LOCAL_ENDPOINT="http://127.0.0.1:9")
    told = run("worker", "--once", "--quiet", expect=10).err
    assert "was set back, and is tried again: local at http://127.0.0.1:9 cannot be reached" in told
    assert statuses(database) == ["queued"] * 5
    assert rows(database, "SELECT sum(attempts) AS tried FROM app.transcodes") == [{"tried": 0}]
    assert rows(database, "SELECT sum(setbacks) AS setbacks FROM app.units") == [{"setbacks": 1}]
    shown = run("transcode", "show", "1", "-o", "json").data
    assert (shown["attempts"], shown["setbacks"]) == (0, 1)
    [found] = [each for each in run("doctor", "-o", "json", expect={0, 1}).data if each["check"] == "transcodes"]
    assert found["status"] == "warning"
    assert "5 transcodes of pod films wait since" in found["finding"]
    environment(DUMACLE_LOCAL_ENDPOINT=embedded.s3_endpoint)
    wait(lambda: rows(database, "SELECT FROM app.pauses WHERE until > now()") == [], 5)
    run("worker", "--once", "--slots", "2")
    check(database, object_store, 5)
    assert rows(database, "SELECT FROM app.pauses") == []


def test_a_full_disk_is_no_failure_of_the_media(
    run: Run, submit: Submit, films: Films, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(films(2))
    monkeypatch.setattr(job, "REST_SECONDS", 0)
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10))
    assert "No space left on device" in run("worker", "--once", "--quiet", expect=10).err
    assert statuses(database) == ["queued"]
    assert rows(database, "SELECT attempt, setbacks FROM app.units") == [{"attempt": 0, "setbacks": 1}]


def test_an_ffmpeg_that_cannot_encode_gets_no_transcodes(
    run: Run, submit: Submit, films: Films, database: Database, environment: Callable[..., None], tmp_path: Path
) -> None:
    submit(films(2))
    broken = tmp_path / "ffmpeg"
    broken.write_text(
        '#!/bin/sh\n[ "$1" = -version ] && echo "ffmpeg version 1" && exit\necho "no libx264" >&2; exit 1\n'
    )
    broken.chmod(0o755)
    environment(DUMACLE_FFMPEG=str(broken))
    assert "it cannot encode with libx264 and AAC: no libx264" in run("worker", "--once").err
    assert statuses(database) == ["queued"]
    assert "no libx264" in run("worker", "--once", "--queues", "transcode", expect=1).err


def test_logs_in_json(run: Run, submit: Submit, films: Films) -> None:
    submit(films(2))
    started, ended, summary = map(json.loads, run("worker", "--once", "--log-format", "json").err.splitlines())
    assert (started["event"], ended["event"]) == ("unit started", "unit done")
    assert (started["unit"], started["attempt"]) == (ended["unit"], 1)
    assert summary["exit"] == 0


def test_does_what_no_queue_row_speaks_of(
    run: Run, submit: Submit, films: Films, database: Database, object_store: ObjectStore
) -> None:
    submit(films(2))
    with database.session() as session:
        session.execute(text("DELETE FROM queue.procrastinate_jobs"))
    run("worker", "--once")
    check(database, object_store, 1)


def test_media_that_fails_every_time_is_charged_to_nobody(
    run: Run, submit: Submit, database: Database, object_store: ObjectStore, films: Films
) -> None:
    submit(films(2)[:3000])
    run("worker", "--once", expect=3)
    assert statuses(database) == ["failed"]
    check(database, object_store, 0)


def test_refuses_what_has_no_room(
    run: Run, submit: Submit, database: Database, object_store: ObjectStore, films: Films
) -> None:
    submit(films(2))
    with database.session() as session:
        session.execute(text("UPDATE app.pods SET capacity = used + 1000"))
    run("worker", "--once", expect=3)
    [found] = rows(database, "SELECT status, error FROM app.transcodes")
    assert found["status"] == "failed"
    assert "pod films is full" in found["error"]
    check(database, object_store, 0)


def test_light_work_is_done_apart_from_films(
    run: Run, submit: Submit, database: Database, object_store: ObjectStore, films: Films
) -> None:
    jobs = "SELECT queue_name FROM queue.procrastinate_jobs WHERE status = 'todo' ORDER BY id"
    for preset in ("mp4", "poster", "audio"):
        submit(films(2), preset=preset)
    assert [job["queue_name"] for job in rows(database, jobs)] == ["transcode", "light", "light"]
    run("worker", "--once", "--queues", "light")
    assert statuses(database) == ["queued", "done", "done"]
    assert [job["queue_name"] for job in rows(database, jobs)] == ["transcode"]
    submit(films(2), preset="poster")
    run("worker", "--once", "--queues", "transcode")
    assert statuses(database) == ["done"] * 4
    check(database, object_store, 4)


def test_light_work_that_comes_first_takes_no_job_from_a_film(
    run: Run, submit: Submit, database: Database, films: Films, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(films(2), preset="poster")
    submit(films(2), preset="mp4")
    with database.session() as session:
        session.execute(text("DELETE FROM queue.procrastinate_jobs WHERE queue_name = 'light'"))
        session.execute(text("UPDATE app.transcodes SET priority = 5 WHERE preset = 'poster'"))
    monkeypatch.setattr(Sweep, "__call__", lambda _: False)  # it would add jobs for what waits
    run("worker", "--once", "--queues", "transcode")
    assert statuses(database) == ["done", "done"]


def test_names_of_queues(run: Run) -> None:
    assert "there are" in run("worker", "--queues", "nothing", expect=2).err
    assert "stripe_secret_key" in run("worker", "--queues", "webhooks", expect=2).err


def test_applies_what_stripe_reported(
    run: Run, database: Database, stripe_double: StripeDouble, environment: Callable[..., None]
) -> None:
    environment(**stripe_double.settings)
    with database.session() as session:
        inbox.request_refresh(session, [("customer", "cus_gone")])
    said = run("worker", "--once").err
    assert "stripe " in said
    assert "object cus_gone" in said
    assert rows(database, "SELECT id FROM app.stripe_objects WHERE have < want OR lease_token IS NOT NULL") == []
    assert rows(database, "SELECT * FROM queue.procrastinate_jobs") == []

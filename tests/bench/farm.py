"""A worker that has nothing to do, and one with 10,000 transcodes in the queue.

    python -m tests.bench.farm [QUEUED]

Goals: an idle worker takes less than 1 % of a processor; a freed slot begins to read the next source within 200 ms.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.orm import Session

from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.clients.objects import Location
from dumacle_cli.local import servers
from dumacle_cli.local.servers import OWNER, Servers
from dumacle_cli.services import transcodes
from dumacle_cli.store import bootstrap, schema, sql, work_units
from dumacle_cli.store.database import Database, Timeouts
from tests import buckets
from tests.factories import make_file, make_plan, make_pod, make_subscription, make_user
from tests.films import clip
from tests.servers import scratch_folder, start_servers, stop_servers

QUEUED, FILMS, IDLE_SECONDS, TIMES = 10_000, 12, 20, 15
TICKS = os.sysconf("SC_CLK_TCK")

_FILL = """
INSERT INTO app.users (email) SELECT 'owner' || n || '@example.com' FROM generate_series(1, 100) AS n;
INSERT INTO app.files (pod_id, owner_id, path, size)
SELECT (SELECT min(id) FROM app.pods), (SELECT max(id) FROM app.users) - n % 100, 'film' || n || '.mp4', 1000
FROM generate_series(1, {queued}) AS n;
INSERT INTO app.versions (file_id, size, key, status, stored_at)
SELECT id, 1000, md5(id::text), 'stored', now() FROM app.files WHERE path LIKE 'film%';
UPDATE app.files AS f SET version_id = v.id FROM app.versions AS v WHERE v.file_id = f.id;
INSERT INTO app.transcodes (file_id, version_id, preset, turn)
SELECT file_id, id, 'poster', 1 + file_id / 100 FROM app.versions;
INSERT INTO app.units (transcode_id, number, kind) SELECT id, 1, 'chunk' FROM app.transcodes;
SELECT app.wake('transcode', 'transcode', array_agg(id::text), 0) FROM app.units;
ANALYZE;
"""

_PAUSE = "INSERT INTO app.pauses (pod_id, until, error) SELECT id, now() + interval '1 hour', 'away' FROM app.pods"


@contextmanager
def installation() -> Iterator[tuple[Servers, Database, Location]]:
    """Start the servers on a database and a bucket of their own."""
    folder = scratch_folder()
    embedded = start_servers(folder)
    try:
        bootstrap.bootstrap(embedded.admin_url, "bench", OWNER, embedded.owner_password)
        url = servers.url(embedded, OWNER, embedded.owner_password, "bench")
        schema.upgrade(url)
        keys = (embedded.s3_access_key, embedded.s3_secret_key)
        location = Location("local", embedded.s3_endpoint, "us-east-1", "bench", *keys)
        buckets.create(location)
        database = Database(url, Timeouts())  # as the owner: policies add little (tests.bench.rights)
        yield embedded, database, location
        database.close()
    finally:
        stop_servers(folder)


@contextmanager
def worker(database: Database, location: Location) -> Iterator["subprocess.Popen[str]"]:
    """Run a worker of one slot as a process of its own."""
    command = [sys.executable, "-m", "dumacle_cli", "worker", "--queues", "transcode", "--log-format", "json"]
    with subprocess.Popen(command, env=environment(database, location), stderr=subprocess.PIPE, text=True) as process:
        yield process
        process.terminate()


def environment(database: Database, location: Location) -> dict[str, str]:
    """Return the environment of a worker of this installation."""
    return {
        **os.environ,
        "DUMACLE_DATABASE_URL": database.url.set(drivername="postgresql").render_as_string(hide_password=False),
        "DUMACLE_LOCAL_ENDPOINT": location.endpoint or "",
        "DUMACLE_LOCAL_BUCKET": location.bucket,
        "DUMACLE_LOCAL_ACCESS_KEY": location.access_key,
        "DUMACLE_LOCAL_SECRET_KEY": location.secret_key,
    }


def idle(database: Database, location: Location) -> float:
    """Return the share of a processor that a worker without work takes, in percent."""
    with worker(database, location) as process:
        time.sleep(10)  # until it has started
        before = _ticks(process.pid)
        time.sleep(IDLE_SECONDS)
        return 100 * (_ticks(process.pid) - before) / TICKS / IDLE_SECONDS


def _ticks(pid: int) -> int:
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(word) for word in words[11:15])


def fill(database: Database, store: ObjectStore, queued: int) -> None:
    """Queue that many transcodes of a hundred owners, and before them some films that can be read."""
    with database.session() as session, tempfile.TemporaryDirectory() as folder:
        pod, owner = make_pod(session, "films", bucket=store.location.bucket), make_user(session)
        make_subscription(session, owner, make_plan(session, transcode_limit=36_000))
        session.flush()
        sql.run(session.connection(), _FILL.format(queued=queued))
        body = clip(Path(folder), 1)
        films = [make_file(session, pod, owner, f"{number}.mp4", body=body, store=store) for number in range(FILMS)]
        transcodes.submit(session, [str(film.id) for film in films], "poster", priority=1)


def gaps(database: Database, location: Location) -> list[float]:
    """Return the milliseconds from the end of each unit to the start of the program that reads the next source."""
    found: list[float] = []
    with worker(database, location) as process:
        assert process.stderr is not None
        for line in process.stderr:
            event = json.loads(line)["event"]
            if event == "unit done":
                began = time.perf_counter()
                while not _children(process.pid) and time.perf_counter() - began < 10:
                    time.sleep(0.002)
                found.append(1000 * (time.perf_counter() - began))
            if len(found) == FILMS - 1:
                return found
    return found


def _children(pid: int) -> bool:
    return any((task / "children").read_text() for task in Path(f"/proc/{pid}/task").iterdir() if task.exists())


def claims(database: Database) -> list[float]:
    """Return the milliseconds that claims take; each is rolled back."""
    found = []
    for _ in range(TIMES):
        with Session(database.engine) as session:
            session.execute(text("SELECT 1"))
            began = time.perf_counter()
            work_units.claim_next(session, "bench", 60, uuid.uuid4(), ["h264"])
            found.append(1000 * (time.perf_counter() - began))
            session.rollback()
    return found


def main() -> None:
    """Print the figures."""
    queued = int(sys.argv[1]) if len(sys.argv) > 1 else QUEUED
    with installation() as (_, database, location), ObjectStore(location) as store:
        print(f"idle worker: {idle(database, location):.2f} % of a processor")
        fill(database, store, queued)
        print(f"claim with {queued} queued: median {statistics.median(claims(database)):.1f} ms")
        with database.session() as session:
            session.execute(text(_PAUSE))
        print(f"the same, all of a pod that is paused: median {statistics.median(claims(database)):.1f} ms")
        with database.session() as session:
            session.execute(text("DELETE FROM app.pauses"))
        waits = gaps(database, location)
        print(f"next source begins after: median {statistics.median(waits):.0f} ms, longest {max(waits):.0f} ms")


if __name__ == "__main__":
    main()

"""Kill uploads at numbered fault points and at random times, and look whether anything is lost, doubled or left over.

python -m tests.faults.kills --kills 300 --seed 1

The fault points are all requests to the store and all COMMITs, before and after each, as the proxies see them.
"""

import argparse
import io
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import boto3
from botocore.config import Config
from sqlalchemy import text

from dumacle_cli import paths
from dumacle_cli.__main__ import main
from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.clients.objects import Location
from dumacle_cli.errors import ObjectMissing
from dumacle_cli.local import servers
from dumacle_cli.local.servers import OWNER
from dumacle_cli.services import reap
from dumacle_cli.services import seed as seeds
from dumacle_cli.store import bootstrap, schema
from dumacle_cli.store.database import Database, Timeouts
from tests import buckets
from tests.factories import make_grant, make_plan, make_pod, make_subscription, make_user
from tests.faults.proxy import Proxy, proxied
from tests.faults.store_proxy import Cut, StoreProxy, store_proxied
from tests.ingest import checker
from tests.processes import ROOT, unmeasured
from tests.servers import scratch_folder, start_servers, stop_servers

MIB = 1024**2
FILM = 33 * MIB
"""Three parts."""
SECONDS = 120
OWNER_EMAIL, POD = "ada@example.com", "films"
TO = ("--owner", OWNER_EMAIL, "--pod", POD)
UNFINISHED = "('planned', 'uploading', 'completing')"
LEAST = 10
"""How often a long run must hit each state."""
LONG = 300
IN_A_ROUND = 8
"""The most kills before an upload is left to end."""
STATES = (
    "before the run",
    "nothing planned",
    "planned",
    "stored, not recorded",
    "parts begun, not recorded",
    "no part yet",
    "some parts",
    "all parts",
    "completing",
    "completed, not recorded",
    "a new version under way",
    "half of the files recorded",
    "all recorded, run not closed",
    "run closed",
)


@dataclass(frozen=True, slots=True)
class Place:
    """What uploads are killed on; database and store are reached beside the proxies, the program through them."""

    database: Database
    store: ObjectStore
    database_proxy: Proxy
    store_proxy: StoreProxy
    environ: dict[str, str]
    folder: Path


@dataclass(slots=True)
class Report:
    """How often each state was hit, and at which points."""

    kills: int = 0
    rounds: int = 0
    states: Counter[str] = field(default_factory=Counter)
    points: Counter[str] = field(default_factory=Counter)
    led: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """By state, the points that led to it."""

    def add(self, point: str, found: set[str]) -> None:
        """Count one kill."""
        self.kills += 1
        self.points[point] += 1
        for state in found:
            self.states[state] += 1
            self.led[state][point] += 1

    @property
    def missing(self) -> list[str]:
        """The states that were hit too rarely for a long run."""
        return [state for state in STATES if self.states[state] < LEAST]


class Trigger:
    """Counts fault points as a process passes them, and kills it at the chosen one.

    What the network carries already still arrives: only the request or COMMIT at which it is killed is cut.
    """

    def __init__(self) -> None:
        self.known: Counter[str] = Counter()
        """How often each point was passed at most in one process."""
        self.started = threading.Event()
        self._lock = threading.Lock()
        self._passed: Counter[str] = Counter()
        self._chosen, self._process = ("", 0), None
        self.struck = False

    def start(self, argv: list[str], environ: dict[str, str], point: str, number: int) -> subprocess.Popen[str]:
        """Start a process that is killed when it passes the point for the `number`th time."""
        with self._lock:
            self._passed, self.struck, self._chosen = Counter(), False, (point, number)
            self.started.clear()
            process = subprocess.Popen(
                argv, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace"
            )
            self._process = process
            return process

    def __call__(self, point: str) -> None:
        """Pass a point."""
        with self._lock:
            self.started.set()
            self._passed[point] += 1
            self.known[point] = max(self.known[point], self._passed[point])
            if (point, self._passed[point]) != self._chosen:
                return
            self.struck = True
            self._process.kill()
        raise Cut


class Driver:
    """Uploads one tree after the other, and kills, until it killed often enough."""

    def __init__(self, place: Place, seed: int, *options: str) -> None:
        self.place, self.random, self.options = place, random.Random(seed), options
        self.report, self.trigger = Report(), Trigger()
        self.claims = checker.Claims(place.database, place.store)
        self.tree = place.folder / "tree"
        place.database_proxy.point = place.store_proxy.point = self.trigger
        self.history: list[str] = []
        """What happened to the present tree."""
        self.duration = 1.0
        """Seconds from the first point that an upload passes to its end."""

    def run(self, kills: int) -> Report:
        """Kill so many uploads; raises AssertionError as soon as something is lost, doubled or left over."""
        self._round(0)
        while self.report.kills < kills:
            self._round(min(IN_A_ROUND, kills - self.report.kills))
        return self.report

    def _round(self, kills: int) -> None:
        """Upload a new tree, killed so many times at most and sometimes changed in between; check it and remove it."""
        self.history.clear()
        self._grow()
        before = self.report.kills
        while self.report.kills < before + kills:
            if not self._kill() or self.random.random() < 0.3:
                self._change()
        self._finish()
        self._check()
        self._clear()
        self.report.rounds += 1

    def _finish(self) -> None:
        """Let the upload end by itself."""
        process = self.trigger.start(self._upload, self.place.environ, "", 0)
        self.trigger.started.wait(SECONDS)
        began = time.monotonic()
        said = process.communicate(timeout=SECONDS)[1]
        self.duration = time.monotonic() - began
        assert process.returncode == 0, f"exit {process.returncode}: {said}"

    def _kill(self) -> bool:
        """Start the upload and kill it; returns whether it was killed before it ended by itself."""
        point, number = self._choose()
        process = self.trigger.start(self._upload, self.place.environ, point, number)
        if not point:
            self.trigger.started.wait(SECONDS)
            with suppress(subprocess.TimeoutExpired):
                process.wait(self.random.uniform(0, self.duration))
            process.kill()
        said = process.communicate(timeout=SECONDS)[1]
        self._settle()
        states = self._states()
        self.history.append(f"{point or 'random time'} {number}: exit {process.returncode}, {', '.join(states)}")
        assert process.returncode in (0, -signal.SIGKILL), said
        self.claims.check()
        if process.returncode == 0:
            return False
        self.report.add(point or "at a random time", states)
        return True

    def _choose(self) -> tuple[str, int]:
        """Choose a point and its number: one that leads to a state that was rarely hit, any point, or a random time."""
        way = self.random.random()
        if way < 0.2:
            return "", 0
        point = self.random.choice(sorted(self.trigger.known))
        rare = min(STATES, key=lambda state: (self.report.states[state], self.random.random()))
        if way < 0.8 and (led := self.report.led[rare]):
            point = self.random.choice(sorted(set(led) & set(self.trigger.known)) or [point])
        return point, 1 if way < 0.6 else self.random.randint(1, self.trigger.known[point])

    def _settle(self) -> None:
        """Wait until what the dead process had sent took effect."""
        self.place.store_proxy.settle()
        with self.place.database.session() as session:
            query = text(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                "AND application_name = 'dumacle' AND usename <> current_user"
            )
            for _ in range(1000):
                if not session.scalar(query):
                    return
                session.execute(text("SELECT pg_stat_clear_snapshot(), pg_sleep(0.01)"))
        raise AssertionError("the dead process still has a connection")

    def _dumacle(self, *arguments: str) -> None:
        """Run a command that is not killed, in this process, which takes less time."""
        said = io.StringIO()
        with patch.dict(os.environ, self.place.environ), redirect_stdout(io.StringIO()), redirect_stderr(said):
            code = main(arguments)
        assert code == 0, f"{arguments}: exit {code}: {said.getvalue()}"

    @property
    def _upload(self) -> list[str]:
        return [sys.executable, "-m", "dumacle_cli", "files", "upload", str(self.tree), *TO, *self.options]

    # The tree

    def _grow(self) -> None:
        shutil.rmtree(self.tree, ignore_errors=True)
        (self.tree / "deep" / "er").mkdir(parents=True)
        self._write("film.mp4", FILM + self.random.randrange(8 * MIB))
        for number in range(30):
            self._write(f"{'deep/' * (number % 2)}{number}.jpg", self.random.choice((0, 1, 900, 64_000, 300_000)))
        twin = self.tree / "twin.bin"
        self._write(twin.name, 50_000)
        shutil.copy(twin, self.tree / "deep" / "er" / "twin.bin")
        (self.tree / os.fsdecode(b"not \xff text.jpg")).write_bytes(b"named in no encoding")

    def _change(self) -> None:
        """Change a file, add one, or change the film."""
        new = f"new{self.random.randrange(10**6)}.jpg"
        name = self.random.choice(("deep/1.jpg", "deep/er/twin.bin", new, "film.mp4", "film.mp4"))
        self.history.append(f"changed {name}")
        self._write(name, (FILM if name == "film.mp4" else 0) + self.random.randrange(100_000))

    def _write(self, name: str, size: int) -> None:
        (self.tree / name).write_bytes(self.random.randbytes(size))

    # The second opinion

    def _check(self) -> None:
        """Compare the source with the rows and the bucket, and the books with both."""
        place = self.place
        self.claims.check()
        with patch.object(reap, "STRAY_SECONDS", 0):  # as if an hour had passed
            self._dumacle("files", "reap", "--older-than", "0s")
        checker.check(place.database, place.store, checker.tree(self.tree))
        checker.once(place.database)
        self._dumacle("pods", "check")
        self._dumacle("files", "purge", "--older-than", "0s", "--yes")
        checker.no_orphans(place.database, place.store)

    def _clear(self) -> None:
        """Remove all files: nothing is left in the bucket, and the books are as at the beginning."""
        place = self.place
        self._dumacle("files", "delete", *TO, "--yes")
        self._dumacle("files", "purge", "--older-than", "0s", "--yes")
        assert list(place.store.list("")) == []
        with place.database.session() as session:
            for counted in ("app.pods WHERE used <> 0", "app.quota_counters WHERE metric = 'storage' AND used <> 0"):
                assert session.scalar(text(f"SELECT count(*) FROM {counted}")) == 0
            # What was uploaded this month stays counted; the books of the next round begin at zero.
            session.execute(text("DELETE FROM app.quota_entries"))
            session.execute(text("DELETE FROM app.quota_counters"))

    def _states(self) -> set[str]:
        """Tell from rows and bucket in which states the kill left the run and its files."""
        with self.place.database.session() as session:
            runs = session.scalars(text("SELECT status FROM app.runs ORDER BY id DESC LIMIT 1")).all()
            unfinished = session.execute(
                text(
                    "SELECT v.key, v.status, v.upload_id, v.part_size, v.size, f.version_id IS NOT NULL AS is_new "
                    "FROM app.versions AS v JOIN app.files AS f ON f.id = v.file_id AND f.deleted_at IS NULL "
                    f"WHERE v.status IN {UNFINISHED}"
                )
            ).all()
            uploaded = session.scalar(text("SELECT count(*) FROM app.files WHERE version_id IS NOT NULL"))
        found = {self._state(row) for row in unfinished}
        if any(row.is_new for row in unfinished):
            found.add("a new version under way")
        known = {row.upload_id for row in unfinished}
        if set(buckets.unfinished_uploads(self.place.store.location)) - known - self._given_up():
            found.add("parts begun, not recorded")
        if unfinished:
            return found | ({"half of the files recorded"} if uploaded else set())
        if runs == ["running"]:
            return found | {"all recorded, run not closed" if self._is_recorded() else "nothing planned"}
        return found | {"run closed" if self._is_recorded() else "before the run"}

    def _is_recorded(self) -> bool:
        """Whether the rows have every file of the source as it is now."""
        with self.place.database.session() as session:
            rows = session.execute(text("SELECT path, mtime_ns FROM app.files WHERE version_id IS NOT NULL")).all()
        recorded = {(paths.decode(path), mtime) for path, mtime in rows}
        files = (path for path in self.tree.rglob("*") if path.is_file())
        return {(os.fsencode(path.relative_to(self.tree)), path.stat().st_mtime_ns) for path in files} <= recorded

    def _given_up(self) -> set[str]:
        with self.place.database.session() as session:
            return set(session.scalars(text("SELECT upload_id FROM app.versions WHERE upload_id IS NOT NULL")))

    def _state(self, row: Any) -> str:
        if self._is_stored(row.key):
            return "stored, not recorded" if row.upload_id is None else "completed, not recorded"
        if row.status == "completing":
            return "completing"
        if row.upload_id is None:
            return "planned"
        parts, all_parts = self._parts(row.key, row.upload_id), -(-row.size // row.part_size)
        return "no part yet" if not parts else "some parts" if parts < all_parts else "all parts"

    def _is_stored(self, key: str) -> bool:
        try:
            self.place.store.head(key)
        except ObjectMissing:
            return False
        return True

    def _parts(self, key: str, upload_id: str) -> int:
        location = self.place.store.location
        client = boto3.client(
            "s3",
            region_name=location.region,
            endpoint_url=location.endpoint,
            aws_access_key_id=location.access_key,
            aws_secret_access_key=location.secret_key,
            config=Config(s3={"addressing_style": "path"}, proxies={}),
        )
        try:
            return len(client.list_parts(Bucket=location.bucket, Key=key, UploadId=upload_id).get("Parts", ()))
        except client.exceptions.NoSuchUpload:
            return 0
        finally:
            client.close()


@contextmanager
def prepared(database: Database, login_url: str, location: Location, folder: Path) -> Iterator[Place]:
    """Make a user with a pod in this bucket, and reach database and store through proxies; `folder` is empty."""
    with database.session() as session:
        owner = make_user(session, OWNER_EMAIL)
        make_grant(session, make_pod(session, POD, bucket=location.bucket), owner)
        make_subscription(session, owner, make_plan(session))
    with (
        proxied(login_url, folder) as (database_proxy, url),
        store_proxied(location.endpoint or "") as store_proxy,
        ObjectStore(location) as store,
    ):
        environ = {
            **{name: value for name, value in unmeasured().items() if not name.startswith("DUMACLE_")},
            "PYTHONPATH": str(ROOT),
            "HOME": str(folder),
            "DUMACLE_DATABASE_URL": url,
            "DUMACLE_DEFAULT_PROVIDER": "local",
            "DUMACLE_LOCAL_ENDPOINT": store_proxy.endpoint,
            "DUMACLE_LOCAL_BUCKET": location.bucket,
            "DUMACLE_LOCAL_ACCESS_KEY": location.access_key,
            "DUMACLE_LOCAL_SECRET_KEY": location.secret_key,
        }
        yield Place(database, store, database_proxy, store_proxy, environ, folder)


@contextmanager
def installed() -> Iterator[Place]:
    """Start servers of one's own, and prepare a place on them."""
    folder = scratch_folder()
    up = start_servers(folder)
    try:
        bootstrap.bootstrap(up.admin_url, "killed", OWNER, up.owner_password)
        owner = servers.url(up, OWNER, up.owner_password, "killed")
        schema.upgrade(owner)
        location = Location("local", up.s3_endpoint, "us-east-1", "killed", up.s3_access_key, up.s3_secret_key)
        buckets.create(location)
        database = Database(owner, Timeouts())
        with database.session() as session:
            login = seeds.superadmin(session, "tests@example.com", up.owner_password)
        work = folder / "work"
        work.mkdir()
        with prepared(database, servers.url(up, login, up.owner_password, "killed"), location, work) as place:
            yield place
        database.close()
    finally:
        stop_servers(folder)


def table(report: Report) -> str:
    """Return what was hit how often."""
    lines = [f"{report.states[state]:>6}  {state}" for state in STATES]
    lines += ["", *(f"{count:>6}  {point}" for point, count in report.points.most_common())]
    return "\n".join([f"{report.kills} kills in {report.rounds} rounds", "", *lines])


def _main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=LONG)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--dedupe", action="store_true")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    print(f"seed {asked.seed}", flush=True)
    with installed() as place:
        driver = Driver(place, asked.seed, *(["--dedupe"] if asked.dedupe else []))
        try:
            report = driver.run(asked.kills)
        except AssertionError:
            print("the last tree:", *driver.history, sep="\n    ")
            raise
        finally:
            print(table(driver.report), flush=True)
    missing = report.missing if asked.kills >= LONG else []
    print(*(f"hit fewer than {LEAST} times: {state}" for state in missing), sep="\n")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(_main())

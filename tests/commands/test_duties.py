"""Who may do what, through the program: each service its duty, an admin his day, an enduser what is his."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.errors import Exit
from dumacle_cli.local import servers
from dumacle_cli.local.servers import Servers
from dumacle_cli.services import users
from dumacle_cli.services.billing import inbox
from dumacle_cli.services.billing.objects import tags
from dumacle_cli.store import logins, uploads
from dumacle_cli.store.database import Database
from dumacle_cli.store.models import Pod
from dumacle_cli.store.rights import DUTIES
from tests.commands.test_contract import remembered
from tests.conftest import Result, Run
from tests.factories import make_file, make_plan, make_user
from tests.faults.test_listener import EVENT, listening, packed
from tests.faults.workers import begin, stop
from tests.films import Films, Submit, await_status, check, films, rows, statuses, submit
from tests.processes import Begin
from tests.promises import PROMISES, example
from tests.stripe_double.double import StripeDouble, sign

__all__ = ["begin", "films", "submit"]
pytestmark = pytest.mark.integration

ADA, BOB, EVE, ADMIN, ROOT = (f"{name}@example.com" for name in ("ada", "bob", "eve", "admin", "root"))
PASSWORD = "of this test"
FIX = "ask a user with that role; to see your own role: dumacle auth whoami"
By = Callable[..., Result]
Refused = Callable[..., None]
LogIn = Callable[[str], None]


@pytest.fixture
def log_in(embedded: Servers, copied: str, database: Database, environment: Callable[..., None]) -> Iterator[LogIn]:
    """Let the program act with the login of a duty, or of a user by e-mail, which is made where it is missing."""
    made: dict[str, str] = {}

    def call(who: str) -> None:
        if who not in made:
            with database.session() as session:
                if who in DUTIES:
                    made[who] = logins.grant_service(session, who, PASSWORD)
                else:
                    made[who] = logins.grant_personal(session, users.get(session, who).id, PASSWORD)
        environment(DUMACLE_DATABASE_URL=servers.url(embedded, made[who], PASSWORD, copied))

    yield call
    with database.session() as session:
        for login in made.values():
            logins.revoke(session, login)


@pytest.fixture
def by(run: Run, log_in: LogIn) -> By:
    """Run the program as somebody, for the answer as JSON."""

    def call(who: str, *argv: str | Path, expect: int = 0) -> Result:
        log_in(who)
        return run(*argv, "-o", "json", expect=expect)

    return call


@pytest.fixture
def refused(by: By) -> Refused:
    """Run the program as somebody who may not do that, and is told in one sentence which role may: the command's."""

    def call(who: str, *argv: str, what: str = "", needs: str = "") -> None:
        path = next(path for words in (3, 2, 1) if (path := " ".join(argv[:words])) in PROMISES)
        failed = by(who, *argv, expect=Exit.FORBIDDEN)
        assert failed.out == ""
        (line,) = failed.err.splitlines()
        said = json.loads(line)
        assert said["message"] == f"{what or path} needs the role {needs or PROMISES[path].role}"
        assert (said["code"], said["fix"]) == ("forbidden", FIX)

    return call


# Everybody


IDLE = {
    "pods restore": ("pods", "delete", "films", "--yes"),
    "plans restore": ("plans", "archive", "pro"),
}
"""Commands whose example finds nothing to do, which is no fault of anybody's, and what gives them something."""


@pytest.mark.parametrize(("role", "who"), [("admin", ADA), ("superadmin", ADMIN)])
def test_every_command_says_which_role_it_needs(
    role: str,
    who: str,
    seeded: Run,
    log_in: LogIn,
    by: By,
    refused: Refused,
    database: Database,
    object_store: ObjectStore,
    stripe_double: StripeDouble,
    here: Path,
) -> None:
    buy(database, stripe_double, BOB)
    log_in(who)
    paths = [path for path, promise in PROMISES.items() if promise.role == role and not promise.offline]
    before = remembered(database, object_store, here)
    for path in paths:
        if path not in IDLE:
            refused(who, *example(path), "--timeout", "60")  # a service that is let in goes on for ever
    assert remembered(database, object_store, here) == before
    for path in IDLE.keys() & paths:
        by(ROOT, *IDLE[path])
        refused(who, *example(path))


# Services


def upload(by: By, *argv: str | Path) -> dict[str, Any]:
    counted: dict[str, Any] = by("ingest", "files", "upload", *argv, "--pod", "films", "--owner", ADA).data
    return counted


def test_ingest_uploads(seeded: Run, by: By, refused: Refused, database: Database, here: Path) -> None:
    assert upload(by, "photos")["uploaded"] == 3
    assert upload(by, "photos")["unchanged"] == 3
    (here / "photos" / "0.jpg").write_bytes(os.urandom(9000))
    with database.session() as session:
        pod = session.scalars(select(Pod.id).where(Pod.name == "films")).one()
        owner, run = users.get(session, ADA).id, session.scalars(text("SELECT max(id) FROM app.runs")).one()
        assert uploads.take_lease(session, pod, owner, run, 5000, 5000, 0).granted
    changed = upload(by, "photos")
    assert (changed["uploaded"], changed["unchanged"]) == (1, 2)
    assert rows(database, "SELECT id FROM app.leases WHERE closed_at IS NULL AND run_id IS NOT NULL") == []
    held = "SELECT coalesce(sum(granted), 0) FROM app.leases WHERE closed_at IS NULL AND pod_id = pods.id"
    assert rows(database, f"SELECT name FROM app.pods WHERE reserved <> ({held})") == []
    by("ingest", "files", "upload", "photos", "--pod", "songs", "--owner", ADA, expect=Exit.NOT_FOUND)
    refused("ingest", "users", "create", "new@example.com")
    refused("ingest", "files", "delete", "holiday/beach.jpg", "--owner", ADA, "--yes")


def test_ingest_uploads_in_parts_and_submits(
    seeded: Run, by: By, database: Database, here: Path, environment: Callable[..., None]
) -> None:
    (here / "films").mkdir()
    (here / "films" / "new.mp4").write_bytes(b"\x00\x00\x00\x20ftypisom" + os.urandom(20 * 1024**2))
    environment(DUMACLE_LARGE_FILE_SIZE="8MiB")
    done = upload(by, "films", "--transcode", "mp4")
    assert (done["uploaded"], done["transcodes"]) == (1, 1)
    parts = "SELECT f.path FROM app.versions AS v JOIN app.files AS f ON f.id = v.file_id WHERE v.upload_id IS NOT NULL"
    parts += " AND v.run_id IS NOT NULL"
    assert rows(database, parts) == [{"path": "new.mp4"}]


def test_worker_transcodes_and_applies_what_stripe_reported(
    run: Run,
    log_in: LogIn,
    refused: Refused,
    submit: Submit,
    films: Films,
    database: Database,
    object_store: ObjectStore,
    stripe_double: StripeDouble,
    environment: Callable[..., None],
) -> None:
    environment(**stripe_double.settings)
    submit(films(2), b"this is no film" * 1000)
    subscribed(database, stripe_double)
    log_in("worker")
    told = run("worker", "--once", expect=3).err
    assert "unit done" in told
    assert statuses(database) == ["done", "failed"]
    assert rows(database, "SELECT status FROM app.subscriptions WHERE stripe_subscription_id IS NOT NULL") == [
        {"status": "active"}
    ]
    assert rows(database, "SELECT * FROM queue.procrastinate_jobs") == []
    check(database, object_store, 1)
    refused("worker", "users", "disable", ADA)
    refused("worker", "quotas", "set", ADA, "--storage", "1TiB")


def test_worker_is_called(
    begin: Begin, log_in: LogIn, submit: Submit, films: Films, database: Database, object_store: ObjectStore
) -> None:
    log_in("worker")
    worker = begin("--queues", "transcode")
    submit(films(2))
    await_status(database, "done")
    stop(worker)
    check(database, object_store, 1)


def subscribed(database: Database, stripe_double: StripeDouble) -> None:
    """Let a user have subscribed at Stripe, of which the inbox holds a hint only."""
    with database.session() as session:
        make_user(session, BOB)
    found = buy(database, stripe_double, BOB)
    with database.session() as session:
        inbox.request_refresh(session, [("subscription", found["id"])])


def buy(database: Database, stripe_double: StripeDouble, email: str) -> Any:
    """Let a user subscribe at Stripe, of which nothing is known here."""
    client = stripe_double.billing()
    product, _ = client.ensure_product(None, "gold", "", tags("dumacle"), "o")
    price = stripe_double.account.announce("price", product=product["id"])
    with database.session() as session:
        user = users.get(session, email).id
        make_plan(session, "gold", stripe_product_id=product["id"])
    customer = client.create_customer("", "", tags("dumacle", user=str(user)), "o")
    stripe_double.add_card(customer["id"])
    found = client.subscribe(customer["id"], price["id"], customer["metadata"], "o")
    client.close()
    return found


def test_listener_keeps_what_is_delivered(
    configured: None,
    log_in: LogIn,
    refused: Refused,
    database: Database,
    stripe_double: StripeDouble,
    environment: Callable[..., None],
) -> None:
    environment(**stripe_double.settings)
    log_in("listener")
    body = packed(EVENT)
    with listening() as listener:
        for _ in range(2):
            assert listener.post(body, sign(body, stripe_double.secret)) == 200
        assert listener.post(b"", method="GET", path="/healthz") == 200
    assert rows(database, "SELECT id, deliveries FROM app.stripe_events") == [{"id": "evt_1", "deliveries": 2}]
    assert rows(database, "SELECT id FROM app.stripe_objects WHERE want > have") == [{"id": "sub_1"}]
    assert len(rows(database, "SELECT * FROM queue.procrastinate_jobs")) == 1
    refused("listener", "users", "list")
    refused("listener", "webhooks", "events", "show", "evt_1")


def test_cron_closes_reaps_compares_and_purges(seeded: Run, by: By, refused: Refused, database: Database) -> None:
    with database.session() as session:
        for planted in (
            """
                UPDATE app.units SET status = 'running', worker = 'dead', lease_token = gen_random_uuid(),
                    lease_until = now() - interval '1 hour' WHERE status = 'queued'
            """,
            "UPDATE app.transcodes SET status = 'running' WHERE status = 'queued'",
            """
                INSERT INTO app.quota_counters (user_id, metric, period_start, period_end, used)
                SELECT id, 'upload', '2026-02-01Z', '2026-03-01Z', 5 FROM app.users WHERE email = 'bob@example.com'
            """,
        ):
            session.execute(text(planted))
    assert by("cron", "quotas", "reset").data["closed"] == 1
    assert by("cron", "transcode", "reap").json["changed"]
    assert by("cron", "plans", "sync").data["failed"] == 0
    purged = by("cron", "files", "purge", "--older-than", "30d", "--max", "10000", "--yes").data
    assert (purged["files"], purged["versions"]) == (1, 1)
    assert rows(database, "SELECT path FROM app.files WHERE path = 'old/lost.txt'") == []
    refused("cron", "users", "create", "new@example.com")
    refused("cron", "quotas", "grant", ADA, "--upload", "5GiB")
    refused("cron", "files", "delete", "holiday/beach.jpg", "--owner", ADA, "--yes")


# An admin


def test_an_admin_manages_endusers(seeded: Run, by: By, refused: Refused) -> None:
    by(ADMIN, "files", "abort", "clips/dance.mp4", "--owner", ADA)
    for argv in (
        ("create", "new@example.com", "--name", "New", "--plan", "free"),
        ("update", "new@example.com", "--name", "Newer"),
        ("disable", "new@example.com"),
        ("enable", "new@example.com"),
        ("delete", "new@example.com"),
        ("restore", "new@example.com"),
        ("import", "users.csv"),
        ("purge", "new@example.com", "--yes"),
        ("purge", ADA, "--yes"),
    ):
        assert by(ADMIN, "users", *argv).json["changed"], argv
    emails = {user["email"] for user in by(ADMIN, "users", "list").data}
    assert {"ida@example.com", "jon@example.com", ROOT} <= emails
    assert ADA not in emails
    for argv, superior in (
        (("disable", ROOT), f"{ROOT}, who is superadmin"),
        (("delete", ROOT), f"{ROOT}, who is superadmin"),
        (("purge", ROOT, "--yes"), f"{ROOT}, who is superadmin"),
        (("update", ADMIN, "--name", "Me"), f"{ADMIN}, who is admin"),
    ):
        refused(ADMIN, "users", *argv, what=f"changing {superior},", needs="superadmin")
    for argv in (
        ("create", "another@example.com", "--role", "admin"),
        ("set-role", BOB, "admin", "--yes"),
        ("grant-login", ROOT),
    ):
        refused(ADMIN, "users", *argv, needs="superadmin")


def test_an_admin_manages_pods(seeded: Run, by: By, refused: Refused, database: Database) -> None:
    for argv in (
        ("create", "photos", "--capacity", "500GiB"),
        ("update", "photos", "--capacity", "1TiB"),
        ("grant", "photos", BOB),
        ("grant", "photos", ADA, "--default"),
        ("revoke", "photos", BOB),
        ("delete", "photos", "--yes"),
        ("restore", "photos"),
    ):
        assert by(ADMIN, "pods", *argv).json["changed"], argv
    assert by(ADMIN, "pods", "show", "photos").data["granted_to"] == [ADA]
    with database.session() as session:
        session.execute(text("UPDATE app.pods SET used = used + 1 WHERE name = 'films'"))
    refused(ADMIN, "pods", "check", "--repair", needs="superadmin")
    refused(ADMIN, "pods", "credentials", "set", "archive", "--provider", "s3", "--from", "keys.json")


def test_an_admin_manages_files(seeded: Run, by: By, refused: Refused, database: Database) -> None:
    beach = ("holiday/beach.jpg", "--owner", ADA)
    assert by(ADMIN, "files", "upload", "photos", "--pod", "films", "--owner", ADA).data["uploaded"] == 3
    assert by(ADMIN, "pods", "grant", "films", BOB).json["changed"]
    assert by(ADMIN, "quotas", "set", BOB, "--storage", "1GiB").json["changed"]
    for argv in (
        ("move", "--owner", ADA, "--to-owner", BOB, "--prefix", "0"),
        ("delete", *beach, "--yes"),
        ("restore", *beach),
        ("delete", *beach, "--yes"),
        ("purge", "--owner", ADA, "--yes"),
    ):
        assert by(ADMIN, "files", *argv).json["changed"], argv
    assert [file["path"] for file in by(ADMIN, "files", "list", "--owner", BOB).data] == ["0.jpg"]
    assert by(ADMIN, "files", "verify", "--pod", "films").data
    assert by(ADMIN, "pods", "check").data == []


def test_an_admin_manages_quotas_and_transcodes(seeded: Run, by: By, refused: Refused) -> None:
    assert by(ADMIN, "quotas", "set", ADA, "--storage", "1TiB").json["changed"]
    assert by(ADMIN, "quotas", "grant", ADA, "--upload", "5GiB").json["changed"]
    assert len(by(ADMIN, "quotas", "show", ADA).data) == 3
    (made,) = by(ADMIN, "transcode", "submit", "holiday/film.mp4", "--owner", ADA, "--preset", "mp4").data
    assert by(ADMIN, "transcode", "cancel", str(made["id"])).json["changed"]
    assert by(ADMIN, "transcode", "retry", "3").json["changed"]
    assert by(ADMIN, "plans", "subscribe", BOB, "free").json["changed"]
    for argv in (
        ("plans", "create", "gold", "--price", "9", "--storage", "1TiB", "--upload", "1TiB"),
        ("plans", "archive", "pro"),
        ("audit", "list"),
        ("webhooks", "events", "retry", "evt_1"),
    ):
        refused(ADMIN, *argv)


# An enduser


def test_an_enduser_has_what_is_his(seeded: Run, by: By, database: Database) -> None:
    others_file(database)
    assert by(ADA, "users", "show", ADA).data["email"] == ADA
    assert {file["owner"] for file in by(ADA, "files", "list").data} == {ADA}
    beach = ("holiday/beach.jpg", "--owner", ADA)
    film = ("holiday/film.mp4", "--owner", ADA)
    assert by(ADA, "files", "show", *film).data["path"] == "holiday/film.mp4"
    assert [pod["name"] for pod in by(ADA, "pods", "list").data] == ["films", "archive"]
    assert by(ADA, "transcode", "cancel", "2").json["changed"]
    for argv in (("delete", *beach, "--yes"), ("restore", *beach), ("delete", *film, "--yes")):
        assert by(ADA, "files", *argv).json["changed"], argv
    assert [quota["metric"] for quota in by(ADA, "quotas", "show", ADA).data] == ["storage", "upload", "transcode"]
    assert by(ADA, "plans", "subscriptions", "show", ADA).data["plan"] == "starter"


def test_what_is_anothers_is_not_there_for_an_enduser(
    seeded: Run, by: By, refused: Refused, database: Database
) -> None:
    hers = str(others_file(database))
    for argv in (
        ("users", "show", BOB),
        ("files", "show", hers),
        ("files", "list", "--owner", BOB),
        ("files", "delete", hers, "--yes"),
        ("files", "restore", hers),
        ("files", "url", hers),
        ("quotas", "show", BOB),
        ("pods", "show", "mirrored"),
    ):
        by(ADA, *argv, expect=Exit.NOT_FOUND)
    for argv in (
        ("users", "create", "new@example.com"),
        ("users", "disable", ADA),
        ("pods", "create", "mine", "--capacity", "1TiB"),
        ("quotas", "set", ADA, "--storage", "1TiB"),
        ("transcode", "submit", "holiday/film.mp4", "--owner", ADA, "--preset", "mp4"),
        ("files", "purge", "--owner", ADA, "--yes"),
        ("audit", "list"),
    ):
        refused(ADA, *argv)


def others_file(database: Database) -> int:
    """Give Bob a file in the same pod."""
    with database.session() as session:
        pod, bob = session.scalars(select(Pod).where(Pod.name == "films")).one(), users.get(session, BOB)
        made: int = make_file(session, pod, bob, "holiday/beach.jpg").id
    return made

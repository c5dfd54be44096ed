"""The installation that the examples of the help speak of: people, plans, a pod with files, a folder to upload."""

import base64
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from dumacle_cli.clients.envelope import Key
from dumacle_cli.clients.locations import Keys
from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.clients.objects import Location
from dumacle_cli.local.servers import Servers
from dumacle_cli.services import credentials
from dumacle_cli.services.seed import PLANS
from dumacle_cli.store import accounts
from dumacle_cli.store.models import (
    Customer,
    File,
    Login,
    QuotaClosing,
    Run,
    StripeEvent,
    StripeObject,
    StripePayload,
    User,
    Version,
)
from tests.factories import (
    GIB,
    make_direct_upload,
    make_file,
    make_grant,
    make_plan,
    make_pod,
    make_rendition,
    make_subscription,
    make_transcode,
    make_user,
)
from tests.presets import document

if TYPE_CHECKING:
    from tests.stripe_double.double import StripeDouble

KEY, NEXT_KEY = Key(os.urandom(32)), Key(os.urandom(32))
JANUARY = {"period_start": datetime(2026, 1, 1, tzinfo=UTC), "period_end": datetime(2026, 2, 1, tzinfo=UTC)}
DELETED = "2026-01-01T00:00:00Z"
PICTURE = b"\xff\xd8\xff\xe0" + b"a beach" * 999
FILM = b"\x00\x00\x00\x20ftypisom" + b"a film" * 9999


@dataclass(frozen=True, slots=True)
class Template:
    """An installation to be copied: its database and bucket, its objects by key, and the keys of unfinished uploads."""

    name: str
    bucket: str
    objects: dict[str, tuple[bytes, str]]
    unfinished: list[str]


def objects(store: ObjectStore) -> dict[str, tuple[bytes, str]]:
    """Return the bytes and the content type of each object, by key."""
    return {entry.key: (b"".join(store.get(entry.key)), store.head(entry.key).content_type) for entry in store.list("")}


def unfinished(session: Session) -> list[str]:
    """Return the keys of the uploads in parts that are not completed."""
    return list(session.scalars(select(Version.key).where(Version.upload_id.is_not(None))))


def move(session: Session, template: Template, store: ObjectStore) -> None:
    """Give a copy of the template a bucket of its own, with all objects."""
    here = {"there": template.bucket, "here": store.location.bucket}
    session.execute(text("UPDATE app.pods SET bucket = :here WHERE bucket = :there"), here)
    session.execute(text("UPDATE app.pods SET secondary_bucket = :here WHERE secondary_bucket = :there"), here)
    for key, (body, content_type) in template.objects.items():
        store.put(key, body, sha256(body).hexdigest(), content_type)
    for key in template.unfinished:
        upload_id = store.create_multipart(key, "video/mp4")
        store.put_part(key, upload_id, 1, FILM, sha256(FILM).hexdigest())
        session.execute(text("UPDATE app.versions SET upload_id = :id WHERE key = :key"), {"id": upload_id, "key": key})


def bill(session: Session, stripe: "StripeDouble") -> None:
    """Sell at this account of Stripe, and put the customer of the disabled user there, with an invoice they paid."""
    accounts.bind(session, stripe.account.id, stripe.account.livemode)
    stripe.account.make("customer", id="cus_1", email="eve@example.com")
    paid = {"status": "paid", "total": 999, "amount_paid": 999, "currency": "eur"}
    stripe.account.make("invoice", id="in_1", customer="cus_1", parent=None, **paid)
    intent = {"type": "payment_intent", "payment_intent": "pi_1"}
    stripe.account.make("invoice_payment", invoice="in_1", amount_paid=999, currency="eur", payment=intent)


def fill(session: Session, bucket: str, store: ObjectStore) -> None:
    """Insert the rows, and put the objects of the files into the bucket."""
    make_user(session, "root@example.com", role="superadmin")
    make_user(session, "admin@example.com", role="admin")
    ada = make_user(session, "ada@example.com", name="Ada")
    bob = make_user(session, "bob@example.com")
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    session.add(Login(role="bob_0123abcd", user_id=bob.id, kind="session", valid_until=tomorrow))
    eve = make_user(session, "eve@example.com", status="disabled")
    session.add(Customer(user_id=eve.id, stripe_customer_id="cus_1", email=eve.email))
    plans = {name: make_plan(session, name, **facts) for name, facts in PLANS.items()}
    make_subscription(session, ada, plans["starter"])
    films = make_pod(session, "films", bucket=bucket, capacity=1024 * GIB)
    make_grant(session, films, ada)
    make_file(session, films, ada, "holiday/beach.jpg", PICTURE, store=store)
    film = make_file(session, films, ada, "holiday/film.mp4", FILM, store=store)
    _transcode(session, film, store)
    _run(session, films.id, ada.id)
    make_direct_upload(session, films, ada, "clips/dance.mp4", FILM, store=store)
    session.add(QuotaClosing(user_id=ada.id, metric="upload", used=GIB, **JANUARY))
    make_file(session, films, ada, "old/lost.txt", b"lost", store=store, deleted_at=DELETED)
    _event(session)
    _archive(session, store.location, ada)
    _mirrored(session, store.location)


def _run(session: Session, pod: int, owner: int) -> None:
    """Insert an upload whose process was killed, and a file that it did not upload."""
    parameters = {"sources": [{"path": "photos"}], "owner": "ada@example.com", "pod": "films"}
    known = {"host": "laptop", "pid": 1, "heartbeat_at": DELETED, "parameters": parameters}
    run = Run(name="ada@example.com to films", pod_id=pod, owner_id=owner, selection_hash=b"photos", **known)
    session.add(run)
    session.flush()
    status = {"upload_status": "failed", "error": "it vanished"}
    session.add(File(pod_id=pod, owner_id=owner, run_id=run.id, path="clips/gone.jpg", size=1, **status))


def _archive(session: Session, location: Location, ada: User) -> None:
    """Insert a pod at s3 that uses keys of its own, and has keys for another provider, too."""
    archive = make_pod(session, "archive", bucket=location.bucket, primary_provider="s3", prefix="archive")
    make_grant(session, archive, ada)
    keys = Keys(location.access_key, location.secret_key, location.endpoint, location.region)
    for provider in ("s3", "wasabi"):
        credentials.put(session, KEY, archive.name, provider, keys)
    archive.use_custom_s3 = True


def _mirrored(session: Session, location: Location) -> None:
    """Insert a pod that is copied to a bucket at s3 with keys of its own."""
    places = {"secondary_provider": "s3", "secondary_bucket": location.bucket, "prefix": "mirrored"}
    mirrored = make_pod(session, "mirrored", bucket=location.bucket, **places)
    keys = Keys(location.access_key, location.secret_key, location.endpoint, location.region)
    credentials.put(session, KEY, mirrored.name, "s3", keys)
    mirrored.use_custom_s3 = True


def _transcode(session: Session, film: File, store: ObjectStore) -> None:
    """Insert a transcode that is done, one that waits, one that failed, and a worker."""
    session.execute(text("SELECT app.note_worker('worker.example.com:4711', 2, 'transcode, copies', NULL, 'machine')"))
    make_rendition(session, make_transcode(session, film, "hls", progress=100, seconds=30), store=store)
    make_transcode(session, film, "audio", "queued")
    make_transcode(session, film, "poster", "failed", error="it holds no picture")


def _event(session: Session) -> None:
    """Insert an event that was given up."""
    of_plan = {"object_id": "sub_1", "status": "dead", "want": 1, "error": "there is no user 7"}
    session.add(StripeEvent(id="evt_1", type="customer.subscription.updated", created_at=DELETED, **of_plan))
    session.add(StripeObject(id="sub_1", kind="subscription", want=1, attempts=6, error=of_plan["error"]))
    session.flush()
    session.add(StripePayload(event_id="evt_1", payload=b'{"id": "evt_1"}'))


def folder(place: Path, embedded: Servers) -> Path:
    """Make the working directory of the examples: photos, a list of users, a password for `db bootstrap`, keys."""
    photos = place / "photos"
    photos.mkdir(parents=True)
    for number in range(3):
        (photos / f"{number}.jpg").write_bytes(PICTURE + bytes([number]))
    (place / "new-password").write_text("a-new-password")
    (place / "new-password").chmod(0o600)
    (place / "users.csv").write_text("email,name,plan\nida@example.com,Ida,free\njon@example.com,Jon,starter\n")
    (place / "hevc.json").write_text(json.dumps(document("hls", name="hevc", video={"codec": "hevc"})))
    (place / "hls.json").write_text(json.dumps(document("hls", video={"max_fps": 30})))
    password = place / "owner-password"
    password.write_text(embedded.owner_password)
    password.chmod(0o600)
    pair = {"access_key": embedded.s3_access_key, "secret_key": embedded.s3_secret_key}
    (place / "keys.json").write_text(json.dumps({**pair, "endpoint": embedded.s3_endpoint}))
    for name, key in (("dumacle.key", KEY), ("next.key", NEXT_KEY)):
        (place / name).write_bytes(base64.b64encode(key.secret))
        (place / name).chmod(0o400)
    return place

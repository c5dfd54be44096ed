"""The installation that the examples of the help speak of: people, plans, a pod with files, a folder to upload."""

from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy.orm import Session

from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.services.seed import PLANS
from dumacle_cli.store.models import File, QuotaClosing, StripeEvent, StripeObject, StripePayload
from tests.factories import (
    GIB,
    make_file,
    make_grant,
    make_plan,
    make_pod,
    make_rendition,
    make_subscription,
    make_transcode,
    make_user,
)

JANUARY = {"period_start": datetime(2026, 1, 1, tzinfo=UTC), "period_end": datetime(2026, 2, 1, tzinfo=UTC)}
DELETED = "2026-01-01T00:00:00Z"
PICTURE = b"\xff\xd8\xff\xe0" + b"a beach" * 999
FILM = b"\x00\x00\x00\x20ftypisom" + b"a film" * 9999


def fill(session: Session, bucket: str, store: ObjectStore) -> None:
    """Insert the rows, and put the objects of the files into the bucket."""
    make_user(session, "root@example.com", role="superadmin")
    make_user(session, "admin@example.com", role="admin")
    ada = make_user(session, "ada@example.com", name="Ada")
    make_user(session, "bob@example.com")
    make_user(session, "eve@example.com", status="disabled")
    plans = {name: make_plan(session, name, **facts) for name, facts in PLANS.items()}
    make_subscription(session, ada, plans["starter"])
    films = make_pod(session, "films", bucket=bucket, capacity=1024 * GIB)
    make_grant(session, films, ada)
    make_file(session, films, ada, "holiday/beach.jpg", PICTURE, store=store)
    film = make_file(session, films, ada, "holiday/film.mp4", FILM, store=store)
    _transcode(session, film, store)
    session.add(QuotaClosing(user_id=ada.id, metric="upload", used=GIB, **JANUARY))
    make_file(session, films, ada, "old/lost.txt", b"lost", store=store, deleted_at=DELETED)
    _event(session)


def _transcode(session: Session, film: File, store: ObjectStore) -> None:
    """Insert a transcode that is done, one that waits, and one that failed."""
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


def folder(place: Path, owner_password: str) -> Path:
    """Make the working directory of the examples: photos, a list of users, a password for `db bootstrap`."""
    photos = place / "photos"
    photos.mkdir(parents=True)
    for number in range(3):
        (photos / f"{number}.jpg").write_bytes(PICTURE + bytes([number]))
    (place / "users.csv").write_text("email,name,plan\nida@example.com,Ida,free\njon@example.com,Jon,starter\n")
    password = place / "owner-password"
    password.write_text(owner_password)
    password.chmod(0o600)
    return place

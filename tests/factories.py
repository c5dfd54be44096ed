"""Rows and objects for tests: users, plans, pods, grants, and files whose bytes really lie in a store."""

import hashlib
import itertools
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session

from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.services import placement
from dumacle_cli.store import direct, places
from dumacle_cli.store.models import (
    File,
    Lease,
    Plan,
    Pod,
    PodGrant,
    QuotaCounter,
    Rendition,
    Run,
    Subscription,
    Transcode,
    Unit,
    User,
    Version,
)

_numbers = itertools.count(1)
GIB = 1024**3
MASTER = {"master.m3u8": b"#EXTM3U\n", "v0/0.m4s": b"segment"}
UNIT_STATES = {"publishing": "running", "quarantined": "failed"}


def make_user(session: Session, email: str = "", **values: Any) -> User:
    """Insert a user, an enduser unless said otherwise."""
    return _added(session, User(email=email or f"user{next(_numbers)}@example.com", **values))


def make_plan(session: Session, name: str = "", **values: Any) -> Plan:
    """Insert a plan; without limits it allows everything."""
    values = {"price": 0, "currency": "eur", "interval": "month"} | values
    plan: Plan = _added(session, Plan(name=name or f"plan{next(_numbers)}", **values))
    return plan


def make_subscription(session: Session, user: User, plan: Plan, **values: Any) -> Subscription:
    """Put a user on a plan."""
    values = {"status": "active"} | values
    return _added(session, Subscription(user_id=user.id, plan_id=plan.id, **values))


def make_pod(session: Session, name: str = "", **values: Any) -> Pod:
    """Insert a pod of 1 GiB in the embedded store."""
    values = {"capacity": GIB, "primary_provider": "local", "bucket": "media"} | values
    pod: Pod = _added(session, Pod(name=name or f"pod{next(_numbers)}", **values))
    return pod


def make_grant(session: Session, pod: Pod, user: User, **values: Any) -> PodGrant:
    """Let a user upload into a pod."""
    return _added(session, PodGrant(pod_id=pod.id, user_id=user.id, **values))


def make_file(
    session: Session,
    pod: Pod,
    owner: User,
    path: str = "",
    body: bytes = b"content",
    *,
    store: ObjectStore | None = None,
    **values: Any,
) -> File:
    """Insert a file with this content and book its bytes; with a store, the object lies there too."""
    values = {"upload_status": "uploaded", "upload_progress": 100, "uploaded_at": datetime.now(UTC)} | values
    path = path or f"file{next(_numbers)}.bin"
    file = _added(session, File(pod_id=pod.id, owner_id=owner.id, path=path, size=len(body), **values))
    version = make_version(session, file, body, store=store)
    file.version_id, file.sha256 = version.id, version.sha256
    session.flush()
    return file


def make_version(
    session: Session, file: File, body: bytes = b"content", *, store: ObjectStore | None = None, **values: Any
) -> Version:
    """Insert a stored content of a file and book its bytes; the file does not point to it yet."""
    digest, md5 = hashlib.sha256(body), hashlib.md5(body, usedforsecurity=False)
    token = uuid4().hex
    key = f"{places.folder(session.get_one(Pod, file.pod_id).prefix)}{token[:2]}/{token}"
    etag = put(store, key, body) if store else md5.hexdigest()
    known = {"status": "stored", "stored_at": datetime.now(UTC), "etag": etag, "md5": md5.digest()}
    known |= {"sha256": digest.digest(), "size": len(body), "key": key}
    version = _added(session, Version(file_id=file.id, **(known | values)))
    if version.stored_at:
        _book(session, file, version.size)
    return version


def make_interrupted(
    session: Session, file: File, body: bytes = b"content", *, hours: int = 1, **values: Any
) -> Version:
    """Insert an upload to a file by a run whose process was killed hours ago; its lease ran out then."""
    when = datetime.now(UTC) - timedelta(hours=hours)
    run = Run(name="killed", pod_id=file.pod_id, owner_id=file.owner_id, selection_hash=uuid4().bytes, host="h", pid=1)
    run.heartbeat_at = when
    run = _added(session, run)
    lease = Lease(pod_id=file.pod_id, user_id=file.owner_id, run_id=run.id, granted=0, until=when, period_start=when)
    known = {"status": "uploading", "stored_at": None, "lease_id": _added(session, lease).id, "run_id": run.id}
    file.upload_status, file.run_id = "uploading", run.id
    return make_version(session, file, body, **(known | values))


def make_transcode(
    session: Session, file: File, preset: str = "hls", status: str = "done", *, reserved: int = 0, **values: Any
) -> Transcode:
    """Insert a transcode of the file's present content with its unit, which holds a lease while it runs.

    What the unit has `reserved` for its result (bytes) is booked on pod and owner.
    """
    known = {"file_id": file.id, "version_id": file.version_id, "preset": preset, "status": status}
    transcode = _added(session, Transcode(**(known | values)))
    state = UNIT_STATES.get(status, status)
    lease = {"lease_token": uuid4(), "lease_until": datetime.now(UTC) + timedelta(minutes=1)}
    running = lease | {"worker": "tests", "attempt": 1} if state == "running" else {}
    _added(session, Unit(transcode_id=transcode.id, number=1, kind="chunk", status=state, reserved=reserved, **running))
    _book(session, file, reserved, "reserved")
    return transcode


def make_rendition(
    session: Session,
    transcode: Transcode,
    bodies: Mapping[str, bytes] = MASTER,
    *,
    store: ObjectStore | None = None,
    **values: Any,
) -> Rendition:
    """Insert what came out of a transcode, these objects by name, and book its bytes; with a store, they lie there."""
    file = session.get_one(File, transcode.file_id)
    pod = session.get_one(Pod, file.pod_id)
    prefix = placement.renditions(pod.prefix, file.id, transcode.id, uuid4())
    for name, body in bodies.items():
        if store:
            put(store, prefix + name, body)
    known = {"name": transcode.preset, "kind": transcode.preset, "prefix": prefix, "entry": next(iter(bodies))}
    known |= {"transcode_id": transcode.id, "file_id": file.id, "size": sum(map(len, bodies.values()))}
    rendition = _added(session, Rendition(**(known | values)))
    _book(session, file, rendition.size)
    return rendition


def make_direct_upload(
    session: Session, pod: Pod, owner: User, path: str, body: bytes = b"content", *, store: ObjectStore
) -> int:
    """Insert an open direct upload of which the store has every byte; returns the id of its file."""
    place = (pod.id, owner.id)
    reserved = direct.reserve(session, *place, len(body), 3600)
    digest, token = hashlib.sha256(body), uuid4().hex
    key = f"{places.folder(pod.prefix)}{token[:2]}/{token}"
    facts = {"size": len(body), "part_size": len(body), "content_type": "video/mp4", "sha256": digest.digest()}
    where = {"pod": pod.id, "owner": owner.id, "path": path, "key": key, "lease": reserved.lease_id}
    version = direct.intend(session, **where, **facts, md5=None)
    upload_id = store.create_multipart(key, "video/mp4")
    store.put_part(key, upload_id, 1, body, digest.hexdigest())
    direct.start(session, version, upload_id)
    return direct.find(session, version).file_id


def put(store: ObjectStore, key: str, body: bytes = b"content") -> str:
    """Store an object that no row tells of, and return its ETag."""
    return store.put(key, body, hashlib.sha256(body).hexdigest(), "application/octet-stream")


def _book(session: Session, file: File, size: int, counter: str = "used") -> None:
    """Count bytes on the pod and in the owner's storage, as a closed lease does."""
    session.execute(select(func.app.open_quota_counter(file.owner_id, "storage", func.now())))
    mine = (QuotaCounter.user_id == file.owner_id, QuotaCounter.metric == "storage")
    for table, rows in ((Pod, (Pod.id == file.pod_id,)), (QuotaCounter, mine)):
        booked = {counter: getattr(table, counter) + size}
        session.execute(update(table).where(*rows).values(booked).execution_options(synchronize_session=False))


def _added(session: Session, row: Any) -> Any:
    """Insert a row by a statement, which names no column that an older schema lacks, and return it."""
    values = {name: value for name, value in vars(row).items() if not name.startswith("_")}
    return session.scalars(insert(type(row)).values(values).returning(type(row))).one()

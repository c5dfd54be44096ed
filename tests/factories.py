"""Rows and objects for tests: users, plans, pods, grants, and files whose bytes really lie in a store."""

import hashlib
import itertools
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.store.models import File, Plan, Pod, PodGrant, Subscription, User, Version

_numbers = itertools.count(1)
GIB = 1024**3


def make_user(session: Session, email: str = "", **values: Any) -> User:
    """Insert a user, an enduser unless said otherwise."""
    return _added(session, User(email=email or f"user{next(_numbers)}@example.com", **values))


def make_plan(session: Session, name: str = "", **values: Any) -> Plan:
    """Insert a plan; without limits it allows everything."""
    values = {"price": 0, "currency": "eur", "interval": "month"} | values
    return _added(session, Plan(name=name or f"plan{next(_numbers)}", **values))


def make_subscription(session: Session, user: User, plan: Plan, **values: Any) -> Subscription:
    """Put a user on a plan."""
    values = {"status": "active"} | values
    return _added(session, Subscription(user_id=user.id, plan_id=plan.id, **values))


def make_pod(session: Session, name: str = "", **values: Any) -> Pod:
    """Insert a pod of 1 GiB in the embedded store."""
    values = {"capacity": GIB, "primary_provider": "local", "bucket": "media"} | values
    return _added(session, Pod(name=name or f"pod{next(_numbers)}", **values))


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
    key = f"{file.pod_id}/{file.id}/{next(_numbers)}-{digest.hexdigest()[:8]}"
    etag = store.put(key, body, digest.hexdigest(), "application/octet-stream") if store else md5.hexdigest()
    known = {"status": "stored", "stored_at": datetime.now(UTC), "etag": etag, "md5": md5.digest()}
    known |= {"sha256": digest.digest(), "size": len(body), "key": key}
    version = _added(session, Version(file_id=file.id, **(known | values)))
    if version.stored_at:
        _book(session, file, version.size)
    return version


def _book(session: Session, file: File, size: int) -> None:
    """Count bytes as a closed lease does."""
    session.execute(select(func.app.open_quota_counter(file.owner_id, "storage", func.now())))
    session.execute(select(func.app.release_storage(file.pod_id, file.owner_id, -size)))


def _added(session: Session, row: Any) -> Any:
    session.add(row)
    session.flush()
    return row

"""Two commands at once: the second waits for the first, and then finds what became of what it relies on."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from dumacle_cli.errors import Conflict, DumacleError, NotFound, UserDisabled
from dumacle_cli.services import credentials, files, logins, plans, pods, transcodes, users
from dumacle_cli.services.billing import subscriptions
from dumacle_cli.store import models, purge, uploads
from dumacle_cli.store.database import Database
from dumacle_cli.store.files import Selection
from dumacle_cli.store.operations import Request
from tests.factories import make_file, make_grant, make_plan, make_pod, make_user

pytestmark = pytest.mark.integration

PLAN = {"price": 0, "currency": "eur", "interval": "month"}
Work = Callable[[Session, Any], Any]


@dataclass(frozen=True, slots=True)
class Pair:
    """What is done first and not yet committed, what waits for it, and how that ends: with an error, or a result."""

    name: str
    first: Work
    second: Work
    ends: type[DumacleError] | Callable[[Session, Any], object]
    before: Work = lambda session, here: None


def lease(session: Session, here: Any) -> Any:
    return uploads.take_lease(session, here.pod, here.user, here.run, 10, 10, 60)


def one_live_subscription(session: Session, here: Any) -> bool:
    mine = (
        select(models.Plan.name)
        .join(models.Subscription, models.Subscription.plan_id == models.Plan.id)
        .where(models.Subscription.user_id == here.eve)
    )
    return session.scalars(mine.where(models.Subscription.ended_at.is_(None))).all() == ["pro"]


def two_prefixes(session: Session, here: Any) -> bool:
    query = select(func.count(models.Pod.prefix.distinct())).where(models.Pod.name.in_(["a b", "a/b"]))
    return session.scalars(query).one() == 2


def nothing_restored(session: Session, here: Any) -> bool:
    return session.get_one(models.File, here.gone).purging_at is not None


def let_in(session: Session, here: Any) -> None:
    """Let Eve have what is in Ada's pod."""
    pods.grant(session, "films", "eve@example.com")
    subscriptions.give(session, "eve@example.com", "basic")


PAIRS = (
    Pair(
        "a pod is granted that is deleted",
        lambda s, h: pods.delete(s, "films"),
        lambda s, h: pods.grant(s, "films", "eve@example.com"),
        NotFound,
    ),
    Pair(
        "a pod is granted to whom another deletes",
        lambda s, h: users.delete(s, "eve@example.com"),
        lambda s, h: pods.grant(s, "films", "eve@example.com"),
        NotFound,
    ),
    Pair(
        "a plan is given that is archived",
        lambda s, h: plans.archive(s, "basic"),
        lambda s, h: subscriptions.give(s, "eve@example.com", "basic"),
        Conflict,
    ),
    Pair(
        "a new user gets a plan that is archived",
        lambda s, h: plans.archive(s, "basic"),
        lambda s, h: users.create(s, "new@example.com", plan="basic"),
        Conflict,
    ),
    Pair(
        "a plan is given to whom another deletes",
        lambda s, h: users.delete(s, "eve@example.com"),
        lambda s, h: subscriptions.give(s, "eve@example.com", "basic"),
        NotFound,
    ),
    Pair(
        "two plans are given to one user",
        lambda s, h: subscriptions.give(s, "eve@example.com", "basic"),
        lambda s, h: subscriptions.give(s, "eve@example.com", "pro"),
        one_live_subscription,
    ),
    Pair(
        "a plan gets a default pod that is deleted",
        lambda s, h: pods.delete(s, "films"),
        lambda s, h: plans.update(s, "basic", {}, None, "films"),
        NotFound,
    ),
    Pair(
        "a plan is made with a default pod that is deleted",
        lambda s, h: pods.delete(s, "films"),
        lambda s, h: plans.create(s, "new", PLAN, "films"),
        NotFound,
    ),
    Pair(
        "a login is granted to whom another deletes",
        lambda s, h: users.delete(s, "eve@example.com"),
        lambda s, h: logins.grant(s, "eve@example.com", None),
        Conflict,
    ),
    Pair(
        "keys are cleared that a pod begins to use",
        lambda s, h: pods.update(s, "films", own_credentials={"s3": True}),
        lambda s, h: credentials.clear(s, credentials.owner(s, "films", "s3", lock=True)),
        Conflict,
    ),
    Pair(
        "a file is transcoded that is deleted",
        lambda s, h: files.delete(s, Selection(ids=(h.file,))),
        lambda s, h: transcodes.submit(s, [str(h.file)], "hls"),
        Conflict,
    ),
    Pair(
        "a file is moved to whom another deletes",
        lambda s, h: users.delete(s, "eve@example.com"),
        lambda s, h: files.move(s, Selection(ids=(h.file,)), "eve@example.com"),
        NotFound,
        let_in,
    ),
    Pair(
        "a file is moved to whom another disables",
        lambda s, h: users.disable(s, "eve@example.com"),
        lambda s, h: files.move(s, Selection(ids=(h.file,)), "eve@example.com"),
        UserDisabled,
        let_in,
    ),
    Pair(
        "a file is restored that a purge takes",
        lambda s, h: purge.mark_files(s, Selection(ids=(h.gone,)), 10),
        lambda s, h: files.restore(s, Selection(ids=(h.gone,), deleted=True)),
        nothing_restored,
    ),
    Pair(
        "two pods of like names are made",
        lambda s, h: pods.create(s, "a b", capacity=1, provider="local", bucket="media"),
        lambda s, h: pods.create(s, "a/b", capacity=1, provider="local", bucket="media"),
        two_prefixes,
    ),
    Pair(
        "an upload goes on whose owner is disabled", lambda s, h: users.disable(s, "ada@example.com"), lease, Conflict
    ),
    Pair("an upload goes on whose owner is deleted", lambda s, h: users.delete(s, "ada@example.com"), lease, Conflict),
    Pair("an upload goes on into a deleted pod", lambda s, h: pods.delete(s, "films"), lease, Conflict),
    Pair(
        "an upload goes on into a pod that was revoked",
        lambda s, h: pods.revoke(s, "films", "ada@example.com"),
        lease,
        Conflict,
    ),
)


@pytest.fixture
def here(database: Database) -> Any:
    """Two users, a pod of one of them with a file, a deleted file, keys and an upload, and two plans."""
    with database.session() as session:
        ada, eve = make_user(session, "ada@example.com"), make_user(session, "eve@example.com")
        pod = make_pod(session, "films")
        make_plan(session, "basic", storage_limit=2**40, upload_limit=2**40, transcode_limit=3600)
        make_plan(session, "pro")
        make_grant(session, pod, ada)
        subscriptions.give(session, "ada@example.com", "basic")
        film, gone = make_file(session, pod, ada, "film.mp4"), make_file(session, pod, ada, "gone.mp4")
        gone.deleted_at = func.now()
        keys = {"provider": "s3", "ciphertext": b"c", "wrapped_key": b"k", "key_id": "id"}
        run = models.Run(name="r", pod_id=pod.id, owner_id=ada.id, selection_hash=b"h", host="h", pid=1)
        session.add_all([models.Credential(pod_id=pod.id, **keys), run])
        session.flush()
        return SimpleNamespace(pod=pod.id, user=ada.id, eve=eve.id, file=film.id, gone=gone.id, run=run.id)


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_the_second_finds_what_the_first_did(pair: Pair, database: Database, here: Any) -> None:
    with database.session() as session:
        pair.before(session, here)
    request = Request(uuid4().hex, "tests", {})

    def second() -> Any:
        return database.change(request, lambda session: (pair.second(session, here), True))

    with ThreadPoolExecutor(1) as pool, Session(database.engine) as first:
        pair.first(first, here)
        first.flush()
        waiting = pool.submit(second)
        while not (waiting.done() or _someone_waits(database)):
            pass
        first.commit()
        if isinstance(pair.ends, type):
            with pytest.raises(pair.ends):
                waiting.result()
        else:
            waiting.result()
            with database.session() as session:
                assert pair.ends(session, here)


def _someone_waits(database: Database) -> bool:
    with database.session() as session:
        return bool(session.scalar(text("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")))

"""Credentials in the database: opened only where they belong, and whatever is done to a row is found."""

import os
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from dumacle_cli import errors
from dumacle_cli.clients.envelope import Key
from dumacle_cli.clients.locations import Keys
from dumacle_cli.services import credentials, keys
from dumacle_cli.store import credentials as store
from dumacle_cli.store import models, places
from dumacle_cli.store.database import Database
from dumacle_cli.store.place_columns import PLACE
from dumacle_cli.store.places import Place
from tests.factories import make_file, make_pod, make_user

pytestmark = pytest.mark.integration

KEY = Key(os.urandom(32))
KEYS = Keys("AKIAMARKEDACCESS", "marked-secret", "https://s3.example.com", "eu-central-1")


def row(session: Session, pod_id: int | None, provider: str = "s3") -> models.Credential:
    session.expire_all()
    found = store.find(session, pod_id, provider)
    assert found
    return found


@pytest.fixture
def pod(session: Session) -> models.Pod:
    """A pod with keys of its own, beside the system's."""
    made: models.Pod = make_pod(session, "films", primary_provider="s3")
    credentials.put(session, KEY, "films", "s3", KEYS)
    credentials.put(session, KEY, "", "s3", Keys("AKIADEFAULTACCESS", "other", None, "us-east-1"))
    return made


def test_each_has_its_own(session: Session, pod: models.Pod) -> None:
    assert credentials.opened(KEY, row(session, pod.id)) == KEYS
    assert credentials.opened(KEY, row(session, None)).secret_key == "other"


def test_what_is_shown_holds_no_secret(session: Session, pod: models.Pod) -> None:
    [shown] = credentials.show(session, KEY, "films")
    assert (shown.pod, shown.access_key, shown.region, shown.key_id) == ("films", "****CESS", "eu-central-1", KEY.id)
    assert "marked" not in repr(shown).lower()
    assert [each.pod for each in credentials.show(session, KEY, "")] == [None]
    credentials.put(session, KEY, "films", "wasabi", Keys("short", "s", None, "r"))
    assert [each.access_key for each in credentials.show(session, KEY, "films")] == ["****CESS", "****"]


def test_a_new_one_takes_the_place_of_the_old(session: Session, pod: models.Pod) -> None:
    tried = credentials.trial(session, credentials.owner(session, "films", "s3"))
    credentials.stand(session, tried)
    assert row(session, pod.id).proven_at
    credentials.put(session, KEY, "films", "s3", Keys("AKIAFRESH", "fresh", None, "us-east-1"))
    found = row(session, pod.id)
    assert credentials.opened(KEY, found).secret_key == "fresh"
    assert (found.proven_at, found.endpoint) == (None, None)
    with pytest.raises(errors.Conflict, match="while it was being proven"):
        credentials.stand(session, tried)


MOVES: dict[str, str] = {
    "to the system": "UPDATE app.credentials SET pod_id = NULL WHERE pod_id = :pod",
    "to another pod": "UPDATE app.credentials SET pod_id = :other WHERE pod_id = :pod",
    "to another provider": "UPDATE app.credentials SET provider = 'wasabi' WHERE pod_id = :pod",
    "another endpoint": "UPDATE app.credentials SET endpoint = 'https://thief.example.com' WHERE pod_id = :pod",
    "another region": "UPDATE app.credentials SET region = 'us-east-1' WHERE pod_id = :pod",
    "ciphertext of another": """UPDATE app.credentials SET ciphertext = theirs.ciphertext FROM app.credentials AS theirs
        WHERE credentials.pod_id = :pod AND theirs.pod_id IS NULL""",
    "both of another": """UPDATE app.credentials SET ciphertext = theirs.ciphertext, wrapped_key = theirs.wrapped_key
        FROM app.credentials AS theirs WHERE credentials.pod_id = :pod AND theirs.pod_id IS NULL""",
    "a bit of the ciphertext": """UPDATE app.credentials
        SET ciphertext = set_byte(ciphertext, 20, get_byte(ciphertext, 20) # 1) WHERE pod_id = :pod""",
    "a bit of the wrapped key": """UPDATE app.credentials
        SET wrapped_key = set_byte(wrapped_key, 20, get_byte(wrapped_key, 20) # 1) WHERE pod_id = :pod""",
    "nothing left": "UPDATE app.credentials SET ciphertext = '' WHERE pod_id = :pod",
}


@pytest.mark.parametrize("move", MOVES)
def test_what_was_moved_or_altered_fails_loudly(move: str, session: Session, pod: models.Pod) -> None:
    other = make_pod(session)
    if move == "to the system":
        session.execute(text("DELETE FROM app.credentials WHERE pod_id IS NULL"))
    changed: Any = session.execute(text(MOVES[move]), {"pod": pod.id, "other": other.id})
    assert changed.rowcount == 1
    found = [each for each in session.query(models.Credential).all() if _broken(each)]
    assert len(found) == 1
    with pytest.raises(errors.CredentialAltered) as caught:
        credentials.opened(KEY, found[0])
    assert caught.value.exit is errors.Exit.INTEGRITY


def _broken(each: models.Credential) -> bool:
    try:
        credentials.opened(KEY, each)
    except errors.CredentialAltered:
        return True
    return False


def test_another_key_id_or_key(session: Session, pod: models.Pod) -> None:
    with pytest.raises(errors.KeyMissing, match=KEY.id):
        credentials.opened(Key(os.urandom(32)), row(session, pod.id))
    session.execute(text("UPDATE app.credentials SET key_id = 'another' WHERE pod_id = :pod"), {"pod": pod.id})
    with pytest.raises(errors.KeyMissing, match="another"):
        credentials.opened(KEY, row(session, pod.id))


# Places


@pytest.mark.parametrize(("provider", "own"), [("s3", True), ("wasabi", True), ("oracle", True), ("local", False)])
def test_a_place_names_the_pod_only_where_it_uses_its_own_keys(session: Session, provider: str, own: bool) -> None:
    ada = make_user(session)
    for custom in (False, True):
        flags = dict.fromkeys(places.CUSTOM.values(), custom)
        pod = make_pod(session, primary_provider=provider, bucket="b", **flags)
        make_file(session, pod, ada, f"{provider}/{custom}", b"x")
        wanted = Place(provider, "b", pod.id if own and custom else None)
        assert places.of(pod) == wanted
        query = select(PLACE).where(models.Pod.id == pod.id)
        assert session.scalars(query).one() == wanted


def test_keys_of_another_provider_do_not_count(session: Session) -> None:
    pod = make_pod(session, primary_provider="s3", bucket="b", use_custom_wasabi=True)
    assert places.of(pod) == Place("s3", "b")
    assert session.scalars(select(PLACE)).one() == Place("s3", "b")


def test_keys_to_a_place(session: Session, pod: models.Pod) -> None:
    own, shared = (credentials.keys_to(session, Place("s3", "b", pod_id)) for pod_id in (pod.id, None))
    assert own is not None
    assert shared is not None
    assert (own.pod_id, shared.pod_id) == (pod.id, None)
    assert credentials.keys_to(session, Place("wasabi", "b")) is None
    with pytest.raises(errors.NoCredential, match="pod films has no credential for wasabi"):
        credentials.keys_to(session, Place("wasabi", "b", pod.id))


def test_a_pod_in_use_takes_only_what_was_proven(session: Session, pod: models.Pod) -> None:
    pod.use_custom_s3 = True
    session.flush()
    with pytest.raises(errors.Conflict):
        credentials.put(session, KEY, "films", "s3", KEYS)
    credentials.put(session, KEY, "films", "s3", KEYS, proven=True)
    assert row(session, pod.id).proven_at
    with pytest.raises(errors.Conflict, match="uses its own keys"):
        credentials.clear(session, credentials.owner(session, "films", "s3"))


def test_what_must_be_proven(session: Session, pod: models.Pod) -> None:
    tried = credentials.switch(session, "films", "s3", own=True)
    assert tried is not None
    assert (tried.place, tried.witness) == (Place("s3", pod.bucket, pod.id), None)
    assert credentials.switch(session, "films", "s3", own=False) is None
    file = make_file(session, pod, make_user(session), "a", b"x")
    back = credentials.switch(session, "films", "s3", own=False)
    assert back is not None
    assert back.place == Place("s3", pod.bucket)
    assert back.witness == session.get_one(models.Version, file.version_id).key
    with pytest.raises(errors.NoCredential):
        credentials.switch(session, "films", "oracle", own=True)


# The key


@pytest.fixture
def filled(database: Database) -> Callable[[], dict[str, int]]:
    """Three credentials; returns how many there are by key."""
    with database.session() as session:
        for name in ("one", "two"):
            make_pod(session, name)
            credentials.put(session, KEY, name, "s3", KEYS)
        credentials.put(session, KEY, "", "s3", KEYS)

    def counted() -> dict[str, int]:
        with database.session() as session:
            return dict(session.execute(text("SELECT key_id, count(*) FROM app.credentials GROUP BY 1")).all())

    return counted


def test_rotation(database: Database, filled: Callable[[], dict[str, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "BATCH", 2)
    fresh = Key(os.urandom(32))
    assert keys.rotate(database, KEY, fresh) == keys.Rotated(KEY.id, fresh.id, 3, 3)
    assert filled() == {fresh.id: 3}
    assert keys.rotate(database, KEY, fresh) == keys.Rotated(KEY.id, fresh.id, 0, 3)
    assert keys.rotate(database, fresh, fresh) == keys.Rotated(fresh.id, fresh.id, 0, 3)
    with pytest.raises(errors.KeyMissing, match=fresh.id):
        keys.rotate(database, KEY, Key(os.urandom(32)))
    assert filled() == {fresh.id: 3}


def test_rotation_stops_at_what_was_altered(database: Database, filled: Callable[[], dict[str, int]]) -> None:
    with database.session() as session:
        session.execute(text("UPDATE app.credentials SET wrapped_key = '' WHERE pod_id IS NULL"))
    with pytest.raises(errors.CredentialAltered, match="default/s3"):
        keys.rotate(database, KEY, Key(os.urandom(32)))
    assert filled() == {KEY.id: 3}


def test_check_names_what_does_not_open(database: Database, filled: Callable[[], dict[str, int]]) -> None:
    assert keys.check(database, KEY) == [keys.KeyUse(KEY.id, True, 3, 0, [])]
    with database.session() as session:
        session.execute(text("UPDATE app.credentials SET ciphertext = '' WHERE pod_id IS NULL"))
    assert keys.check(database, KEY) == [keys.KeyUse(KEY.id, True, 3, 1, ["--default/s3"])]
    other = Key(os.urandom(32))
    unopened = ["one/s3", "two/s3", "--default/s3"]
    assert keys.check(database, other) == [
        keys.KeyUse(other.id, True, 0, 0, []),
        keys.KeyUse(KEY.id, False, 3, 3, unopened),
    ]

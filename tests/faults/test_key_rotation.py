"""A rotation of the key that is killed in the middle and repeated: no credential is lost, at no moment."""

import base64
import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from dumacle_cli.clients.envelope import Key, seal
from dumacle_cli.clients.locations import Keys
from dumacle_cli.local.process import wait
from dumacle_cli.services import credentials
from dumacle_cli.store import models
from dumacle_cli.store.database import Database
from tests.conftest import Run
from tests.processes import Begin, Process

pytestmark = pytest.mark.integration
NUMBER = 10_000
SECONDS = 60
OLD, NEW = Key(os.urandom(32)), Key(os.urandom(32))


def keys_of(pod_id: int) -> Keys:
    return Keys(f"AKIA{pod_id:08}", f"secret of {pod_id}", None, "us-east-1")


def fill(session: Session) -> None:
    """Insert ten thousand pods, each with keys that only it has."""
    ids = session.scalars(
        text("""
            INSERT INTO app.pods (name, capacity, primary_provider, bucket)
            SELECT 'pod' || number, 1, 's3', 'b' FROM generate_series(1, :number) AS number RETURNING id
        """),
        {"number": NUMBER},
    ).all()
    sealed = [seal(OLD, f"{pod_id}/s3", json.dumps(_plain(pod_id)).encode()) for pod_id in ids]
    session.execute(
        text("""
            INSERT INTO app.credentials (pod_id, provider, region, ciphertext, wrapped_key, key_id)
            SELECT id, 's3', 'us-east-1', ciphertext, wrapped_key, :key_id FROM unnest(
                CAST(:ids AS bigint[]), CAST(:ciphertexts AS bytea[]), CAST(:wrapped AS bytea[])
            ) AS made (id, ciphertext, wrapped_key)
        """),
        {
            "ids": list(ids),
            "ciphertexts": [each.ciphertext for each in sealed],
            "wrapped": [each.wrapped_key for each in sealed],
            "key_id": OLD.id,
        },
    )


@pytest.fixture
def filled(database: Database) -> None:
    """Ten thousand credentials under the old key."""
    with database.session() as session:
        fill(session)


def _plain(pod_id: int) -> dict[str, str | None]:
    keys = keys_of(pod_id)
    return {name: getattr(keys, name) for name in ("access_key", "secret_key", "endpoint", "region")}


@pytest.fixture
def sources(configured: None, environment: Callable[..., None], tmp_path: Path) -> str:
    """Both keys in files, the old one in force; returns where the new one is."""
    for name, key in (("old", OLD), ("new", NEW)):
        (tmp_path / name).write_bytes(base64.b64encode(key.secret))
        (tmp_path / name).chmod(0o400)
    environment(DUMACLE_KEY_SOURCE=f"file:{tmp_path / 'old'}", DUMACLE_LOCK_TIMEOUT=str(SECONDS))
    return f"file:{tmp_path / 'new'}"


@pytest.fixture
def rotate(sources: str, program: Begin) -> Callable[[], Process]:
    """Start rotations as processes of their own."""
    return lambda: program("pods", "credentials", "rotate-key", "--to", sources, stdout=subprocess.DEVNULL)


def by_key(database: Database) -> dict[str, int]:
    with database.session() as session:
        return dict(session.execute(text("SELECT key_id, count(*) FROM app.credentials GROUP BY 1")).all())


def is_waiting(database: Database) -> bool:
    with database.session() as session:
        return bool(session.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")))


def opened(database: Database) -> int:
    """Open each credential with whichever key it names, and return how many hold what they must."""
    found = {OLD.id: OLD, NEW.id: NEW}
    with database.session() as session:
        rows = session.query(models.Credential).all()
        return sum(credentials.opened(found[row.key_id], row) == keys_of(row.pod_id or 0) for row in rows)


def test_killed_in_the_middle_and_repeated(
    database: Database, filled: None, rotate: Callable[[], Process], sources: str, run: Run
) -> None:
    with database.session() as holder:
        # The rotation comes to this row in its tenth batch, and waits for it.
        row = holder.scalar(text("SELECT id FROM app.credentials ORDER BY id OFFSET 4700 LIMIT 1"))
        holder.execute(text("SELECT 1 FROM app.credentials WHERE id = :id FOR UPDATE"), {"id": row})
        process = rotate()
        assert wait(lambda: is_waiting(database) or process.poll() is not None, SECONDS)
        assert process.poll() is None, process.communicate()[1]
        process.kill()
        assert process.wait(SECONDS) == -signal.SIGKILL
        assert by_key(database) == {NEW.id: 4500, OLD.id: NUMBER - 4500}
        assert opened(database) == NUMBER
    done = run("pods", "credentials", "rotate-key", "--to", sources, "-o", "json").data
    assert (done["rewrapped"], done["credentials"]) == (NUMBER - 4500, NUMBER)
    assert by_key(database) == {NEW.id: NUMBER}
    assert opened(database) == NUMBER


def test_two_at_once(database: Database, filled: None, rotate: Callable[[], Process]) -> None:
    both = [rotate(), rotate()]
    told = [process.communicate(timeout=SECONDS) for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    assert by_key(database) == {NEW.id: NUMBER}
    assert opened(database) == NUMBER

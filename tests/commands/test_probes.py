"""`dumacle pods probe`: remembered with its date, shown, and judged by doctor."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import text

from dumacle_cli.errors import Exit
from dumacle_cli.store.database import Database
from tests.clients import small_store
from tests.clients.small_store import SmallStore
from tests.conftest import Run

pytestmark = pytest.mark.integration


@pytest.fixture
def store() -> Iterator[SmallStore]:
    with small_store.serving() as server:
        yield server


@pytest.fixture
def far(run: Run, store: SmallStore, environment: Callable[..., None]) -> Run:
    """The program with a pod at the store, which was not probed."""
    run("pods", "create", "far", "--capacity", "1GiB", "--provider", "s3", "--bucket", "media")
    environment(DUMACLE_S3_ENDPOINT=store.url, DUMACLE_S3_ACCESS_KEY="k", DUMACLE_S3_SECRET_KEY="s")
    return run


def probe(run: Run, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = run("pods", "probe", "far", "-o", "json", **options).data
    return found


def doubts(run: Run) -> list[str]:
    return [row["finding"] for row in run("doctor", "-o", "json").data if row["check"] == "probe"]


def test_a_probe_is_remembered_and_shown(far: Run, store: SmallStore) -> None:
    assert far("pods", "show", "far", "-o", "json").data["probed_at"] is None
    found = probe(far)
    assert found["proof"] == "payload-hash"
    assert found["found"]["multipart"] is True
    shown = far("pods", "show", "far", "-o", "json").data
    assert (shown["proof"], shown["probed_at"]) == ("payload-hash", found["probed_at"])
    assert not store.objects
    assert "payload-hash" in far("pods", "probe", "far").out


def test_a_dry_run_asks_nothing(far: Run, store: SmallStore) -> None:
    assert far("pods", "probe", "far", "--dry-run", "-o", "json").data["probed_at"] is None
    assert store.seen == []


def test_doctor_warns_of_pods_never_probed_probed_long_ago_and_of_what_was_lost(
    far: Run, store: SmallStore, database: Database
) -> None:
    assert doubts(far) == ["pod far was never probed"]
    probe(far)
    assert doubts(far) == []
    store.heeds -= {"payload"}
    for _ in range(2):  # It stays lost until it is found again.
        assert probe(far)["lost"] == ["payload_hash_enforced"]
    assert doubts(far) == ["pod far lost what its store did before: payload_hash_enforced"]
    store.heeds |= {"payload"}
    assert probe(far)["lost"] == []
    with database.session() as session:
        session.execute(text("UPDATE app.probes SET probed_at = '2026-01-02'"))
    assert doubts(far) == ["pod far was last probed on 2026-01-02"]


def test_another_endpoint_has_lost_nothing(far: Run, environment: Callable[..., None]) -> None:
    probe(far)
    with small_store.serving() as other:
        other.heeds -= {"payload"}
        environment(DUMACLE_S3_ENDPOINT=other.url)
        assert probe(far)["lost"] == []


def test_a_failed_probe_changes_nothing(far: Run, store: SmallStore) -> None:
    before = probe(far)
    store.fault = small_store.fault("InvalidAccessKeyId", 403)
    refused = far("pods", "probe", "far", "-o", "json", expect=Exit.FORBIDDEN)
    assert refused.error["code"] in ("keys-refused", "access-refused")
    assert far("pods", "show", "far", "-o", "json").data["probed_at"] == before["probed_at"]

"""Somebody deleted the wrong files: what is deleted comes back, what is purged is gone, and a guard stands between."""

import pytest

from dumacle_cli.clients.object_store import ObjectStore
from tests.conftest import Run

pytestmark = pytest.mark.e2e

ADA = "ada@example.com"
JSON = ("-o", "json")


def test_a_mistake_undone(seeded: Run, object_store: ObjectStore) -> None:
    def paths(*filters: str) -> list[str]:
        found = [file["path"] for file in seeded("files", "list", "--owner", ADA, *filters, *JSON).data]
        return [path for path in found if not path.startswith("clips/")]  # what is not uploaded

    # The guard refuses what is more than expected, and says the number.
    wrong = ("files", "delete", "--owner", ADA, "--prefix", "holiday/", *JSON)
    refused = seeded(*wrong, "--yes", "--max", "1", expect=8)
    assert refused.error["message"] == "this would change 2 files, and --max is 1"
    assert paths() == ["holiday/beach.jpg", "holiday/film.mp4"]

    # Without a terminal there is no question, but the flag that answers it.
    assert seeded(*wrong, expect=2).error["fix"] == "repeat the command with --yes"
    assert seeded(*wrong, "--yes").data["files"] == 2
    assert paths() == []

    # Nothing is lost yet.
    assert sorted(paths("--deleted")) == ["holiday/beach.jpg", "holiday/film.mp4", "old/lost.txt"]
    assert seeded("files", "restore", "--owner", ADA, "--prefix", "holiday/", *JSON).data["files"] == 2
    seeded("files", "download", "holiday/film.mp4", "--owner", ADA, "--to", "film.mp4")

    # Only what was deleted long ago goes for good, and its bytes with it.
    before = {entry.key for entry in object_store.list("")}
    purge = ("files", "purge", "--owner", ADA, "--older-than", "30d", "--yes", *JSON)
    foreseen = seeded(*purge, "--dry-run").data
    assert {entry.key for entry in object_store.list("")} == before
    assert seeded(*purge).data == foreseen == {"files": 1, "versions": 1, "renditions": 0, "bytes": 4, "skipped": 0}
    assert len(before - {entry.key for entry in object_store.list("")}) == 1
    assert seeded("files", "restore", "old/lost.txt", "--owner", ADA, *JSON, expect=6).error["code"] == "not-found"
    assert seeded("pods", "check").out == ""

"""A new customer: from an empty database to a link that hands out the very bytes that were uploaded."""

import urllib.request
from pathlib import Path

import pytest

from tests.conftest import Run

pytestmark = pytest.mark.e2e

ADA = "ada@example.com"
JSON = ("-o", "json")


def test_a_new_customer(run: Run, here: Path) -> None:
    # There is somewhere to put films, and something to sell.
    run("pods", "create", "films", "--capacity", "1TiB")
    run(
        "plans",
        "create",
        "family",
        "--price",
        "9.99",
        "--storage",
        "1GiB",
        "--upload",
        "1GiB",
        "--default-pod",
        "films",
    )

    # The customer buys the plan, and is granted its pod with it.
    run("users", "create", ADA, "--plan", "family")
    customer = run("users", "show", ADA, *JSON).data
    assert customer["can_upload"] is True
    assert [pod["name"] for pod in customer["pods"]] == ["films"]

    # The photos go up; doing it again moves nothing.
    upload = ("files", "upload", "photos", "--owner", ADA, *JSON)
    assert run(*upload, "--dry-run").data["uploaded"] == 3
    first = run(*upload)
    assert (first.data["uploaded"], first.json["changed"]) == (3, True)
    again = run(*upload)
    assert (again.data["uploaded"], again.data["unchanged"], again.json["changed"]) == (0, 3, False)

    # They count against the quotas, byte for byte.
    size = sum(photo.stat().st_size for photo in Path("photos").iterdir())
    quotas = {quota["metric"]: quota["used"] for quota in run("quotas", "show", ADA, *JSON).data}
    assert (quotas["storage"], quotas["upload"]) == (size, size)
    assert run("pods", "usage", "films", *JSON).data[0]["used"] == size

    # A changed photo becomes a new version of the same file.
    Path("photos/0.jpg").write_bytes(b"\xff\xd8\xff\xe0 retouched")
    assert run(*upload).data["new_versions"] == 1
    files = run("files", "list", "--owner", ADA, *JSON).data
    assert len(files) == 3

    # Whoever has the link gets the bytes, without a login.
    file = next(file["id"] for file in files if file["path"].endswith("0.jpg"))
    link = run("files", "url", file, "--expires", "5min", *JSON).data["url"]
    with urllib.request.urlopen(link) as answer:
        assert answer.read() == Path("photos/0.jpg").read_bytes()

    # And so does the customer, with every byte checked.
    run("files", "download", "--owner", ADA, "--to", "back")
    brought = {photo.name: photo.read_bytes() for photo in Path("back").rglob("*.jpg")}
    assert brought == {photo.name: photo.read_bytes() for photo in Path("photos").iterdir()}

"""Why can he not upload? `users show` says why and what to type; each of its answers brings him one step on."""

import shlex
from pathlib import Path

import pytest

from tests.conftest import Run

pytestmark = pytest.mark.e2e

EVE = "eve@example.com"
JSON = ("-o", "json")


def test_why_can_he_not_upload(seeded: Run, here: Path) -> None:
    upload = ("files", "upload", "photos", "--pod", "films", "--owner", EVE, *JSON)
    assert seeded(*upload, expect=5).error["code"] == "user-disabled"

    def reasons() -> dict[str, str]:
        user = seeded("users", "show", EVE, *JSON).data
        assert user["can_upload"] == (not user["reasons"])
        return {each["reason"]: each["fix"] for each in user["reasons"]}

    told = reasons()
    assert "the user is disabled" in told
    assert told["the user is disabled"] == f"dumacle users enable {EVE}"

    # Every fix is a command that does what it says, once a person has filled in what is theirs to choose.
    choices = {"PLAN": "starter", "POD": "films", "SIZE": "1GiB"}
    for reason, fix in told.items():
        seeded(*[choices.get(word, word) for word in shlex.split(fix)][1:])
        assert reason not in reasons()
    assert reasons() == {}
    assert seeded(*upload).data["uploaded"] == 3

    # The quota ends in the middle: what fits is kept, the rest is told.
    seeded("quotas", "set", EVE, "--storage", "21KiB")
    Path("photos/more.jpg").write_bytes(b"\xff\xd8\xff\xe0" * 9999)
    refused = seeded(*upload, expect=8)
    assert (refused.data["unchanged"], refused.data["refused"]) == (3, 1)
    assert list(reasons()) == []  # he may upload still, only not that much
    said = seeded(*upload[:-2], expect=8).err
    assert "quota" in said
    assert f"why: dumacle users show {EVE} --size 39996 --pod films" in said
    why = said.partition("why: dumacle ")[2].split("\n")[0]
    shown = seeded(*shlex.split(why), *JSON).data
    assert (shown["can_upload"], shown["largest_upload"]) == (False, shown["storage_limit"] - shown["storage_used"])
    assert [each["reason"].partition(":")[0] for each in shown["reasons"]] == ["the storage quota is too small"]

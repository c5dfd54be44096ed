"""A script that cannot know whether it got through repeats itself; a cron job says nothing unless it failed."""

import json

import pytest

from tests.conftest import Run

pytestmark = pytest.mark.e2e

ADA = "ada@example.com"
JSON = ("-o", "json")


def test_a_script_repeats_itself(seeded: Run) -> None:
    # The same operation again: the same answer, and no second effect.
    gift = ("quotas", "grant", ADA, "--upload", "5GiB", "--reason", "wedding", *JSON, "--op-id", "gift-2026-11")
    given = seeded(*gift)
    repeated = seeded(*gift)
    assert (given.json["changed"], repeated.json["changed"]) == (True, False)
    assert repeated.data == given.data
    granted = {quota["metric"]: quota["granted"] for quota in seeded("quotas", "show", ADA, *JSON).data}
    assert granted["upload"] == 5 * 1024**3

    # The id with anything else is a mistake in the script.
    assert seeded(*gift[:4], "6GiB", *gift[5:], expect=7).error["code"] == "operation-reused"

    # An import keeps going, accounts for every line, and says by its exit status that some failed.
    people = "email,plan\nida@example.com,free\nnobody,free\nida@example.com,free\n"
    told = seeded("users", "import", "-", "--format", "csv", *JSON, stdin=people, expect=3).data
    assert [line["result"] for line in told].count("created") == 1
    assert [line["result"] for line in told].count("failed") == 1
    assert len(told) == 3


def test_cron_says_nothing(seeded: Run) -> None:
    for job in (("quotas", "reset"), ("files", "purge", "--yes"), ("files", "verify")):
        said = seeded(*job, "--quiet")
        assert (said.out, said.err) == ("", "")
        record = json.loads(seeded(*job, "--quiet", "--log-format", "json").err)
        assert (record["command"], record["exit"]) == (".".join(job[:2]), 0)

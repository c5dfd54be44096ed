"""A subscription, from a price to its end: what the operator types, what the customer does, what Stripe reports.

Stripe is a double on this machine; what it reports is posted to a real listener, and a real worker applies it.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import dumacle_cli
from tests.conftest import Run
from tests.faults.test_listener import listening
from tests.stripe_double.double import StripeDouble

pytestmark = pytest.mark.e2e

ROOT = Path(dumacle_cli.__file__).parents[1]
ADA = "ada@example.com"
JSON = ("-o", "json")
UPLOAD = ("files", "upload", "photos", "--owner", ADA, *JSON)


@pytest.fixture
def report(run: Run, stripe_double: StripeDouble, environment: Callable[..., None]) -> Iterator[Callable[[], None]]:
    """Let Stripe post what happened to `dumacle webhooks serve`, and a worker apply it."""
    environment(PYTHONPATH=str(ROOT), **stripe_double.settings)

    def reported() -> None:
        answers = stripe_double.deliver()
        assert answers
        assert set(answers) == {200}
        run("worker", "--once", "--queues", "webhooks")

    with listening() as listener:
        stripe_double.webhook = listener.url
        yield reported


def test_a_subscription(run: Run, here: Path, stripe_double: StripeDouble, report: Callable[[], None]) -> None:
    def subscription() -> Any:
        return run("plans", "subscriptions", "show", ADA, *JSON).data

    def storage() -> Any:
        return next(quota for quota in run("quotas", "show", ADA, *JSON).data if quota["metric"] == "storage")

    # One plan is given away and has little room; two are sold. Stripe learns of those that cost something.
    run("pods", "create", "films", "--capacity", "1TiB")
    for name, price, room in (("free", "0", "10KiB"), ("family", "9.99", "1GiB"), ("studio", "29.99", "1TiB")):
        limits = ("--storage", room, "--upload", room)
        run("plans", "create", name, "--price", price, *limits, "--default-pod", "films")
    pushed = run("plans", "push", *JSON)
    assert [(plan["plan"], plan["result"]) for plan in pushed.data] == [("family", "created"), ("studio", "created")]
    assert run("plans", "push", *JSON).json["changed"] is False

    # A customer tries it for nothing, and runs out of room.
    run("users", "create", ADA)
    run("plans", "subscribe", ADA, "free")
    refused = run(*UPLOAD, expect=3)
    assert (refused.data["uploaded"], refused.data["refused"]) == (1, 2)

    # She is sent a link, and pays. The event says so, the limits rise, and the same upload goes through.
    link = run("plans", "subscribe", ADA, "family", "--checkout", *JSON).data["url"]
    (page,) = (page for page in stripe_double.all("checkout.session") if page["url"] == link)
    stripe_double.complete(page["id"])
    assert subscription()["plan"] == "free"
    report()
    assert (subscription()["plan"], subscription()["status"]) == ("family", "active")
    assert storage()["limit"] == 1024**3
    uploaded = run(*UPLOAD)
    assert (uploaded.data["uploaded"], uploaded.data["unchanged"]) == (2, 1)

    # A month later her bank refuses. Stripe tries again for a while, and so long she keeps what she has.
    customer = stripe_double.get(subscription()["stripe_id"])["customer"]
    stripe_double.decline(customer)
    stripe_double.advance(days=32)
    report()
    assert subscription()["status"] == "past_due"
    assert storage()["limit"] == 1024**3
    assert run("users", "show", ADA, *JSON).data["can_upload"] is True

    # She gives another card at Stripe's portal, and moves up.
    assert run("plans", "portal", ADA, *JSON).data["url"]
    stripe_double.accept(customer)
    stripe_double.advance(days=8)
    report()
    assert subscription()["status"] == "active"
    run("plans", "change", ADA, "studio")
    assert storage()["limit"] == 1024**4

    # She cancels: nothing is taken from her before the end of what she paid for.
    run("plans", "cancel", ADA, "--yes")
    assert (subscription()["status"], subscription()["cancel_at_period_end"]) == ("active", True)
    stripe_double.advance(days=32)
    report()
    assert (subscription()["plan"], subscription()["stripe_id"]) == ("free", None)

    # Now she has the little room of before, and is over her limit: she can read and delete, and cannot add.
    over = storage()
    assert (over["limit"], over["used"] > over["limit"], over["left"]) == (10 * 1024, True, 0)
    Path("photos/new.jpg").write_bytes(b"\xff\xd8\xff\xe0 new")
    added = run(*UPLOAD, expect=8)
    assert (added.data["uploaded"], added.data["unchanged"], added.data["refused"]) == (0, 3, 1)
    assert [each["fix"] for each in run("users", "show", ADA, *JSON).data["reasons"]] == [
        f"dumacle quotas set {ADA} --storage SIZE",
        f"dumacle quotas grant {ADA} --upload SIZE",
    ]
    run("files", "download", "--owner", ADA, "--to", "back")
    assert len(list(Path("back").rglob("*.jpg"))) == 3
    mine = [str(file["id"]) for file in run("files", "list", "--owner", ADA, *JSON).data]
    run("files", "delete", mine[0], "--yes")
    assert len(run("files", "list", "--owner", ADA, *JSON).data) == 2

    # Whatever Stripe reported, nothing was missed, and nothing waits.
    assert run("plans", "sync", *JSON).json["changed"] is False
    assert {event["status"] for event in run("webhooks", "events", "list", *JSON).data} <= {"applied", "ignored"}

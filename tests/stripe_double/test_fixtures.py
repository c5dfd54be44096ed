"""Events as each API version of Stripe writes them, made from the examples that Stripe publishes, are read and applied.

Of these the checkout has the present ones. `DUMACLE_TEST_STRIPE_FIXTURES` names a folder with more (CONTRIBUTING.md).
"""

import copy
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dumacle_cli.clients import signatures
from dumacle_cli.services.billing import inbox
from dumacle_cli.store.stripe import Delivery
from tests.services.test_apply import World, world
from tests.stripe_double.account import TEMPLATES, Object

__all__ = ["world"]

PUBLISHED = os.environ.get("DUMACLE_TEST_STRIPE_FIXTURES", "")
TYPES = {
    "subscription": "customer.subscription.updated",
    "invoice": "invoice.paid",
    "checkout.session": "checkout.session.completed",
    "subscription_schedule": "subscription_schedule.updated",
    "customer": "customer.deleted",
}
UNNAMED = "it does not name the object that changed"


def versions() -> dict[str, Object]:
    """Return the examples of each kind, by the name of their version."""
    found = {"present": TEMPLATES}
    for file in sorted(Path(PUBLISHED).glob("*.json")) if PUBLISHED else ():
        examples = json.loads(file.read_bytes())["resources"]
        found[file.stem] = {
            name.replace("checkout_session", "checkout.session"): each for name, each in examples.items()
        }
    return found


VERSIONS = versions()


def about(kind: str, example: Object, subscription: str, customer: str) -> Object:
    """Return an example that is about this subscription and customer, named where its version names them."""
    made = copy.deepcopy(example)
    if kind in ("subscription", "customer"):
        made["id"] = {"subscription": subscription, "customer": customer}[kind]
    elif kind == "invoice" and "parent" in made:
        made["parent"] = {"type": "subscription_details", "subscription_details": {"subscription": subscription}}
    elif not is_unnamed(kind, example):
        made["subscription"] = subscription
    return made | ({"customer": customer} if "customer" in made else {})


def is_unnamed(kind: str, example: Object) -> bool:
    """Whether an example cannot say what it is about: checkouts before March 2019 named no subscription."""
    return kind == "checkout.session" and "subscription" not in example


def told(version: str, subscription: str, customer: str) -> Iterator[tuple[str, Delivery]]:
    """Yield the events about a subscription and its customer as a version writes them."""
    examples = VERSIONS[version]
    for kind, type_ in TYPES.items():
        if kind not in examples:
            continue
        event: dict[str, Any] = copy.deepcopy(examples.get("event", {})) | {
            "id": f"evt_{version}_{kind.replace('.', '_')}",
            "object": "event",
            "type": type_,
            "created": 1_700_000_000,
            "livemode": False,
            "data": {"object": about(kind, examples[kind], subscription, customer)},
        }
        body = json.dumps(event).encode()
        yield kind, inbox.read(signatures.parse_event(body), body)


@pytest.mark.unit
@pytest.mark.parametrize("version", VERSIONS)
def test_what_changed_is_read_from_an_event_of_each_version(version: str) -> None:
    expected: dict[str, Any] = {
        **{kind: [("subscription", "sub_1")] for kind in TYPES},
        "customer": [("customer", "cus_1")],
        "checkout.session": [("subscription", "sub_1"), ("customer", "cus_1")],
    }
    for kind, delivery in told(version, "sub_1", "cus_1"):
        unnamed = is_unnamed(kind, VERSIONS[version][kind])
        read = kind, delivery.targets, delivery.error
        assert read == (kind, [] if unnamed else expected[kind], UNNAMED if unnamed else None)


@pytest.mark.integration
def test_events_of_every_version_lead_to_the_state_that_stripe_has(world: World) -> None:
    user = world.user()
    customer = world.customer(user)
    found = world.subscribe(customer)
    world.stripe.drop(len(world.stripe.take()))
    deliveries = [each for version in VERSIONS for _, each in told(version, found["id"], customer["id"])]
    named = [each for each in deliveries if not each.error]
    inbox.receive(world.database, deliveries)
    world.work()
    assert world.live(user) == ("starter", "active")
    applied = world.rows("SELECT count(*) FROM app.stripe_events WHERE status = 'applied'")
    dead = world.rows("SELECT count(*) FROM app.stripe_events WHERE status = 'dead' AND error IS NOT NULL")
    assert (applied, dead) == ([(len(named),)], [(len(deliveries) - len(named),)])

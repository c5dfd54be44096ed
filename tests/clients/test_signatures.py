"""Signatures of deliveries: what proves that Stripe sent a body, and what anyone can send instead."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dumacle_cli.clients.signatures import Secret, parse, parse_event, verify
from dumacle_cli.errors import DeliveryRefused, InvalidValue
from tests.stripe_double.double import sign

pytestmark = pytest.mark.unit

NOW = 1_800_000_000
BODY = b'{"object": "event", "id": "evt_1", "type": "invoice.paid"}'
ONE, OTHER = Secret(b"whsec_1", "one"), Secret(b"whsec_0")


SIGNED = sign(BODY, "whsec_1", NOW)


def test_an_authentic_event_is_returned() -> None:
    assert verify(BODY, SIGNED, [ONE], NOW) is ONE


@pytest.mark.parametrize("secrets", [[OTHER, ONE], [ONE, OTHER]])
def test_any_of_the_secrets_will_do(secrets: list[Secret]) -> None:
    assert verify(BODY, SIGNED, secrets, NOW) is ONE


def test_any_of_the_signatures_will_do() -> None:
    both = sign(BODY, "whsec_0", NOW) + b",v0=00," + SIGNED.partition(b",")[2]
    assert verify(BODY, both, [ONE], NOW) is ONE
    assert verify(BODY, both, [OTHER], NOW) is OTHER


def test_a_thin_event_is_an_event() -> None:
    body = b'{"object": "v2.core.event", "id": "evt_1", "type": "v1.invoice.paid"}'
    assert parse_event(body)["type"] == "v1.invoice.paid"


@pytest.mark.parametrize("off", [-300, 300])
def test_a_clock_may_be_five_minutes_off(off: int) -> None:
    assert verify(BODY, SIGNED, [ONE], NOW + off)


@pytest.mark.parametrize("off", [-301, 301, 86_400 * 365])
def test_a_delivery_of_another_time_is_refused(off: int) -> None:
    with pytest.raises(DeliveryRefused, match="differs from the clock here by more than 300 s"):
        verify(BODY, SIGNED, [ONE], NOW + off)


HOSTILE = {
    "none": b"",
    "no time": SIGNED.partition(b",")[2],
    "no signature": b"t=%d" % NOW,
    "another secret": sign(BODY, "whsec_2", NOW),
    "another body": sign(BODY + b" ", "whsec_1", NOW),
    "another time": SIGNED.replace(b"t=%d" % NOW, b"t=%d" % (NOW + 1)),
    "another scheme": SIGNED.replace(b"v1=", b"v0="),
    "not ASCII": b"t=%d,v1=\xff" % NOW,
    "not a number": b"t=now,v1=00",
    "a huge number": b"t=" + b"9" * 5000 + b",v1=00",
    "no values": b"t,v1",
    "long": SIGNED + b",v1=00" * 2000,
}


@pytest.mark.parametrize("header", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_signature_is_refused(header: bytes) -> None:
    with pytest.raises(DeliveryRefused):
        verify(BODY, header, [ONE], NOW)


def test_a_body_that_is_not_text_is_refused() -> None:
    with pytest.raises(DeliveryRefused):
        verify(b"\xff" + BODY, SIGNED, [ONE], NOW)


def test_without_a_secret_nothing_is_authentic() -> None:
    with pytest.raises(DeliveryRefused):
        verify(BODY, SIGNED, [], NOW)


NO_EVENTS = [
    b"",
    b"[]",
    b"1",
    b"null",
    b"{}",
    b"nonsense",
    b"[" * 100_000,
    b'{"object": "event", "id": 1, "type": "invoice.paid"}',
    b'{"object": "event", "id": "evt_1"}',
    b'{"object": "charge", "id": "ch_1", "type": "card"}',
]


@pytest.mark.parametrize("body", NO_EVENTS, ids=range(len(NO_EVENTS)))
def test_a_signed_body_that_is_no_event_is_refused(body: bytes) -> None:
    with pytest.raises(DeliveryRefused, match="it is not"):
        parse_event(body)


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_no_bytes_bring_out_another_error(body: bytes, header: bytes) -> None:
    with pytest.raises(DeliveryRefused):
        verify(body, header, [ONE], NOW)


# Secrets


def test_secrets_have_labels() -> None:
    first, second = parse(" whsec_1 ,2026-11 = whsec_2")
    assert (first.label, second.label) == (first.fingerprint, "2026-11")
    assert "whsec_" not in repr([first, second])


@pytest.mark.parametrize(
    "text",
    ["", "sk_test_1", "a=sk_test_1", "whsec_1,", "a b=whsec_1", "=whsec_1", "a=whsec_1,a=whsec_2", "whsec_1,whsec_1"],
)
def test_what_is_no_list_of_secrets_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        parse(text)
    assert "sk_test" not in str(caught.value)

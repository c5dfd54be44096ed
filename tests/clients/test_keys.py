"""The key of the credentials and what it seals: where it comes from, and every way in which it must not open."""

import base64
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from dumacle_cli import errors
from dumacle_cli.clients import keychain, keys
from dumacle_cli.clients.envelope import Key, rewrap, seal, unseal

pytestmark = pytest.mark.unit

SECRET = b"a marked secret"


@pytest.fixture
def key() -> Key:
    return Key(os.urandom(32))


def written(path: Path, text: str, mode: int = 0o400) -> str:
    path.write_text(text)
    path.chmod(mode)
    return f"file:{path}"


def encoded(key: Key) -> str:
    return base64.b64encode(key.secret).decode()


# Sources


def test_a_key_that_was_made_is_found_again(tmp_path: Path) -> None:
    source = f"file:{tmp_path / 'new.key'}"
    made = keys.create(source)
    assert keys.load(source, {}) == made
    assert stat.S_IMODE((tmp_path / "new.key").stat().st_mode) == 0o400
    assert len(made.secret) == 32
    assert repr(made) == "Key()"


@pytest.mark.parametrize("there", ["a file", "a link to nowhere"])
def test_nothing_is_overwritten(there: str, tmp_path: Path) -> None:
    path = tmp_path / "old.key"
    if there == "a file":
        path.write_text("old")
    else:
        path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(errors.Conflict):
        keys.create(f"file:{path}")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("mode", [0o644, 0o440, 0o404, 0o660, 0o410])
def test_a_key_that_others_can_use_is_refused(mode: int, tmp_path: Path, key: Key) -> None:
    source = written(tmp_path / "key", encoded(key), mode)
    with pytest.raises(errors.KeyUnusable, match=f"{mode:04o}") as caught:
        keys.load(source, {})
    assert caught.value.remedy == f"chmod 0400 {tmp_path / 'key'}"
    assert encoded(key) not in str(caught.value)


@pytest.mark.parametrize("mode", [0o400, 0o600])
def test_a_key_of_its_owner_is_taken(mode: int, tmp_path: Path, key: Key) -> None:
    assert keys.load(written(tmp_path / "key", encoded(key) + "\n", mode), {}) == key


@pytest.mark.parametrize("damage", ["", "\n", "{}====", "x", "cut", "longer"])
def test_a_damaged_key_is_refused(damage: str, tmp_path: Path, key: Key) -> None:
    text = {"cut": encoded(key)[:40], "longer": encoded(key) + encoded(key)}.get(damage, damage)
    with pytest.raises(errors.KeyUnusable) as caught:
        keys.load(written(tmp_path / "key", text), {})
    assert "escrow" in caught.value.remedy


def test_a_key_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(errors.KeyUnusable, match="No such file"):
        keys.load(f"file:{tmp_path / 'none'}", {})


def test_systemd_credentials(tmp_path: Path, key: Key) -> None:
    written(tmp_path / "dumacle-key", encoded(key), 0o440)
    assert keys.load("credential:dumacle-key", {"CREDENTIALS_DIRECTORY": str(tmp_path)}) == key
    with pytest.raises(errors.KeyUnusable, match="CREDENTIALS_DIRECTORY"):
        keys.load("credential:dumacle-key", {})
    with pytest.raises(errors.InvalidValue):
        keys.create("credential:dumacle-key")


def test_the_keyring(monkeypatch: pytest.MonkeyPatch, key: Key) -> None:
    ring: dict[str, str] = {}
    monkeypatch.setattr(keychain, "read", ring.get)
    monkeypatch.setattr(keychain, "store", ring.__setitem__)
    with pytest.raises(errors.KeyUnusable, match="does not exist"):
        keys.load("keyring:production", {})
    made = keys.create("keyring:production")
    assert keys.load("keyring:production", {}) == made
    with pytest.raises(errors.Conflict):
        keys.create("keyring:production")


@pytest.mark.parametrize("source", ["", "/path", "file:", "kms:key", "credential:../key"])
def test_other_sources_are_refused(source: str) -> None:
    with pytest.raises(errors.InvalidValue):
        keys.load(source, {})


# Sealing


def test_what_is_sealed_opens_where_it_belongs(key: Key) -> None:
    sealed = seal(key, "7/s3", SECRET)
    assert unseal(key, "7/s3", sealed) == SECRET
    assert SECRET not in sealed.ciphertext + sealed.wrapped_key
    assert sealed.key_id == key.id == Key(bytes(key.secret)).id
    again = seal(key, "7/s3", SECRET)
    assert (again.ciphertext, again.wrapped_key) != (sealed.ciphertext, sealed.wrapped_key)


@pytest.mark.parametrize("label", ["8/s3", "7/wasabi", "default/s3", "77/s3", ""])
def test_what_was_moved_does_not_open(label: str, key: Key) -> None:
    sealed = seal(key, "7/s3", SECRET)
    with pytest.raises(errors.CredentialAltered):
        unseal(key, label, sealed)
    with pytest.raises(errors.CredentialAltered):
        rewrap(key, Key(os.urandom(32)), label, sealed)


def test_both_layers_are_bound(key: Key) -> None:
    """Someone who holds the ciphertext of one pod and the wrapped key of another cannot join them."""
    one, other = seal(key, "7/s3", SECRET), seal(key, "8/s3", SECRET)
    for mixed in (replace(one, ciphertext=other.ciphertext), replace(one, wrapped_key=other.wrapped_key)):
        for label in ("7/s3", "8/s3"):
            with pytest.raises(errors.CredentialAltered):
                unseal(key, label, mixed)


@pytest.mark.parametrize("field", ["ciphertext", "wrapped_key"])
def test_every_bit_counts(field: str, key: Key) -> None:
    sealed = seal(key, "7/s3", SECRET)
    right: bytes = getattr(sealed, field)
    for position in range(len(right) * 8):
        wrong = bytearray(right)
        wrong[position // 8] ^= 1 << position % 8
        with pytest.raises(errors.CredentialAltered):
            unseal(key, "7/s3", replace(sealed, **{field: bytes(wrong)}))
    for length in range(len(right)):
        with pytest.raises(errors.CredentialAltered):
            unseal(key, "7/s3", replace(sealed, **{field: right[:length]}))


def test_another_key_is_named(key: Key) -> None:
    other = Key(os.urandom(32))
    with pytest.raises(errors.KeyMissing) as caught:
        unseal(other, "7/s3", seal(key, "7/s3", SECRET))
    assert key.id in str(caught.value)
    assert key.id in caught.value.remedy
    assert caught.value.exit is errors.Exit.USAGE


def test_a_key_under_anothers_id_opens_nothing(key: Key) -> None:
    other = Key(os.urandom(32))
    with pytest.raises(errors.CredentialAltered):
        unseal(other, "7/s3", replace(seal(key, "7/s3", SECRET), key_id=other.id))


def test_wrapping_anew_keeps_the_ciphertext(key: Key) -> None:
    fresh = Key(os.urandom(32))
    sealed = seal(key, "7/s3", SECRET)
    wrapped = rewrap(key, fresh, "7/s3", sealed)
    assert wrapped.ciphertext == sealed.ciphertext
    assert unseal(fresh, "7/s3", wrapped) == SECRET
    with pytest.raises(errors.KeyMissing):
        unseal(key, "7/s3", wrapped)

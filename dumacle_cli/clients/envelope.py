"""Envelope encryption: each secret has its own data key, wrapped by one key. The only importer of cryptography.

Both layers use AES-256-GCM and are bound to a label, such as `7/s3`: a secret opens only with the label it was sealed
with.
"""

import hashlib
import os
from dataclasses import dataclass, field

from dumacle_cli.errors import CredentialAltered, KeyMissing

KEY_BYTES = 32
NONCE_BYTES = 12


@dataclass(frozen=True, slots=True)
class Key:
    """A key of 32 bytes that wraps data keys."""

    secret: bytes = field(repr=False)

    @property
    def id(self) -> str:
        """A fingerprint of the key that reveals nothing about it."""
        return hashlib.sha256(b"dumacle/key/v1" + self.secret).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Sealed:
    """An encrypted secret, and the id of the key that opens it."""

    ciphertext: bytes
    wrapped_key: bytes
    key_id: str


def seal(key: Key, label: str, secret: bytes) -> Sealed:
    """Encrypt a secret with a new data key, and the data key with the key."""
    data_key = os.urandom(KEY_BYTES)
    return Sealed(_encrypt(data_key, label, secret), _encrypt(key.secret, label, data_key), key.id)


def unseal(key: Key, label: str, sealed: Sealed) -> bytes:
    """Return the secret; raises KeyMissing for another key, CredentialAltered if anything was changed or moved."""
    return _decrypt(_unwrap(key, label, sealed), label, sealed.ciphertext)


def rewrap(old: Key, new: Key, label: str, sealed: Sealed) -> Sealed:
    """Wrap the data key with another key; raises KeyMissing, CredentialAltered."""
    return Sealed(sealed.ciphertext, _encrypt(new.secret, label, _unwrap(old, label, sealed)), new.id)


def _unwrap(key: Key, label: str, sealed: Sealed) -> bytes:
    if sealed.key_id != key.id:
        raise KeyMissing(label=label, needed=sealed.key_id, found=key.id)
    return _decrypt(key.secret, label, sealed.wrapped_key)


def _encrypt(key: bytes, label: str, secret: bytes) -> bytes:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, secret, _bound(label))


def _decrypt(key: bytes, label: str, sealed: bytes) -> bytes:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _bound(label))
    except (InvalidTag, ValueError):  # ValueError if it is too short for a nonce
        raise CredentialAltered(label=label) from None


def _bound(label: str) -> bytes:
    return f"dumacle/credential/v1/{label}".encode()

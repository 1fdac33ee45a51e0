"""Standard Webhooks signatures: v1 by an endpoint's secret, v1a by the house's key. Pure.

Source: the Standard Webhooks specification 1.0.0, sections "Signature scheme" and "Verifying
signatures": what is signed is `id.timestamp.body`.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from devices.entropy import Entropy

SECRET_BYTES: Final = 32
SEED_BYTES: Final = 32
_SECRET: Final = "whsec_"  # noqa: S105 - a prefix
_PUBLIC: Final = "whpk_"


def new_secret(entropy: Entropy) -> bytes:
    """The raw bytes of a new v1 secret."""
    return entropy.bytes(SECRET_BYTES)


def secret_text(raw: bytes) -> str:
    """A secret as its owner is told it, once: `whsec_` and base64."""
    return _SECRET + base64.b64encode(raw).decode()


def new_key(entropy: Entropy) -> tuple[str, bytes, bytes]:
    """A new ed25519 key: its id (of the public key's hash), its public key, its seed."""
    seed = entropy.bytes(SEED_BYTES)
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    return hashlib.sha256(public).hexdigest()[:16], public, seed


def key_of(seed: bytes) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(seed)


def public_text(public: bytes) -> str:
    return _PUBLIC + base64.b64encode(public).decode()


def headers(
    message: str,
    timestamp_s: int,
    body: bytes,
    *,
    secrets: Sequence[bytes],
    keys: Sequence[Ed25519PrivateKey],
) -> list[tuple[str, str]]:
    """The three headers; one signature a secret and a key, space separated, the newest first."""
    signed = f"{message}.{timestamp_s}.".encode() + body
    signatures = [f"v1,{_b64(hmac.digest(one, signed, hashlib.sha256))}" for one in secrets]
    signatures += [f"v1a,{_b64(one.sign(signed))}" for one in keys]
    return [
        ("webhook-id", message),
        ("webhook-timestamp", str(timestamp_s)),
        ("webhook-signature", " ".join(signatures)),
    ]


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()

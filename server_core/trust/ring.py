"""The ring's bytes, and the first ring of a home.

CBOR `[format, root, nonce_secret, [[kid, key, not_before, not_after, published_at], …], current,
policies, version]`; a key is its seed, or `[label, public]` of a token. Format 4 has one of those.
"""

from typing import Any, Final

import cbor2
from nacl.signing import SigningKey

from devices.entropy import Entropy
from devices.keystore.port import KeyStoreDamaged
from offline.codec import policy_items, read_policy
from server_core.trust import rules
from server_core.trust.holders import Holder
from server_core.trust.model import KEY_LIFE_S, MAXIMA, HeldKey, IssuerKey, KeyRing

_SEEDS: Final = 3
_LABELS: Final = 4


def first(holder: Holder, entropy: Entropy, now_s: int) -> KeyRing:
    current, following = (
        rules.issuer_key(number, holder.make("issuer"), now_s, number * KEY_LIFE_S)
        for number in (1, 2)
    )
    return KeyRing(
        root=holder.make("root"),
        nonce_secret=entropy.bytes(32),
        issuers=(current, following),
        current=current.kid,
        policies=MAXIMA,
        version=1,
    )


def dump(ring: KeyRing) -> bytes:
    issuers = [
        [one.kid, _said(one.key), one.not_before, one.not_after, one.published_at]
        for one in ring.issuers
    ]
    policies = [policy_items(one) for one in ring.policies]
    labelled = any(key.label for key in (ring.root, *(one.key for one in ring.issuers)))
    return cbor2.dumps(
        [
            _LABELS if labelled else _SEEDS, _said(ring.root), ring.nonce_secret, issuers,
            ring.current, policies, ring.version,
        ]
    )  # fmt: skip


def read(data: bytes) -> KeyRing:
    """Raises KeyStoreDamaged."""
    try:
        form, root, nonce_secret, issuers, current, policies, version = cbor2.loads(data)
    except ValueError as error:
        raise KeyStoreDamaged("this key ring is of another release") from error
    if form not in {_SEEDS, _LABELS}:
        raise KeyStoreDamaged("this key ring is of another release")
    return KeyRing(
        root=_key(root),
        nonce_secret=nonce_secret,
        issuers=tuple(
            IssuerKey(
                kid=kid, key=_key(key), not_before=start, not_after=end, published_at=published
            )
            for kid, key, start, end, published in issuers
        ),
        current=current,
        policies=tuple(read_policy(one) for one in policies),
        version=version,
    )


def _said(key: HeldKey) -> bytes | list[str | bytes]:
    return [key.label, key.public] if key.label else key.seed


def _key(said: Any) -> HeldKey:
    if isinstance(said, bytes):
        return HeldKey(seed=said, public=bytes(SigningKey(said).verify_key))
    label, public = said
    return HeldKey(label=label, public=public)

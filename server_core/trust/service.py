"""Load or make the keys, sign for the issuer, hand out the bundle and one-use nonces."""

import hashlib
import hmac
from functools import cached_property
from pathlib import Path
from typing import Final

import cbor2
from nacl.signing import SigningKey

from devices.clock import Clock
from devices.entropy import Entropy
from devices.keystore.port import KeyStoreDamaged
from devices.keystore.sealed_file import SealedFile
from offline.codec import bundle_bytes, policy_items, read_policy
from offline.model import Algorithm, Bundle, BundleEntry, Policy
from offline.signing import bundle_message
from offline.wire import SignedBundle
from server_core.db.work import Reader, Work
from server_core.errors import DomainError, conflict
from server_core.trust import rules, store
from server_core.trust.model import (
    KEY_LIFE_S,
    MAXIMA,
    NONCE_LIFE_S,
    RETIRED_USAGES,
    USAGES,
    IssuerKey,
    KeyRing,
)

_FORMAT: Final = 3
_FILE: Final = "trust.key"


class Keys:
    """The ring, opened. `sign` is by the current issuer key, `kid` its name."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring
        self._root = SigningKey(ring.root_seed)
        self._current = next(one for one in ring.issuers if one.kid == ring.current)
        self._issuer = SigningKey(self._current.seed)

    @property
    def kid(self) -> bytes:
        return self._current.kid

    @property
    def not_after(self) -> int:
        """When the current key ends (Unix s): nothing that it signs may be needed longer."""
        return self._current.not_after

    @cached_property
    def root_key(self) -> bytes:
        return bytes(self._root.verify_key)

    @cached_property
    def fingerprint(self) -> str:
        """What a pairing code carries, so that the agent knows the root before it hears of it."""
        return hashlib.sha256(self.root_key).hexdigest()[:32]

    @cached_property
    def bundle(self) -> SignedBundle:
        """Every issuer key and the maxima, signed by the root."""
        signing = self._ring.issuers.index(self._current)
        entries = tuple(
            BundleEntry(
                kid=one.kid,
                alg=Algorithm.ED25519,
                key=bytes(SigningKey(one.seed).verify_key),
                usages=RETIRED_USAGES if place < signing else USAGES,
                not_before=one.not_before,
                not_after=one.not_after,
            )
            for place, one in enumerate(self._ring.issuers)
        )
        root_kid = hashlib.sha256(self.root_key).digest()[:2]
        raw = bundle_bytes(
            Bundle(
                version=self._ring.version,
                root_kid=root_kid,
                entries=entries,
                policies=self._ring.policies,
            )
        )
        return SignedBundle.of(
            root_kid, raw, self._root.sign(bundle_message(root_kid, raw)).signature
        )

    def sign(self, message: bytes) -> bytes:
        return self._issuer.sign(message).signature

    def new_nonce(self, now_ms: int, entropy: Entropy) -> bytes:
        """16 bytes: expiry, chance, and our mark on both; nothing is stored until it is used."""
        body = (now_ms // 1000 + NONCE_LIFE_S).to_bytes(4) + entropy.bytes(4)
        return body + self._mark(body)

    def nonce_expiry(self, nonce: bytes) -> int | None:
        """When it ends (Unix s) if it is one of ours."""
        ours = len(nonce) == 16 and hmac.compare_digest(self._mark(nonce[:8]), nonce[8:])
        return int.from_bytes(nonce[:4]) if ours else None

    def _mark(self, body: bytes) -> bytes:
        return hashlib.blake2b(body, key=self._ring.nonce_secret, digest_size=8).digest()


def load(home: Path, *, entropy: Entropy, clock: Clock, passphrase: str | None) -> Keys:
    """Open the ring in `home`, made at the first start; sealed as SealedFile says.

    Raises KeyStoreLocked, KeyStoreDamaged.
    """
    file = SealedFile(home, _FILE, entropy=entropy, passphrase=passphrase)
    with file.held():
        if not file.exists():
            file.write(_dump(_make(entropy, clock.now_ms() // 1000)))
        return Keys(_read(file.read()))


def rotate(home: Path, *, entropy: Entropy, clock: Clock, passphrase: str | None) -> Keys:
    """Let the next issuer key sign and publish a new next one; servers take it over when restarted.

    Raises trust.next_too_young, trust.ring_full, KeyStoreLocked, KeyStoreDamaged.
    """
    file = SealedFile(home, _FILE, entropy=entropy, passphrase=passphrase)
    with file.held():
        ring = rules.rotated(_read(file.read()), entropy.bytes(32), clock.now_ms() // 1000)
        file.write(_dump(ring))
        return Keys(ring)


def govern(
    home: Path, policies: tuple[Policy, ...], *, entropy: Entropy, passphrase: str | None
) -> tuple[Keys, bool]:
    """Have the bundle carry these policies; and whether they are new. Servers take it when restarted.

    Raises trust.policy, KeyStoreLocked, KeyStoreDamaged.
    """
    file = SealedFile(home, _FILE, entropy=entropy, passphrase=passphrase)
    with file.held():
        before = _read(file.read())
        ring = rules.governed(before, policies)
        if ring is not before:
            file.write(_dump(ring))
        return Keys(ring), ring is not before


def _make(entropy: Entropy, now_s: int) -> KeyRing:
    current, following = (
        rules.issuer_key(number, entropy.bytes(32), now_s, number * KEY_LIFE_S) for number in (1, 2)
    )
    return KeyRing(
        root_seed=entropy.bytes(32),
        nonce_secret=entropy.bytes(32),
        issuers=(current, following),
        current=current.kid,
        policies=MAXIMA,
        version=1,
    )


def _dump(ring: KeyRing) -> bytes:
    issuers = [
        [one.kid, one.seed, one.not_before, one.not_after, one.published_at] for one in ring.issuers
    ]
    policies = [policy_items(one) for one in ring.policies]
    return cbor2.dumps(
        [
            _FORMAT, ring.root_seed, ring.nonce_secret, issuers, ring.current, policies,
            ring.version,
        ]
    )  # fmt: skip


def _read(data: bytes) -> KeyRing:
    try:
        form, root_seed, nonce_secret, issuers, current, policies, version = cbor2.loads(data)
    except ValueError as error:
        raise KeyStoreDamaged("this key ring is of another release") from error
    if form != _FORMAT:
        raise KeyStoreDamaged("this key ring is of another release")
    return KeyRing(
        root_seed=root_seed,
        nonce_secret=nonce_secret,
        issuers=tuple(
            IssuerKey(kid=kid, seed=seed, not_before=start, not_after=end, published_at=published)
            for kid, seed, start, end, published in issuers
        ),
        current=current,
        policies=tuple(read_policy(one) for one in policies),
        version=version,
    )


async def check_nonce(reader: Reader, keys: Keys, nonce: bytes) -> int:
    """When a usable nonce ends (Unix s); raises trust.nonce_used. Cheap, before anything dear."""
    expires = keys.nonce_expiry(nonce)
    if (
        expires is None
        or reader.now_ms // 1000 >= expires
        or await store.is_used(reader, hashlib.sha256(nonce).digest())
    ):
        raise _nonce_used()
    return expires


async def use_nonce(work: Work, keys: Keys, nonce: bytes) -> None:
    """Use a nonce up; trust.nonce_used for one that is not ours, over, or used before."""
    expires = await check_nonce(work, keys, nonce)
    if not await store.use(work, hashlib.sha256(nonce).digest(), expires):
        raise _nonce_used()


def _nonce_used() -> DomainError:
    return conflict("trust.nonce_used", "this nonce is unknown, used or over: ask for a new one")

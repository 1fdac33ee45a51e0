"""Load or make the keys, sign for the issuer, hand out the bundle and one-use nonces."""

import fcntl
import hashlib
import hmac
from functools import cached_property
from pathlib import Path
from typing import Final

import cbor2
from nacl.signing import SigningKey

from devices.clock import Clock
from devices.entropy import Entropy
from devices.keystore.sealed import (
    CHEAPEST,
    INTERACTIVE,
    machine_passphrase,
    read_small,
    seal,
    unseal,
    write_durably,
)
from offline.codec import bundle_bytes
from offline.model import Algorithm, Bundle, BundleEntry
from offline.signing import bundle_message
from offline.wire import SignedBundle
from server_core.db.work import Work
from server_core.errors import conflict
from server_core.trust import store
from server_core.trust.model import (
    CLOCK_SLACK_S,
    KEY_LIFE_S,
    MAXIMA,
    NONCE_LIFE_S,
    USAGES,
    IssuerKey,
    KeyRing,
)

_FILE: Final = "trust.key"
_MACHINE: Final = "machine.key"


class Keys:
    """The ring, opened. `sign` is by the current issuer key, `kid` its name."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring
        self._root = SigningKey(ring.root_seed)
        self._issuer = SigningKey(ring.issuers[0].seed)

    @property
    def kid(self) -> bytes:
        return self._ring.issuers[0].kid

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
        entries = tuple(
            BundleEntry(
                kid=one.kid,
                alg=Algorithm.ED25519,
                key=bytes(SigningKey(one.seed).verify_key),
                usages=USAGES,
                not_before=one.not_before,
                not_after=one.not_after,
            )
            for one in self._ring.issuers
        )
        root_kid = hashlib.sha256(self.root_key).digest()[:2]
        raw = bundle_bytes(
            Bundle(version=self._ring.version, root_kid=root_kid, entries=entries, policies=MAXIMA)
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
    """Open the ring in `home`, made at the first start; 0600, sealed under the passphrase.

    Without one, under a machine key file beside it: that keeps a copied database or backup of the
    ring alone worthless, not a copied folder. Raises KeyStoreLocked, KeyStoreDamaged.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = home / _FILE
    with (home / "lock").open("w") as gate:  # two first starts at once make one ring
        fcntl.flock(gate, fcntl.LOCK_EX)
        if passphrase is None:
            secret, cost = machine_passphrase(home / _MACHINE, entropy), CHEAPEST
        else:
            secret, cost = passphrase.encode(), INTERACTIVE
        if not path.exists():
            ring = _make(entropy, clock.now_ms() // 1000)
            write_durably(path, seal(_dump(ring), secret, cost=cost, entropy=entropy))
    return Keys(_read(unseal(read_small(path), secret)))


def _make(entropy: Entropy, now_s: int) -> KeyRing:
    current, following = (
        IssuerKey(
            kid=number.to_bytes(2),
            seed=entropy.bytes(32),
            not_before=now_s - CLOCK_SLACK_S,
            not_after=now_s + number * KEY_LIFE_S,
        )
        for number in (1, 2)
    )
    return KeyRing(
        root_seed=entropy.bytes(32),
        nonce_secret=entropy.bytes(32),
        issuers=(current, following),
        version=1,
    )


def _dump(ring: KeyRing) -> bytes:
    issuers = [[one.kid, one.seed, one.not_before, one.not_after] for one in ring.issuers]
    return cbor2.dumps([ring.root_seed, ring.nonce_secret, issuers, ring.version])


def _read(data: bytes) -> KeyRing:
    root_seed, nonce_secret, issuers, version = cbor2.loads(data)
    return KeyRing(
        root_seed=root_seed,
        nonce_secret=nonce_secret,
        issuers=tuple(
            IssuerKey(kid=kid, seed=seed, not_before=start, not_after=end)
            for kid, seed, start, end in issuers
        ),
        version=version,
    )


async def use_nonce(work: Work, keys: Keys, nonce: bytes) -> None:
    """Use a nonce up; trust.nonce_used for one that is not ours, over, or used before."""
    expires = keys.nonce_expiry(nonce)
    if (
        expires is None
        or work.now_ms // 1000 >= expires
        or not await store.use(work, nonce, expires)
    ):
        raise conflict("trust.nonce_used", "this nonce is unknown, used or over: ask for a new one")

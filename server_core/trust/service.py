"""Load or make the keys, sign for the issuer, hand out the bundle and one-use nonces."""

import hashlib
import hmac
from functools import cached_property
from pathlib import Path
from typing import Final

from devices.clock import Clock
from devices.entropy import Entropy
from devices.keystore.sealed_file import SealedFile
from offline.codec import bundle_bytes
from offline.model import Algorithm, Bundle, BundleEntry, Policy
from offline.signing import bundle_message
from offline.wire import SignedBundle
from server_core.db.work import Reader, Work
from server_core.errors import DomainError, conflict
from server_core.trust import ring, rules, store
from server_core.trust.holders import Holder, holder_of
from server_core.trust.model import (
    NONCE_LIFE_S,
    RETIRED_USAGES,
    USAGES,
    IssuerToken,
    KeyRing,
)

_FILE: Final = "trust.key"


class Keys:
    """The ring, opened. `sign` is by the current issuer key, `kid` its name.

    `bundle` holds every issuer key and the maxima, signed by the root.
    """

    def __init__(self, held: KeyRing, holder: Holder) -> None:
        self._ring = held
        self._current = next(one for one in held.issuers if one.kid == held.current)
        self._issuer = holder.opened(self._current.key)
        self.bundle: Final = _bundle(held, holder)

    @property
    def kid(self) -> bytes:
        return self._current.kid

    @property
    def not_after(self) -> int:
        """When the current key ends (Unix s): nothing that it signs may be needed longer."""
        return self._current.not_after

    @property
    def root_key(self) -> bytes:
        return self._ring.root.public

    @cached_property
    def fingerprint(self) -> str:
        """What a pairing code carries, so that the agent knows the root before it hears of it."""
        return hashlib.sha256(self.root_key).hexdigest()[:32]

    @property
    def on_token(self) -> frozenset[bytes]:
        """The kids whose keys lie on a token, for who operates."""
        return frozenset(one.kid for one in self._ring.issuers if one.key.label)

    @property
    def root_on_token(self) -> bool:
        return bool(self._ring.root.label)

    async def sign(self, message: bytes) -> bytes:
        """Raises trust.token_away."""
        return await self._issuer.sign_soon(message)

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


def _bundle(held: KeyRing, holder: Holder) -> SignedBundle:
    signing = next(i for i, one in enumerate(held.issuers) if one.kid == held.current)
    entries = tuple(
        BundleEntry(
            kid=one.kid,
            alg=Algorithm.ED25519,
            key=one.key.public,
            usages=RETIRED_USAGES if place < signing else USAGES,
            not_before=one.not_before,
            not_after=one.not_after,
        )
        for place, one in enumerate(held.issuers)
    )
    root_kid = hashlib.sha256(held.root.public).digest()[:2]
    raw = bundle_bytes(
        Bundle(version=held.version, root_kid=root_kid, entries=entries, policies=held.policies)
    )
    signature = holder.opened(held.root).sign(bundle_message(root_kid, raw))
    return SignedBundle.of(root_kid, raw, signature)


def load(
    home: Path,
    *,
    entropy: Entropy,
    clock: Clock,
    passphrase: str | None,
    token: IssuerToken | None = None,
) -> Keys:
    """Open the ring in `home`, made at the first start; sealed as SealedFile says.

    With a token new keys are made on it; those that the ring has stay where they are. Raises
    KeyStoreLocked, KeyStoreDamaged, KeyStoreError, trust.token_away.
    """
    file = SealedFile(home, _FILE, entropy=entropy, passphrase=passphrase)
    holder = holder_of(token, entropy)
    with file.held():
        if not file.exists():
            file.write(ring.dump(ring.first(holder, entropy, clock.now_ms() // 1000)))
        return Keys(ring.read(file.read()), holder)


def rotate(
    home: Path,
    *,
    entropy: Entropy,
    clock: Clock,
    passphrase: str | None,
    token: IssuerToken | None = None,
) -> Keys:
    """Let the next issuer key sign and publish a new next one; servers take it over when restarted.

    Raises trust.next_too_young, trust.ring_full, and what `load` raises.
    """
    file = SealedFile(home, _FILE, entropy=entropy, passphrase=passphrase)
    holder, now_s = holder_of(token, entropy), clock.now_ms() // 1000
    with file.held():
        before = ring.read(file.read())
        rules.check_rotation(before, now_s)
        after = rules.rotated(before, holder.make("issuer"), now_s)
        opened = Keys(after, holder)  # what cannot be opened is not written
        file.write(ring.dump(after))
        return opened


def govern(
    home: Path,
    policies: tuple[Policy, ...],
    *,
    entropy: Entropy,
    passphrase: str | None,
    token: IssuerToken | None = None,
) -> tuple[Keys, bool]:
    """Have the bundle carry these policies; and whether they are new. Servers take it when restarted.

    Raises trust.policy, and what `load` raises.
    """
    file = SealedFile(home, _FILE, entropy=entropy, passphrase=passphrase)
    with file.held():
        before = ring.read(file.read())
        after = rules.governed(before, policies)
        opened = Keys(after, holder_of(token, entropy))
        if after is not before:
            file.write(ring.dump(after))
        return opened, after is not before


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

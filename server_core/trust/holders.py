"""Where the root key and the issuer's keys lie: seeds in the sealed ring, or keys of a PKCS#11 token."""

from typing import Protocol

from nacl.signing import SigningKey

from devices.entropy import Entropy
from devices.keystore.port import KeyStoreError, KeyStoreLocked
from server_core.trust.model import HeldKey, IssuerToken


class Signer(Protocol):
    """One Ed25519 key, opened."""

    def sign(self, message: bytes) -> bytes:
        """Sign, however long it takes. Raises trust.token_away."""
        ...

    async def sign_soon(self, message: bytes) -> bytes:
        """Sign without making other tasks wait. Raises trust.token_away."""
        ...


class Holder(Protocol):
    """Makes keys and opens them."""

    def make(self, name: str) -> HeldKey: ...

    def opened(self, key: HeldKey) -> Signer:
        """Raises KeyStoreLocked, KeyStoreDamaged, KeyStoreError."""
        ...


class SeedSigner:
    """A key in memory."""

    __slots__ = ("_key",)

    def __init__(self, seed: bytes) -> None:
        self._key = SigningKey(seed)

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message).signature

    async def sign_soon(self, message: bytes) -> bytes:
        return self.sign(message)


class RingHolder:
    """Keys are seeds in the ring itself."""

    __slots__ = ("_entropy",)

    def __init__(self, entropy: Entropy) -> None:
        self._entropy = entropy

    def make(self, name: str) -> HeldKey:  # noqa: ARG002 - a seed needs no name
        seed = self._entropy.bytes(32)
        return HeldKey(seed=seed, public=bytes(SigningKey(seed).verify_key))

    def opened(self, key: HeldKey) -> Signer:
        if key.label:
            raise KeyStoreLocked(
                f"the key {key.label} lies on a token: set HUNDI_ISSUER_PKCS11_MODULE, _TOKEN and"
                " _PIN_FILE"
            )
        return SeedSigner(key.seed)


def holder_of(token: IssuerToken | None, entropy: Entropy) -> Holder:
    """What makes and opens the ring's keys here. Raises KeyStoreError when PKCS#11 is not installed."""
    if token is None:
        return RingHolder(entropy)
    try:
        from server_core.trust.tokens import TokenHolder  # noqa: PLC0415
    except ImportError as error:
        raise KeyStoreError(
            "the issuer's keys on a token need the extra: pip install 'hundi[pkcs11]'"
        ) from error
    return TokenHolder(token, entropy)

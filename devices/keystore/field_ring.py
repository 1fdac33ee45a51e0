"""The ring of field keys: data keys wrapped by a master key, one current, the older ones to open only."""

from dataclasses import dataclass, replace
from typing import Final, Protocol

import cbor2
from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
)
from nacl.exceptions import CryptoError

from devices.entropy import Entropy
from devices.keystore.port import KeyStoreDamaged, KeyStoreError

KEY_SIZE: Final = 32
KID_SIZE: Final = 4
NONCE_SIZE: Final = 24
RING_MAX: Final = 100

_FORMAT: Final = "hundi-fields"
_VERSION: Final = 1
_WRAP: Final = b"hundi-wrap-1"


class FieldRingFull(KeyStoreError):  # noqa: N818
    """The ring holds as many keys as it may; none can be let go while a value may name it."""

    code = "keystore.ring_full"


class MasterKey(Protocol):
    """The key-encryption key: it wraps and unwraps data keys of 32 bytes and does nothing else.

    That little, so that it may be a key in a PKCS#11 token that never leaves it (C_WrapKey).
    """

    def wrap(self, key: bytes) -> bytes: ...

    def unwrap(self, wrapped: bytes) -> bytes:
        """Give the data key back; KeyStoreDamaged when this master did not wrap it."""
        ...


class SoftwareMasterKey:
    """A master key in memory; at rest it lies in the sealed file, beside what it wraps."""

    __slots__ = ("_entropy", "_key")

    def __init__(self, key: bytes, entropy: Entropy) -> None:
        self._key = key
        self._entropy = entropy

    def wrap(self, key: bytes) -> bytes:
        nonce = self._entropy.bytes(NONCE_SIZE)
        return nonce + crypto_aead_xchacha20poly1305_ietf_encrypt(key, _WRAP, nonce, self._key)

    def unwrap(self, wrapped: bytes) -> bytes:
        nonce, body = wrapped[:NONCE_SIZE], wrapped[NONCE_SIZE:]
        try:
            key = crypto_aead_xchacha20poly1305_ietf_decrypt(body, _WRAP, nonce, self._key)
        except (CryptoError, ValueError) as error:
            raise KeyStoreDamaged("the master key did not wrap this key") from error
        if len(key) != KEY_SIZE:
            raise KeyStoreDamaged("a wrapped key has a wrong length")
        return key


@dataclass(frozen=True, slots=True, kw_only=True)
class DataKey:
    """One data key as it is kept: its 4-byte id (chance), wrapped, and when it was made (Unix s)."""

    kid: bytes
    wrapped: bytes
    made_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldRing:
    """Every data key, oldest first, the last one current; and the wrapped key of blind indexes."""

    keys: tuple[DataKey, ...]
    index: bytes

    @property
    def current(self) -> DataKey:
        return self.keys[-1]


def new_ring(master: MasterKey, entropy: Entropy, now_s: int) -> FieldRing:
    empty = FieldRing(keys=(), index=master.wrap(entropy.bytes(KEY_SIZE)))
    return rotated(empty, master, entropy, now_s)


def rotated(ring: FieldRing, master: MasterKey, entropy: Entropy, now_s: int) -> FieldRing:
    """Add a key that seals from now on. Raises FieldRingFull.

    The id is chance and not a count: a value of another home's ring is then known to be foreign,
    and is not mistaken for a damaged one of ours.
    """
    if len(ring.keys) >= RING_MAX:
        raise FieldRingFull(f"the ring holds {RING_MAX} keys, and no more: rotate less often")
    taken = {one.kid for one in ring.keys}
    kid = entropy.bytes(KID_SIZE)
    while kid in taken:
        kid = entropy.bytes(KID_SIZE)
    made = DataKey(kid=kid, wrapped=master.wrap(entropy.bytes(KEY_SIZE)), made_at=now_s)
    return replace(ring, keys=(*ring.keys, made))


def dump(ring: FieldRing, master: bytes) -> bytes:
    """Write the ring and the software master as CBOR `[format, version, master, index, keys]`."""
    keys = [[one.kid, one.wrapped, one.made_at] for one in ring.keys]
    return cbor2.dumps([_FORMAT, _VERSION, master, ring.index, keys], canonical=True)


def read(data: bytes) -> tuple[FieldRing, bytes]:
    """Read what `dump` wrote: the ring and the master's 32 bytes; anything else is damage."""
    try:
        form, version, master, index, rows = cbor2.loads(data)
        keys = tuple(DataKey(kid=kid, wrapped=wrapped, made_at=at) for kid, wrapped, at in rows)
    except (cbor2.CBORDecodeError, ValueError, TypeError) as error:
        raise KeyStoreDamaged("this is no ring of field keys") from error
    octets = [master, index, *(part for one in keys for part in (one.kid, one.wrapped))]
    sane = (
        (form, version) == (_FORMAT, _VERSION)
        and all(isinstance(one, bytes) for one in octets)
        and len(master) == KEY_SIZE
        and 0 < len(keys) <= RING_MAX
        and all(len(one.kid) == KID_SIZE and type(one.made_at) is int for one in keys)
        and len({one.kid for one in keys}) == len(keys)
    )
    if not sane:
        raise KeyStoreDamaged("this is no ring of field keys of a version known here")
    return FieldRing(keys=keys, index=index), master

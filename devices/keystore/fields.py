"""Fields sealed at rest: what a table must not hold in clear, under envelope keys that rotate.

A sealed value is `version (1) · key id (4) · nonce (24) · ciphertext · tag (16)`, XChaCha20-Poly1305
(draft-irtf-cfrg-xchacha) with the first five bytes and the context as associated data. XChaCha and
not AES-GCM, because its 24-byte nonce may be chance for any number of values under one key, where
GCM's 12 bytes allow some 2³²; and it is as fast without AES instructions. The length of the plain
text shows.
"""

import hashlib
import hmac
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
)
from nacl.exceptions import CryptoError

from devices.clock import Clock
from devices.entropy import Entropy
from devices.keystore import field_ring
from devices.keystore.field_ring import (
    KEY_SIZE,
    KID_SIZE,
    NONCE_SIZE,
    FieldRing,
    MasterKey,
    SoftwareMasterKey,
)
from devices.keystore.port import KeyStoreError
from devices.keystore.sealed_file import SealedFile

_TRY_AGAIN_AFTER: Final = 20
"""Uses of the keys until a ring that could not be read is read again: each reading costs Argon2."""

PLAIN_MAX: Final = 64 * 1024
CONTEXT_MAX: Final = 1024
_VERSION: Final = b"\x01"
_HEADER: Final = len(_VERSION) + KID_SIZE
OVERHEAD: Final = _HEADER + NONCE_SIZE + 16
"""How many bytes longer than its plain text a sealed value is."""
_FILE: Final = "fields.key"
_PURPOSE_MAX: Final = 64


class FieldDamaged(KeyStoreError):  # noqa: N818
    """The value was altered, was sealed for another place, or is no sealed value."""

    code = "keystore.field_damaged"


class FieldKeyUnknown(KeyStoreError):  # noqa: N818
    """The value names a key that this ring does not hold: it is of another home, or the ring is old."""

    code = "keystore.field_key_unknown"


class FieldTooLong(KeyStoreError):  # noqa: N818
    """More than 64 KiB are no field."""

    code = "keystore.field_too_long"


class FieldKeys(Protocol):
    """Seals single fields of rows. `context` names the place (see `place`); never empty."""

    def seal(self, plain: bytes, *, context: bytes) -> bytes:
        """Encrypt up to 64 KiB for this place, under the current key. Raises FieldTooLong."""
        ...

    def open(self, sealed: bytes, *, context: bytes) -> bytes:
        """Decrypt what was sealed for this place. Raises FieldDamaged, FieldKeyUnknown."""
        ...

    def is_stale(self, sealed: bytes) -> bool:
        """Say whether a retired key sealed it: seal it again when it is touched."""
        ...

    def blind(self, plain: bytes, *, purpose: str) -> bytes:
        """Give 32 bytes, equal for equal inputs of one purpose: the index of a sealed column.

        The caller brings the input to one form first (E.164, lower case): equality is of bytes.
        """
        ...


def place(table: str, column: str, row: bytes) -> bytes:
    """Name one field as a context: a value that is moved to another row or column does not open."""
    parts = (table.encode(), column.encode(), row)
    return b"".join(len(part).to_bytes(2) + part for part in parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    """The ring with its keys unwrapped."""

    ring: FieldRing
    data: dict[bytes, bytes]
    index: bytes

    @classmethod
    def of(cls, ring: FieldRing, master: MasterKey) -> "_Opened":
        data = {one.kid: master.unwrap(one.wrapped) for one in ring.keys}
        return cls(ring=ring, data=data, index=master.unwrap(ring.index))


class SoftwareFieldKeys:
    """The field keys of a home, opened. A rotation by another process is seen at the next use.

    Blind indexes stand on a key of their own, which does not rotate: an index finds a row only
    while every row was indexed under one key. Were it to change, a second column would be filled
    beside the first from the opened fields, under a new key, and the search moved over to it.
    """

    __slots__ = ("_entropy", "_file", "_opened", "_seen", "_wait")

    def __init__(self, file: SealedFile, opened: _Opened, entropy: Entropy) -> None:
        self._file = file
        self._opened = opened
        self._entropy = entropy
        self._seen = file.identity()
        self._wait = 0

    @property
    def ring(self) -> FieldRing:
        """Every key with its age, for who operates; wrapped, so nothing secret is in it."""
        return self._opened.ring

    def seal(self, plain: bytes, *, context: bytes) -> bytes:
        """Encrypt; see FieldKeys."""
        if len(plain) > PLAIN_MAX:
            raise FieldTooLong(f"a field holds at most {PLAIN_MAX} bytes")
        self._follow()
        kid = self._opened.ring.current.kid
        header, nonce = _VERSION + kid, self._entropy.bytes(NONCE_SIZE)
        return (
            header
            + nonce
            + crypto_aead_xchacha20poly1305_ietf_encrypt(
                plain, _associated(header, context), nonce, self._opened.data[kid]
            )
        )

    def open(self, sealed: bytes, *, context: bytes) -> bytes:
        """Decrypt; see FieldKeys."""
        header, nonce = sealed[:_HEADER], sealed[_HEADER : _HEADER + NONCE_SIZE]
        kid = _kid(sealed)
        if kid not in self._opened.data:
            self._follow()
        key = self._opened.data.get(kid)
        if key is None:
            raise FieldKeyUnknown(f"no field key {kid.hex()}: is this the ring of this database?")
        try:
            return crypto_aead_xchacha20poly1305_ietf_decrypt(
                sealed[_HEADER + NONCE_SIZE :], _associated(header, context), nonce, key
            )
        except CryptoError:
            # The library's error says no more, and no trace should carry the bytes along.
            raise FieldDamaged("altered, or sealed for another place") from None

    def is_stale(self, sealed: bytes) -> bool:
        """Say whether a retired key sealed it. Raises FieldDamaged for what is no sealed value."""
        self._follow()
        return not hmac.compare_digest(_kid(sealed), self._opened.ring.current.kid)

    def blind(self, plain: bytes, *, purpose: str) -> bytes:
        """HMAC-SHA256 under a key derived for the purpose (HKDF, RFC 5869); see FieldKeys."""
        if len(plain) > PLAIN_MAX:
            raise FieldTooLong(f"a field holds at most {PLAIN_MAX} bytes")
        if not 0 < len(purpose) <= _PURPOSE_MAX:
            raise ValueError("an index needs a purpose")
        info = b"hundi-blind-1:" + purpose.encode()
        key = HKDFExpand(algorithm=SHA256(), length=KEY_SIZE, info=info).derive(self._opened.index)
        return hmac.digest(key, plain, hashlib.sha256)

    def _follow(self) -> None:
        """Take over a ring that another process wrote: one stat, and one reading a change.

        A file that cannot be opened now is left alone: the keys in memory still open all that they
        sealed, and `hundi keys status` and the next start say what is wrong with it.
        """
        found = self._file.identity()
        if found == self._seen or self._wait > 0:
            self._wait -= found != self._seen
            return
        try:
            opened = _read(self._file, self._entropy)
        except KeyStoreError:
            self._wait = _TRY_AGAIN_AFTER
            return
        self._seen = found
        # Not a ring that has lost a key which values are sealed under, nor another home's.
        if opened.index == self._opened.index and opened.data.keys() >= self._opened.data.keys():
            self._opened = opened


def is_made(home: Path) -> bool:
    """Say whether `home` holds a ring: what only looks must not make one."""
    return (home / _FILE).exists()


def load(
    home: Path, *, entropy: Entropy, clock: Clock, passphrase: str | None
) -> SoftwareFieldKeys:
    """Open the ring in `home`, made at the first start. Raises KeyStoreLocked, KeyStoreDamaged."""
    file = SealedFile(home, _FILE, entropy=entropy, passphrase=passphrase)
    with file.held():
        if not file.exists():
            master = entropy.bytes(KEY_SIZE)
            made = field_ring.new_ring(
                SoftwareMasterKey(master, entropy), entropy, clock.now_ms() // 1000
            )
            file.write(field_ring.dump(made, master))
        return SoftwareFieldKeys(file, _read(file, entropy), entropy)


def rotate(
    home: Path, *, entropy: Entropy, clock: Clock, passphrase: str | None
) -> SoftwareFieldKeys:
    """Let a new key seal from now on; the older ones still open. Running servers follow.

    Raises FieldRingFull, KeyStoreLocked, and KeyStoreDamaged where there is no ring yet.
    """
    file = SealedFile(home, _FILE, entropy=entropy, passphrase=passphrase)
    with file.held():
        ring, master = field_ring.read(file.read())
        following = field_ring.rotated(
            ring, SoftwareMasterKey(master, entropy), entropy, clock.now_ms() // 1000
        )
        file.write(field_ring.dump(following, master))
        return SoftwareFieldKeys(file, _read(file, entropy), entropy)


def _read(file: SealedFile, entropy: Entropy) -> _Opened:
    ring, master = field_ring.read(file.read())
    return _Opened.of(ring, SoftwareMasterKey(master, entropy))


def _kid(sealed: bytes) -> bytes:
    if len(sealed) < OVERHEAD or len(sealed) > PLAIN_MAX + OVERHEAD or sealed[:1] != _VERSION:
        raise FieldDamaged("not a sealed field of a version known here")
    return bytes(sealed[1:_HEADER])


def _associated(header: bytes, context: bytes) -> bytes:
    if not 0 < len(context) <= CONTEXT_MAX:
        raise ValueError("a sealed field needs its place as context")
    return header + context

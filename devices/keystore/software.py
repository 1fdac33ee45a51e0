"""The software key store: an Ed25519 key in a sealed file and counters written before any signature leaves.

What it gives: a thief of the files needs the passphrase, and a crash never gives one counter two
payloads. What it cannot give: whoever copies the whole folder and knows the passphrase (or finds the
machine key beside it) has a clone that signs the same counters again, and an old copy of the counter
file is a rollback that this store cannot see. Only hardware can. Hence the lowest tier and its caps.
"""

from pathlib import Path
from typing import Final, Self

import nacl.exceptions
import nacl.hash
import nacl.secret
import nacl.signing
from nacl.encoding import RawEncoder

from devices.entropy import Entropy, SystemEntropy
from devices.keystore.counters import Counters
from devices.keystore.port import KeyStoreDamaged, KeyStoreError, Tier, check_plain_payload
from devices.keystore.sealed import (
    INTERACTIVE,
    SealCost,
    read_small,
    seal,
    unseal,
    write_durably,
)
from offline.model import Algorithm

_KEY_FILE: Final = "key.sealed"


class SoftwareKeyStore:
    """One key in one folder. Several processes may hold it open: each signature takes the folder's lock."""

    __slots__ = ("_box", "_counters", "_entropy", "_key")

    def __init__(self, folder: Path, key: nacl.signing.SigningKey, entropy: Entropy) -> None:
        self._key = key
        self._entropy = entropy
        # The counters are sealed under a key of their own, so that argon2 is paid once, at opening.
        self._box = nacl.secret.SecretBox(
            nacl.hash.blake2b(
                b"counters",
                digest_size=nacl.secret.SecretBox.KEY_SIZE,
                key=bytes(key),
                encoder=RawEncoder,
            )
        )
        self._counters = Counters(folder, seal=self._seal, unseal=self._unseal)

    @classmethod
    def create(
        cls,
        folder: Path,
        passphrase: bytes,
        *,
        cost: SealCost = INTERACTIVE,
        entropy: Entropy | None = None,
    ) -> Self:
        """Make a new key in a folder that holds none."""
        source = entropy if entropy is not None else SystemEntropy()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if (folder / _KEY_FILE).exists():
            raise KeyStoreError("this folder already holds a key")
        store = cls(folder, nacl.signing.SigningKey(source.bytes(32)), source)
        # Counters first: a key file without them would look like a deleted counter.
        store._counters.begin()
        write_durably(
            folder / _KEY_FILE, seal(bytes(store._key), passphrase, cost=cost, entropy=source)
        )
        return store

    @classmethod
    def open(cls, folder: Path, passphrase: bytes, *, entropy: Entropy | None = None) -> Self:
        """Open the key of a folder; its counters must be there and be its own."""
        seed = unseal(read_small(folder / _KEY_FILE), passphrase)
        if len(seed) != 32:
            raise KeyStoreDamaged("the sealed key has a wrong length")
        source = entropy if entropy is not None else SystemEntropy()
        store = cls(folder, nacl.signing.SigningKey(seed), source)
        store._counters.read()
        return store

    @staticmethod
    def exists(folder: Path) -> bool:
        return (folder / _KEY_FILE).exists()

    @property
    def algorithm(self) -> Algorithm:
        return Algorithm.ED25519

    @property
    def tier(self) -> Tier:
        return Tier.SOFTWARE

    def public_key(self) -> bytes:
        return bytes(self._key.verify_key)

    def counter(self, scope: bytes) -> int:
        return self._counters.at(scope)

    def sign(self, counter: int, payload: bytes) -> bytes:
        self._counters.take(counter, payload)
        return bytes(self._key.sign(payload).signature)

    def sign_plain(self, payload: bytes) -> bytes:
        check_plain_payload(payload)
        return bytes(self._key.sign(payload).signature)

    def _seal(self, rows: bytes) -> bytes:
        return bytes(self._box.encrypt(rows, self._entropy.bytes(nacl.secret.SecretBox.NONCE_SIZE)))

    def _unseal(self, data: bytes) -> bytes:
        try:
            return bytes(self._box.decrypt(data))
        except nacl.exceptions.CryptoError as e:
            raise ValueError("not sealed under this key") from e

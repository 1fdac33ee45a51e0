"""The software key store: an Ed25519 key in a sealed file and counters written before any signature leaves.

What it gives: a thief of the files needs the passphrase, and a crash never gives one counter two
payloads. What it cannot give: whoever copies the whole folder and knows the passphrase (or finds the
machine key beside it) has a clone that signs the same counters again, and an old copy of the counter
file is a rollback that this store cannot see. Only hardware can. Hence the lowest tier and its caps.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

import cbor2
import nacl.exceptions
import nacl.hash
import nacl.secret
import nacl.signing
from nacl.encoding import RawEncoder

from devices.entropy import Entropy, SystemEntropy
from devices.keystore.port import (
    CounterRefused,
    CounterState,
    KeyStoreDamaged,
    KeyStoreError,
    Tier,
    advance,
    check_plain_payload,
    read_voucher_payload,
)
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
_COUNTER_FILE: Final = "counters.sealed"
_LOCK_FILE: Final = "lock"


class SoftwareKeyStore:
    """One key in one folder. Several processes may hold it open: each signature takes the folder's lock."""

    __slots__ = ("_box", "_entropy", "_folder", "_key")

    def __init__(self, folder: Path, key: nacl.signing.SigningKey, entropy: Entropy) -> None:
        self._folder = folder
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
        store._write_counters({})
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
        store._read_counters()
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
        stored = self._read_counters().get(scope)
        return stored.counter if stored is not None else 0

    def sign(self, counter: int, payload: bytes) -> bytes:
        read = read_voucher_payload(payload)
        if read.counter != counter:
            raise CounterRefused(f"the payload says counter {read.counter}, the call {counter}")
        with self._locked():
            counters = self._read_counters()
            following = advance(counters.get(read.scope), counter, payload)
            if following is not None:
                self._write_counters({**counters, read.scope: following})
        return bytes(self._key.sign(payload).signature)

    def sign_plain(self, payload: bytes) -> bytes:
        check_plain_payload(payload)
        return bytes(self._key.sign(payload).signature)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        handle = os.open(self._folder / _LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _read_counters(self) -> dict[bytes, CounterState]:
        data = read_small(self._folder / _COUNTER_FILE)
        try:
            rows = cbor2.loads(self._box.decrypt(data))
            return {
                scope: CounterState(counter=counter, payload_hash=digest)
                for scope, counter, digest in rows
            }
        except (nacl.exceptions.CryptoError, cbor2.CBORDecodeError, ValueError, TypeError) as e:
            raise KeyStoreDamaged("the counters are not this key's") from e

    def _write_counters(self, counters: dict[bytes, CounterState]) -> None:
        rows = [[scope, c.counter, c.payload_hash] for scope, c in sorted(counters.items())]
        nonce = self._entropy.bytes(nacl.secret.SecretBox.NONCE_SIZE)
        sealed = self._box.encrypt(cbor2.dumps(rows, canonical=True), nonce)
        write_durably(self._folder / _COUNTER_FILE, bytes(sealed))

"""The journal's own key: signs tree heads and nothing else."""

from pathlib import Path
from typing import Final

from nacl.signing import SigningKey

from devices.entropy import Entropy
from devices.keystore.sealed_file import SealedFile

_FILE: Final = "journal.key"


class JournalKey:
    """An Ed25519 key; `public` is what a receipt is checked with."""

    __slots__ = ("_key", "public")

    def __init__(self, seed: bytes) -> None:
        self._key = SigningKey(seed)
        self.public = bytes(self._key.verify_key)

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message).signature


def load(folder: Path, *, entropy: Entropy, passphrase: str | None) -> JournalKey:
    """Open the key in the keys folder, made at the first start; sealed as SealedFile says.

    Raises KeyStoreLocked, KeyStoreDamaged.
    """
    file = SealedFile(folder, _FILE, entropy=entropy, passphrase=passphrase)
    with file.held():
        if not file.exists():
            file.write(entropy.bytes(32))
        return JournalKey(file.read())

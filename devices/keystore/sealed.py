"""Secrets at rest: argon2id and secretbox round a small file, written so that a power cut keeps one version."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cbor2
import nacl.exceptions
import nacl.pwhash
import nacl.secret

from devices.entropy import Entropy
from devices.keystore.port import KeyStoreDamaged, KeyStoreLocked

_FORMAT: Final = "hundi-sealed"
_VERSION: Final = 1
# A hostile file must not make us spend gigabytes before we can say that it is foreign.
_MEMORY_MAX: Final = 1 << 30
_OPS_MAX: Final = 16
_FILE_MAX: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class SealCost:
    """How dear one guess at the passphrase is (argon2id's time and memory)."""

    ops: int
    memory_bytes: int


INTERACTIVE: Final = SealCost(
    ops=nacl.pwhash.argon2id.OPSLIMIT_INTERACTIVE,
    memory_bytes=nacl.pwhash.argon2id.MEMLIMIT_INTERACTIVE,
)
CHEAPEST: Final = SealCost(
    ops=nacl.pwhash.argon2id.OPSLIMIT_MIN, memory_bytes=nacl.pwhash.argon2id.MEMLIMIT_MIN
)


def seal(secret: bytes, passphrase: bytes, *, cost: SealCost, entropy: Entropy) -> bytes:
    """Encrypt a secret under a passphrase; the cost and the salt travel in the clear."""
    salt = entropy.bytes(nacl.pwhash.argon2id.SALTBYTES)
    box = nacl.secret.SecretBox(_derive(passphrase, salt, cost))
    sealed = box.encrypt(secret, entropy.bytes(nacl.secret.SecretBox.NONCE_SIZE))
    return cbor2.dumps(
        [_FORMAT, _VERSION, cost.ops, cost.memory_bytes, salt, bytes(sealed)], canonical=True
    )


def unseal(data: bytes, passphrase: bytes) -> bytes:
    """Decrypt what `seal` made; KeyStoreLocked on a wrong passphrase, KeyStoreDamaged on another file."""
    try:
        form, version, ops, memory, salt, sealed = cbor2.loads(data)
    except Exception as e:  # whatever the decoder throws, the file is not ours
        raise KeyStoreDamaged("not a sealed file") from e
    sane = (
        form == _FORMAT
        and version == _VERSION
        and type(ops) is int
        and 0 < ops <= _OPS_MAX
        and type(memory) is int
        and 0 < memory <= _MEMORY_MAX
        and isinstance(salt, bytes)
        and len(salt) == nacl.pwhash.argon2id.SALTBYTES
        and isinstance(sealed, bytes)
    )
    if not sane:
        raise KeyStoreDamaged("not a sealed file of a version known here")
    key = _derive(passphrase, salt, SealCost(ops=ops, memory_bytes=memory))
    try:
        return nacl.secret.SecretBox(key).decrypt(sealed)
    except nacl.exceptions.CryptoError as e:
        raise KeyStoreLocked(
            "the passphrase does not open this key, or the file was altered"
        ) from e


def _derive(passphrase: bytes, salt: bytes, cost: SealCost) -> bytes:
    try:
        return nacl.pwhash.argon2id.kdf(
            nacl.secret.SecretBox.KEY_SIZE,
            passphrase,
            salt,
            opslimit=cost.ops,
            memlimit=cost.memory_bytes,
        )
    except nacl.exceptions.CryptoError as e:
        raise KeyStoreDamaged("the sealed file asks for a cost that cannot be met") from e


def write_durably(path: Path, data: bytes) -> None:
    """Replace a file so that after a power cut either the old or the new version stands, mode 0600."""
    temporary = path.with_name(path.name + ".new")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.fchmod(handle, 0o600)
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]
        os.fsync(handle)
    finally:
        os.close(handle)
    temporary.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename inside a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_small(path: Path) -> bytes:
    """Read a key store's file; a missing or absurdly large one is damage."""
    try:
        if path.stat().st_size > _FILE_MAX:
            raise KeyStoreDamaged(f"{path.name} is too large to be ours")
        return path.read_bytes()
    except OSError as e:
        raise KeyStoreDamaged(f"{path.name} cannot be read") from e


def machine_passphrase(path: Path, entropy: Entropy) -> bytes:
    """Give the passphrase of an unattended machine from a 0600 file, making it at first use.

    It lies beside what it opens: it keeps the key out of a single leaked file and nothing more.
    """
    if not path.exists():
        write_durably(path, entropy.bytes(32).hex().encode())
    with contextlib.suppress(OSError):
        path.chmod(0o600)
    return read_small(path).strip()

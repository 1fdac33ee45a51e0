"""One secret in one sealed file of a keys folder: held by one process at a time, written durably.

The trust ring and the ring of field keys lie this way beside each other in `.hundi/keys`, under the
same passphrase or machine key and the same lock.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from devices.entropy import Entropy
from devices.keystore.port import KeyStoreError
from devices.keystore.sealed import (
    CHEAPEST,
    INTERACTIVE,
    machine_passphrase,
    read_small,
    seal,
    sync_folder,
    unseal,
    write_durably,
)

_MACHINE: Final = "machine.key"
_LOCK: Final = "lock"


class SealedFile:
    """A file `name` in `folder`, mode 0600 in a folder of 0700.

    Sealed under the passphrase; without one, under a machine key file beside it: that keeps a
    copied database or backup of this file alone worthless, not a copied folder.
    """

    __slots__ = ("_entropy", "_folder", "_passphrase", "_path")

    def __init__(
        self, folder: Path, name: str, *, entropy: Entropy, passphrase: str | None
    ) -> None:
        self._folder = folder
        self._path = folder / name
        self._entropy = entropy
        self._passphrase = passphrase

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder's lock, making the folder: two first starts at once make one secret.

        Not re-entrant. Raises KeyStoreError when the folder cannot be made or written.
        """
        try:
            if not self._folder.is_dir():
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                # The secret's folder must outlive a power cut as surely as what is sealed under it.
                sync_folder(self._folder.parent)
            handle = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise KeyStoreError(f"the keys folder {self._folder} cannot be used") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def exists(self) -> bool:
        return self._path.exists()

    def identity(self) -> tuple[int, int, int] | None:
        """Give what changes whenever the file is replaced (inode, mtime in ns, size); None if gone.

        Cheap, so that a running server may ask each time whether another process wrote.
        """
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def read(self) -> bytes:
        """Give the secret. Raises KeyStoreLocked on a wrong passphrase, KeyStoreDamaged."""
        data = read_small(self._path)
        if self._passphrase is None:
            # Read and never made: a new machine key would open nothing and hide that one is lost.
            return unseal(data, read_small(self._folder / _MACHINE).strip())
        return unseal(data, self._passphrase.encode())

    def write(self, secret: bytes) -> None:
        """Replace the secret; after a power cut either the old or the new one stands. While held."""
        if self._passphrase is None:
            passphrase, cost = machine_passphrase(self._folder / _MACHINE, self._entropy), CHEAPEST
        else:
            passphrase, cost = self._passphrase.encode(), INTERACTIVE
        write_durably(self._path, seal(secret, passphrase, cost=cost, entropy=self._entropy))

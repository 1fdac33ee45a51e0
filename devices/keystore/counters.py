"""The counters of one key in one file: each is on disk before a signature with it leaves."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import cbor2

from devices.keystore.port import (
    CounterRefused,
    CounterState,
    KeyStoreDamaged,
    advance,
    read_voucher_payload,
)
from devices.keystore.sealed import read_small, write_durably

_COUNTER_FILE: Final = "counters.sealed"
_LOCK_FILE: Final = "lock"


class Counters:
    """Counters by allowance. Several processes may hold them: each signature takes the folder's lock.

    `seal` binds the rows to the key (it encrypts or tags them), `unseal` gives them back or raises
    ValueError: another key's counters, or altered ones, are KeyStoreDamaged. An older copy of the
    file is a rollback that a file cannot see.
    """

    __slots__ = ("_folder", "_seal", "_unseal")

    def __init__(
        self, folder: Path, *, seal: Callable[[bytes], bytes], unseal: Callable[[bytes], bytes]
    ) -> None:
        self._folder = folder
        self._seal = seal
        self._unseal = unseal

    def begin(self) -> None:
        """Write that nothing was signed yet, before there is a key to sign with."""
        self._write({})

    def at(self, scope: bytes) -> int:
        """Give the last counter under the allowance whose SHA-256 is `scope`; 0 if none."""
        stored = self.read().get(scope)
        return stored.counter if stored is not None else 0

    def take(self, counter: int, payload: bytes) -> None:
        """Make `counter` the payload's for ever, or raise CounterRefused or PayloadRefused."""
        read = read_voucher_payload(payload)
        if read.counter != counter:
            raise CounterRefused(f"the payload says counter {read.counter}, the call {counter}")
        with self._locked():
            counters = self.read()
            following = advance(counters.get(read.scope), counter, payload)
            if following is not None:
                self._write({**counters, read.scope: following})

    def read(self) -> dict[bytes, CounterState]:
        data = read_small(self._folder / _COUNTER_FILE)
        try:
            rows = cbor2.loads(self._unseal(data))
            return {
                scope: CounterState(counter=counter, payload_hash=digest)
                for scope, counter, digest in rows
            }
        except (cbor2.CBORDecodeError, ValueError, TypeError) as e:
            raise KeyStoreDamaged("the counters are not this key's") from e

    @contextmanager
    def _locked(self) -> Iterator[None]:
        handle = os.open(self._folder / _LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _write(self, counters: dict[bytes, CounterState]) -> None:
        rows = [[scope, c.counter, c.payload_hash] for scope, c in sorted(counters.items())]
        write_durably(self._folder / _COUNTER_FILE, self._seal(cbor2.dumps(rows, canonical=True)))

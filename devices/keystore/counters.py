"""The counters of one key in one file: each is on disk before a signature with it leaves.

Anchored, the file also says from which value of the anchor it was written and goes on from it. Order:
the file durably, then the anchor one step on, then the signature. On reading, the anchor is where the
file's step leads: good; where it began: cut off between the two, and the step is made now; anywhere
else: another copy of the file is the one that went on.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import cbor2

from devices.keystore.anchor import Anchor, following
from devices.keystore.port import (
    CounterRefused,
    CounterState,
    KeyStoreDamaged,
    advance,
    read_voucher_payload,
)
from devices.keystore.sealed import read_small, write_durably
from offline.signing import sha256

_COUNTER_FILE: Final = "counters.sealed"
_LOCK_FILE: Final = "lock"


class Counters:
    """Counters by allowance. Several processes may hold them: each use takes the folder's lock.

    `seal` binds the rows to the key (it encrypts or tags them), `unseal` gives them back or raises
    ValueError: another key's counters, or altered ones, are KeyStoreDamaged. Without an anchor, an
    older copy of the file is a rollback that a file cannot see.
    """

    __slots__ = ("_anchor", "_folder", "_seal", "_unseal")

    def __init__(
        self,
        folder: Path,
        *,
        seal: Callable[[bytes], bytes],
        unseal: Callable[[bytes], bytes],
        anchor: Anchor | None = None,
    ) -> None:
        self._folder = folder
        self._seal = seal
        self._unseal = unseal
        self._anchor = anchor

    def begin(self) -> None:
        """Write that nothing was signed yet, before there is a key to sign with."""
        with self._locked():
            self._write({}, None if self._anchor is None else self._anchor.value())

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
            counters, value = self._read()
            taken = advance(counters.get(read.scope), counter, payload)
            if taken is not None:
                self._write({**counters, read.scope: taken}, value)

    def read(self) -> dict[bytes, CounterState]:
        """Give every counter; KeyStoreDamaged when the file is foreign, altered or an older copy."""
        if self._anchor is None:
            return self._read()[0]
        with self._locked():  # or a step that another process is making would be made twice
            return self._read()[0]

    def _read(self) -> tuple[dict[bytes, CounterState], bytes | None]:
        """The counters, and the anchor's value that they stand on."""
        data = read_small(self._folder / _COUNTER_FILE)
        try:
            opened = self._unseal(data)
            said = cbor2.loads(opened)
            began, rows = said if said and said[0] and type(said[0]) is bytes else (None, said)
            counters = {
                scope: CounterState(counter=counter, payload_hash=digest)
                for scope, counter, digest in rows
            }
        except (cbor2.CBORDecodeError, ValueError, TypeError) as e:
            raise KeyStoreDamaged("the counters are not this key's") from e
        if began is None and self._anchor is None:
            return counters, None
        if self._anchor is None:
            raise KeyStoreDamaged(
                "these counters are anchored in a TPM, whose name is gone from token.json"
            )
        if began is None:
            raise KeyStoreDamaged("these counters are not anchored, and the key's are")
        return counters, _settled(self._anchor, began, sha256(opened))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        handle = os.open(self._folder / _LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _write(self, counters: dict[bytes, CounterState], value: bytes | None) -> None:
        """Write the file, then make the step from `value` that it tells of."""
        rows = [[scope, c.counter, c.payload_hash] for scope, c in sorted(counters.items())]
        written = cbor2.dumps(rows if value is None else [value, rows], canonical=True)
        write_durably(self._folder / _COUNTER_FILE, self._seal(written))
        if self._anchor is not None:
            self._anchor.extend(sha256(written))


def _settled(anchor: Anchor, began: bytes, step: bytes) -> bytes:
    """The anchor's value when it stands where the file's step leads; a step cut off is made now."""
    now, led = anchor.value(), following(began, step)
    if now == began:
        anchor.extend(step)
    elif now != led:
        raise KeyStoreDamaged(
            "an older copy of the counters was put back: this key signs no more vouchers"
        )
    return led

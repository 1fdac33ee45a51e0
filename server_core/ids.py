"""Ids: UUIDv7 that carry their cell, UUIDv8 derived from what they name, prefixed when public.

Layout of a made id (RFC 9562 §5.7): 48 bits Unix ms, version, 12 random bits, variant, 10 bits of
cell, 52 random bits. A derived id (§5.8) has in the same place the cell of what it is derived from, so
both route themselves; derived from no id (the house's own accounts) it says 0 in every cell.
"""

import hashlib
from typing import Final
from uuid import UUID

from asyncpg.pgproto import pgproto

from devices.clock import Clock
from devices.entropy import Entropy
from server_core.errors import not_found

CELL_BITS: Final = 10
_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUES: Final = {letter: value for value, letter in enumerate(_ALPHABET)}
_VARIANT: Final = 0b10 << 62


class Ids:
    """Makes ids for one cell from a clock and a source of randomness."""

    __slots__ = ("_cell", "_clock", "_entropy")

    def __init__(self, clock: Clock, entropy: Entropy, cell: int = 0) -> None:
        if not 0 <= cell < 1 << CELL_BITS:
            raise ValueError("cell is out of range")
        self._clock, self._entropy, self._cell = clock, entropy, cell

    def new(self) -> UUID:
        return self.many(1)[0]

    def many(self, count: int) -> list[UUID]:
        """`count` ids of one moment, for one read of the clock and of the randomness."""
        noise = memoryview(self._entropy.bytes(8 * count)).cast("Q")
        high = (self._clock.now_ms() & (1 << 48) - 1) << 80 | 0x7 << 76
        low = _VARIANT | self._cell << 52
        return [
            _made((high | one >> 52 << 64 | low | one & (1 << 52) - 1).to_bytes(16))
            for one in noise.tolist()
        ]


def derived(purpose: str, *parts: object) -> UUID:
    """The id that `purpose` and `parts` always give: a repeat names the same row.

    Its cell is that of the first id among the parts.
    """
    cell = None
    text = purpose
    for part in parts:
        if cell is None and isinstance(part, UUID):
            cell = cell_of(part)
        text += f"\x1f{part}"
    cell = cell or 0
    made = bytearray(hashlib.sha256(text.encode()).digest()[:16])
    made[6] = 0x80 | made[6] & 0x0F
    made[8] = 0x80 | cell >> 4
    made[9] = (cell & 0x0F) << 4 | made[9] & 0x0F
    return _made(bytes(made))


def _made(value: bytes) -> UUID:
    """As asyncpg reads it from a row: equal to any other UUID, and several times as quick."""
    id_: UUID = pgproto.UUID(value)
    return id_


def cell_of(value: UUID) -> int:
    return value.int >> 52 & (1 << CELL_BITS) - 1


def public(prefix: str, value: UUID) -> str:
    """`pay` and an id to `pay_01j…`: 26 characters of Crockford's base 32, lower case."""
    number = value.int
    letters = [_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5)]
    return f"{prefix}_{''.join(letters)}"


def parse(prefix: str, text: object, *, field: str = "id") -> UUID:
    """The id behind a public one. Anything else is `id.unknown`, as if it did not exist."""
    head, _, body = text.partition("_") if isinstance(text, str) else ("", "", "")
    if head != prefix or len(body) != 26 or body[0] > "7" or not _VALUES.keys() >= set(body):
        raise not_found(
            "id.unknown", f"no such {field}: expected {prefix}_… as we gave it", field=field
        )
    number = 0
    for letter in body:
        number = number << 5 | _VALUES[letter]
    return UUID(int=number)

"""What sealing makes: tiles of hashes, signed heads, and receipts that need no database."""

from dataclasses import dataclass
from typing import Any, Final

TILE: Final = 256
"""Hashes a tile; one at level n is the root over a whole tile at level n - 1."""

HASH: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """Up to 256 hashes side by side; at level 0 also the span of its rows' recorded times (ms)."""

    level: int
    place: int
    hashes: bytes
    from_ms: int = 0
    to_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The tree's state after `size` rows, signed by the journal's key over `rules.said(head)`.

    `origin` names the cell, `signed_at` is Unix ms, `key` and `signature` are Ed25519's.
    """

    origin: str
    size: int
    root: bytes
    signed_at: int
    key: bytes
    signature: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A transfer's record, its place, the hashes beside its way up, and the head they lead to."""

    record: dict[str, Any]
    index: int
    path: tuple[bytes, ...]
    head: Head

"""The Merkle tree of RFC 6962: hashing, growing, inclusion paths and their check. Pure.

Kept as tiles of 256 hashes, so that a tree of millions of rows grows at its right edge alone and a
path is read from a handful of rows.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from server_core.seals.model import HASH, TILE, Head

_LEVEL_BITS: Final = TILE.bit_length() - 1
EMPTY: Final = hashlib.sha256(b"").digest()
Node = Callable[[int, int], bytes]
"""The root over the `n`th run of 2^k leaves, by (k, n)."""


def leaf_hash(record: bytes) -> bytes:
    """RFC 6962 §2.1: a leaf and a node can never be taken for each other."""
    return hashlib.sha256(b"\x00" + record).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def whole_root(hashes: Sequence[bytes]) -> bytes:
    """The root over a power of two of hashes."""
    row = list(hashes)
    while len(row) > 1:
        row = [node_hash(row[i], row[i + 1]) for i in range(0, len(row), 2)]
    return row[0]


class Tree:
    """A tree that only grows. `edges[level]` are the hashes of that level's unfinished tile."""

    __slots__ = ("changed", "edges", "size")

    def __init__(self, size: int = 0, edges: Iterable[Iterable[bytes]] = ()) -> None:
        self.size = size
        self.edges = [list(edge) for edge in edges]
        self.changed: dict[tuple[int, int], bytes] = {}

    def add(self, leaf: bytes) -> None:
        self._push(0, leaf, self.size // TILE)
        self.size += 1

    def _push(self, level: int, value: bytes, place: int) -> None:
        if level == len(self.edges):
            self.edges.append([])
        edge = self.edges[level]
        edge.append(value)
        if len(edge) == TILE:
            self.changed[level, place] = b"".join(edge)
            root = whole_root(edge)
            edge.clear()
            self._push(level + 1, root, place // TILE)

    def tiles(self) -> dict[tuple[int, int], bytes]:
        """What was finished or has grown since this tree was read, by (level, place)."""
        open_tiles = {
            (level, self.size >> _LEVEL_BITS * (level + 1)): b"".join(edge)
            for level, edge in enumerate(self.edges)
            if edge
        }
        return self.changed | open_tiles

    def root(self) -> bytes:
        """MTH of RFC 6962: the whole runs at the right edge, joined from the smallest up."""
        joined: bytes | None = None
        for edge in self.edges:
            end = len(edge)
            while end:
                start = end & (end - 1)
                run = whole_root(edge[start:end])
                joined = run if joined is None else node_hash(run, joined)
                end = start
        return EMPTY if joined is None else joined


def edges_of(size: int) -> list[tuple[int, int, int]]:
    """The unfinished tiles of a tree of `size`: (level, place, hashes in it); some may be empty."""
    found, level, count = [], 0, size
    while count:
        found.append((level, count // TILE, count % TILE))
        count //= TILE
        level += 1
    return found


def tile_of(height: int, run: int) -> tuple[int, int, int, int]:
    """Where the root over the `run`th 2^`height` leaves comes from: level, place, from, to."""
    level, rest = divmod(height, _LEVEL_BITS)
    start = run << rest
    return level, start // TILE, start % TILE, start % TILE + (1 << rest)


def path(index: int, size: int, node: Node) -> list[bytes]:
    """PATH of RFC 6962 §2.1.1, from the leaf up; every hash is asked of `node`."""
    if not 0 <= index < size:
        raise ValueError("the tree has no such leaf")
    found, low, high = [], 0, size
    while high - low > 1:
        middle = low + (1 << (high - low - 1).bit_length() - 1)
        if index < middle:
            found.append(_range_root(middle, high, node))
            high = middle
        else:
            found.append(_range_root(low, middle, node))
            low = middle
    return found[::-1]


def _range_root(low: int, high: int, node: Node) -> bytes:
    count = high - low
    if count & (count - 1) == 0:
        height = count.bit_length() - 1
        return node(height, low >> height)
    middle = low + (1 << (count - 1).bit_length() - 1)
    return node_hash(_range_root(low, middle, node), _range_root(middle, high, node))


def root_of_path(leaf: bytes, index: int, size: int, hashes: Sequence[bytes]) -> bytes | None:
    """The root that a path leads to (RFC 9162 §2.1.3.2); None when it cannot be one."""
    if not 0 <= index < size or any(len(one) != HASH for one in hashes):
        return None
    place, last, root = index, size - 1, leaf
    for one in hashes:
        if last == 0:
            return None
        if place & 1 or place == last:
            root = node_hash(one, root)
            while not place & 1 and place:
                place >>= 1
                last >>= 1
        else:
            root = node_hash(root, one)
        place >>= 1
        last >>= 1
    return root if last == 0 else None


def said(head: Head) -> bytes:
    """What a head's signature says: one field a line."""
    lines = ("hundi tree head v1", head.origin, head.size, head.root.hex(), head.signed_at)
    return "".join(f"{line}\n" for line in lines).encode()

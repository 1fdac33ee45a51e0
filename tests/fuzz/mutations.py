"""Seeded changes of inputs: of bytes, of CBOR items, of texts, and of the bytes behind a text."""

from collections.abc import Callable
from typing import Any, Final

import base45
import cbor2

from devices.entropy import SeededEntropy

_HEADS: Final = bytes([0x00, 0x17, 0x18, 0x19, 0x1A, 0x1B, 0x1F, 0x20, 0x3B, 0x40, 0x58, 0x5B, 0x5F, 0x60, 0x78,
                       0x7F, 0x80, 0x98, 0x9B, 0x9F, 0xA0, 0xBF, 0xC0, 0xD8, 0xF4, 0xF6, 0xF9, 0xFB, 0xFF])  # fmt: skip
_VALUES: Final[list[Any]] = [
    0, 1, -1, 23, 24, 255, 65_535, 65_536, 2**53 - 1, 2**53, 2**64 - 1, 2**64, -(2**64), True, False, None,
    1.0, float("nan"), float("inf"), "", "INR", "OV1", "A", "\u202e", "\ud800", "e\u0301", "x" * 40, b"",
    bytes(2), bytes(4), bytes(8), bytes(16), bytes(32), bytes(33), bytes(64), b"\x80", [], [[]], {}, {1: 2},
    cbor2.CBORTag(1, 0), cbor2.CBORTag(24, b"\x80"), cbor2.undefined, cbor2.CBORSimpleValue(99),
]  # fmt: skip
_LETTERS: Final = (
    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:\n\r\tOVx\x00\x7f\xc3\xa9\xd9\xa3\xff"
)
_PREFIXES: Final = (b"OV1V:", b"OV1R:", b"OV1P:", b"OV1X:", b"ov1v:", b"OV1V", b"")


class Mutator:
    """Makes inputs from inputs; the same seed makes the same ones."""

    def __init__(self, seed: str, corpus: list[bytes]) -> None:
        self._chance = SeededEntropy(seed)
        self._corpus = corpus
        self._ways: list[Callable[[bytes], bytes]] = [
            self._bytes, self._bytes, self._items, self._items, self._items, self._letters, self._behind,
            self._splice,
        ]  # fmt: skip

    def next(self) -> bytes:
        """Change one input of the corpus by none to four steps."""
        data = self._of(self._corpus)
        for _ in range(self._chance.below(5)):
            data = self._of(self._ways)(data)
        return data

    def _of(self, many: Any) -> Any:
        return many[self._chance.below(len(many))]

    def _bytes(self, data: bytes) -> bytes:
        at = self._chance.below(len(data) + 1)
        match self._chance.below(6):
            case 0:
                return data[:at] + bytes([self._chance.below(256)]) + data[at + 1 :]
            case 1:
                return data[:at] + bytes([self._of(_HEADS)]) + data[at + 1 :]
            case 2:
                return data[:at] + self._chance.bytes(1 + self._chance.below(4)) + data[at:]
            case 3:
                return data[:at] + data[at + 1 + self._chance.below(4) :]
            case 4:
                return data[:at]
            case _:
                flipped = (
                    bytes([data[at] ^ (1 << self._chance.below(8))]) if at < len(data) else b""
                )
                return data[:at] + flipped + data[at + 1 :]

    def _splice(self, data: bytes) -> bytes:
        other = self._of(self._corpus)
        return (
            data[: self._chance.below(len(data) + 1)] + other[self._chance.below(len(other) + 1) :]
        )

    def _items(self, data: bytes) -> bytes:
        """Change one item, at any depth, also inside a byte string that holds CBOR."""
        try:
            items = cbor2.loads(data)
            return cbor2.dumps(self._change(items, 0)) if isinstance(items, list) else data
        except Exception:  # noqa: BLE001 - what is no CBOR is changed as bytes
            return self._bytes(data)

    def _change(self, items: list[Any], depth: int) -> list[Any]:
        if not items:
            return [self._of(_VALUES)]
        at = self._chance.below(len(items))
        item = items[at]
        if isinstance(item, list) and depth < 8 and self._chance.below(3):
            return [*items[:at], self._change(item, depth + 1), *items[at + 1 :]]
        if isinstance(item, bytes) and len(item) > 16 and self._chance.below(2):
            return [*items[:at], self._items(item), *items[at + 1 :]]
        match self._chance.below(8):
            case 0:
                return [*items[:at], *items[at + 1 :]]
            case 1:
                return [*items[:at], item, *items[at:]]
            case 2:
                other = self._chance.below(len(items))
                return [*items[:at], items[other], *items[at + 1 :]]
            case 3 if isinstance(item, int) and not isinstance(item, bool):
                return [*items[:at], item + self._chance.below(3) - 1, *items[at + 1 :]]
            case 4 if isinstance(item, bytes):
                return [*items[:at], self._bytes(item), *items[at + 1 :]]
            case 5:
                return [*items[:at], [item] * self._chance.below(20), *items[at + 1 :]]
            case _:
                return [*items[:at], self._of(_VALUES), *items[at + 1 :]]

    def _letters(self, data: bytes) -> bytes:
        at = self._chance.below(len(data) + 1)
        match self._chance.below(4):
            case 0:
                return data[:at] + bytes([self._of(_LETTERS)]) + data[at + 1 :]
            case 1:
                return self._of(_PREFIXES) + data.partition(b":")[2]
            case 2:
                return data.lower()
            case _:
                return data + self._of([b"\n", b" ", b"\r\n", b"0", b"::", b"\xff"])

    def _behind(self, data: bytes) -> bytes:
        """Change what a text stands for, or make a text of bytes."""
        prefix, colon, body = data.partition(b":")
        try:
            inside = base45.b45decode(body) if colon else data
        except ValueError:
            inside = data
        changed = self._items(inside)
        return (prefix + b":" if colon else self._of(_PREFIXES)) + base45.b45encode(changed)

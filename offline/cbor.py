"""The one way to write an OV1 value and the only way to read it: deterministic CBOR (RFC 8949 §4.2).

API: `encode(value) -> bytes`, `decode_strict(data) -> list`, and the field checkers `fields`,
`uint`, `positive`, `octets`, `text`, `array`, all raising `Refused`. Only arrays, unsigned integers
of 0..2^53-1, byte strings and UTF-8 text exist in OV1.

What refuses with which verdict: bytes that are no CBOR, or hold a boolean, float, negative, tag, map,
null or simple value anywhere, are OV_MALFORMED; well-formed bytes that a deterministic encoder would
write otherwise (long integers, indefinite lengths, bytes after the end) are OV_NON_CANONICAL.
"""

from typing import Final

import cbor2

from offline.verdicts import Refused, Verdict

MAX_UINT: Final = 2**53 - 1
"""The largest integer in OV1: what JSON and JavaScript also carry exactly."""
_MAX_DEPTH: Final = 6
_MALFORMED_MAJORS: Final = frozenset({1, 5, 6, 7})


def encode(value: list[object] | tuple[object, ...]) -> bytes:
    """The deterministic bytes of an array. The caller passes only what OV1 has."""
    return cbor2.dumps(value, canonical=True)


def decode_strict(data: bytes) -> list[object]:
    """The array that `data` is, or Refused: see the module's sentence on verdicts."""
    try:
        value = cbor2.loads(data, max_depth=_MAX_DEPTH)
    except Exception as error:  # a tag's decoder raises whatever its type raises
        raise Refused(Verdict.MALFORMED, "no CBOR") from error
    if type(value) is not list:
        raise Refused(Verdict.MALFORMED, "no array")
    _only_ours(value)
    if cbor2.dumps(value, canonical=True) != data:
        raise Refused(
            Verdict.MALFORMED if _has_foreign_head(data) else Verdict.NON_CANONICAL, "re-encoding"
        )
    return value


def _only_ours(items: list[object]) -> None:
    for item in items:
        kind = type(item)
        if kind is int:
            if not 0 <= item <= MAX_UINT:  # type: ignore[operator]
                raise Refused(Verdict.MALFORMED, "integer out of range")
        elif kind is list:
            _only_ours(item)  # type: ignore[arg-type]
        elif kind is not bytes and kind is not str:
            raise Refused(Verdict.MALFORMED, f"{kind.__name__} is not of OV1")


def _has_foreign_head(data: bytes) -> bool:
    """Whether the first item of well-formed `data` holds a negative, map, tag, float or simple value.

    Needed only after a mismatch: the decoder turns some tags (a bignum, a shared value) into plain
    integers or arrays, and those are OV_MALFORMED, not merely written unusually.
    """
    at, open_items = 0, [1]
    while open_items:
        if open_items[-1] == 0:
            open_items.pop()
            continue
        head = data[at]
        at += 1
        if head == 0xFF:  # the end of an indefinite length
            open_items.pop()
            continue
        open_items[-1] -= 1
        major, short = head >> 5, head & 31
        if major in _MALFORMED_MAJORS:
            return True
        size = 0 if short < 24 or short == 31 else 1 << (short - 24)
        argument = int.from_bytes(data[at : at + size]) if size else short
        at += size
        if short == 31:
            open_items.append(-1)
        elif major == 4:
            open_items.append(argument)
        elif major in {2, 3}:
            at += argument
    return False


def fields(data: bytes, count: int, *, version: int = 1) -> list[object]:
    """The strict array of `count` items behind `data`, whose first is the version.

    The version is looked at before the length, so that a later version's other shape is
    OV_UNSUPPORTED_VERSION.
    """
    items = decode_strict(data)
    if not items or type(items[0]) is not int:
        raise Refused(Verdict.MALFORMED, "no version")
    if items[0] != version:
        raise Refused(Verdict.UNSUPPORTED_VERSION)
    if len(items) != count:
        raise Refused(Verdict.MALFORMED, f"{len(items)} fields for {count}")
    return items


def uint(value: object, low: int = 0, high: int = MAX_UINT) -> int:
    """`value` if it is an integer of low..high; a bool is not."""
    if type(value) is not int or not low <= value <= high:
        raise Refused(Verdict.MALFORMED, "integer")
    return value


def positive(value: object) -> int:
    """`value` if it is an integer of 1..2^53-1: an amount."""
    if type(value) is not int or not 1 <= value <= MAX_UINT:
        raise Refused(Verdict.MALFORMED, "amount")
    return value


def octets(value: object, *sizes: int) -> bytes:
    """`value` if it is a byte string of one of `sizes`."""
    if type(value) is not bytes or len(value) not in sizes:
        raise Refused(Verdict.MALFORMED, "byte string")
    return value


def octets_to(value: object, most: int) -> bytes:
    """`value` if it is a byte string of 0..most bytes."""
    if type(value) is not bytes or len(value) > most:
        raise Refused(Verdict.MALFORMED, "byte string")
    return value


def text(value: object, low: int = 1, high: int = 64) -> str:
    """`value` if it is text of low..high UTF-8 bytes."""
    if type(value) is not str or not low <= len(value.encode()) <= high:
        raise Refused(Verdict.MALFORMED, "text")
    return value


def array(value: object, most: int) -> list[object]:
    """`value` if it is an array of 0..most items."""
    if type(value) is not list or len(value) > most:
        raise Refused(Verdict.MALFORMED, "array")
    return value

"""The field types that several OV1 bodies share: currency, public key, display name, fixed array.

API: `currency`, `public_key`, `algorithm_of(key) -> Algorithm`, `name`, `sized`; all but `algorithm_of` take what the
decoder gave and raise `Refused(OV_MALFORMED)`.

Decided here: ccy is three upper-case ASCII letters (ISO 4217 alphabetic); a P-256 key is 33 bytes that begin
with 02 or 03 (whether it is on the curve is asked by the signature check); a name's forbidden characters
are a fixed set.
"""

import unicodedata
from typing import Final

from offline.cbor import array, octets, text
from offline.model import Algorithm
from offline.verdicts import Refused, Verdict

_NAME_BYTES: Final = 32
# A fixed set, so that no two ends disagree by their Unicode version: C0, DEL, C1, the line and
# paragraph separators, and every bidi mark, embedding, override and isolate.
_HIDDEN: Final = frozenset(
    map(
        chr,
        [
            *range(0x20), *range(0x7F, 0xA0), 0x61C, 0x200E, 0x200F,
            *range(0x2028, 0x202F), *range(0x2066, 0x206A),
        ],
    )
)  # fmt: skip


def currency(value: object) -> str:
    if type(value) is not str or len(value) != 3 or not (value.isascii() and value.isalpha()):
        raise Refused(Verdict.MALFORMED, "currency")
    if not value.isupper():
        raise Refused(Verdict.MALFORMED, "currency")
    return value


def public_key(value: object) -> bytes:
    """Key bytes of a length that names its algorithm."""
    key = octets(value, 32, 33)
    if len(key) == 33 and key[0] not in {2, 3}:
        raise Refused(Verdict.MALFORMED, "P-256 point form")
    return key


def algorithm_of(key: bytes) -> Algorithm:
    """The algorithm that the key's length names."""
    return Algorithm.ED25519 if len(key) == 32 else Algorithm.P256


def name(value: object) -> str:
    """A display name: 1..32 UTF-8 bytes, NFC, without control or bidi characters."""
    given = text(value, 1, _NAME_BYTES)
    if not unicodedata.is_normalized("NFC", given) or not _HIDDEN.isdisjoint(given):
        raise Refused(Verdict.MALFORMED, "name")
    return given


def sized(value: object, size: int) -> list[object]:
    """`value` if it is an array of exactly `size` items."""
    items = array(value, size)
    if len(items) != size:
        raise Refused(Verdict.MALFORMED, f"{len(items)} items for {size}")
    return items

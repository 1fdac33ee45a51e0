"""The text form of OV1 bytes: a prefix and base45 (RFC 9285), made for QR's alphanumeric mode.

API: `to_text(prefix, data)`, `from_text(prefix, text)`, `within(data, most)`; the latter two raise `Refused(OV_MALFORMED)`.
"""

from typing import Final

import base45

from offline.verdicts import Refused, Verdict

MAX_TEXT: Final = 1_200
"""The most characters of a text, and the most bytes of a voucher, request, receipt or void."""


def to_text(prefix: str, data: bytes) -> str:
    letters: bytes = base45.b45encode(data)
    return prefix + letters.decode("ascii")


def from_text(prefix: str, text: str) -> bytes:
    """The bytes behind an `OV1x:` text; Refused(OV_MALFORMED) if it is not exactly one."""
    if len(text) > MAX_TEXT or not text.startswith(prefix):
        raise Refused(Verdict.MALFORMED, "size or prefix")
    body = text[len(prefix) :]
    try:
        data: bytes = base45.b45decode(body)
    except ValueError as error:
        raise Refused(Verdict.MALFORMED, "base45") from error
    if body.endswith("\n"):  # the decoder drops line ends
        raise Refused(Verdict.MALFORMED, "base45")
    return data


def within(data: bytes, most: int) -> bytes:
    """`data` if it is at most that long: asked before anything is parsed."""
    if type(data) is not bytes or len(data) > most:
        raise Refused(Verdict.MALFORMED, "size")
    return data

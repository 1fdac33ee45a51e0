"""Amounts as people type and read them, to and from integer minor units, never through a float."""

import re
from typing import Final

from edge_agent.errors import AgentError
from offline.cbor import MAX_UINT

# Currencies whose minor unit is not a hundredth (ISO 4217); every other one has two digits.
_EXPONENTS: Final = {"JPY": 0, "KRW": 0, "VND": 0, "BHD": 3, "JOD": 3, "KWD": 3, "OMR": 3}
_SIGNS: Final = {"INR": "₹"}
_FORM: Final = re.compile(r"([0-9]{1,15})(?:\.([0-9]{1,3}))?")


def parse_amount(text: str, ccy: str = "INR") -> int:
    """Read `150` or `150.50` exactly; anything else is `edge.amount_invalid`."""
    digits = _EXPONENTS.get(ccy, 2)
    form = _FORM.fullmatch(text.strip())
    if form is None or not text.isascii():
        raise AgentError(
            "edge.amount_invalid", f"{text[:40]!r} is not an amount such as 150 or 150.50"
        )
    whole, fraction = form[1], form[2] or ""
    if len(fraction) > digits:
        raise AgentError("edge.amount_invalid", f"{ccy} has {digits} digits after the point")
    minor: int = int(whole) * 10**digits + int((fraction or "0").ljust(digits, "0") or "0")
    if not 1 <= minor <= MAX_UINT:
        raise AgentError("edge.amount_invalid", "an amount is above zero and below ninety trillion")
    return minor


def format_amount(minor: int, ccy: str) -> str:
    """Write an amount with its currency's digits: `₹1,23,450.50` as in India, `JPY 200`."""
    digits = _EXPONENTS.get(ccy, 2)
    whole, fraction = divmod(minor, 10**digits)
    tail = f".{fraction:0{digits}d}" if digits else ""
    sign = _SIGNS.get(ccy)
    return f"{sign}{_lakhs(whole)}{tail}" if sign else f"{ccy} {whole:,}{tail}"


def _lakhs(whole: int) -> str:
    """Group as India does: the last three digits, then by two."""
    head, last = divmod(whole, 1_000)
    if head == 0:
        return str(last)
    digits = str(head)
    start = len(digits) % 2
    pairs = [digits[i : i + 2] for i in range(start, len(digits), 2)]
    return ",".join([*([digits[:start]] if start else []), *pairs, f"{last:03d}"])

"""Money as an integer of minor units and an ISO 4217 currency; never a float."""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from server_core.errors import invalid

EXPONENTS: Final[dict[str, int]] = {
    "INR": 2, "USD": 2, "EUR": 2, "GBP": 2, "AED": 2, "SGD": 2, "JPY": 0, "KWD": 3,
}  # fmt: skip
"""The currencies a ledger is kept in, with their decimals (ISO 4217)."""

MAX_MINOR: Final = 2**53 - 1
"""The largest amount at any door: what JSON, OV1 (RFC 8949 profile) and JavaScript all carry."""


class Money(Struct, frozen=True, kw_only=True):
    """`minor` units of `currency`; may be zero or negative, as a balance may."""

    minor: int
    currency: str

    def __str__(self) -> str:
        exponent = EXPONENTS[self.currency]
        sign, whole = ("-" if self.minor < 0 else ""), abs(self.minor)
        if exponent == 0:
            return f"{self.currency} {sign}{whole}"
        return f"{self.currency} {sign}{whole // 10**exponent}.{whole % 10**exponent:0{exponent}d}"


def known_currency(code: object, *, field: str = "currency") -> str:
    """`code` if a ledger is kept in it; raises money.unknown_currency otherwise."""
    if not isinstance(code, str) or code not in EXPONENTS:
        raise invalid(
            "money.unknown_currency",
            f"{field} must be one of {', '.join(sorted(EXPONENTS))}",
            field=field,
        )
    return code


def positive_minor(value: object, *, field: str = "amount") -> int:
    """`value` if it is an integer of 1..2^53-1 (a bool or a float is not); raises money.amount."""
    if type(value) is not int or not 1 <= value <= MAX_MINOR:
        raise invalid(
            "money.amount",
            f"{field} must be a whole number of minor units from 1 to {MAX_MINOR}",
            field=field,
        )
    return value


def parse_minor(text: object, *, field: str = "amount") -> int:
    """A decimal string of minor units, as the APIs carry it; raises money.amount.

    Only ASCII digits, no sign, no leading zero: what a client sent is what it meant.
    """
    if (
        not isinstance(text, str)
        or not 1 <= len(text) <= 16
        or not (text.isascii() and text.isdigit())
        or text[0] == "0"
    ):
        raise invalid(
            "money.amount",
            f'{field} must be a string of minor units, such as "15000" for INR 150.00',
            field=field,
        )
    return positive_minor(int(text), field=field)


def allocate(minor: int, weights: Sequence[int]) -> list[int]:
    """Split `minor` by `weights` so that the parts sum to it exactly.

    The remainder goes one unit at a time to the largest fractions, ties to the earlier part.
    """
    total = sum(weights)
    if minor < 0 or total <= 0 or min(weights) < 0:
        raise invalid("money.allocation", "weights must be non-negative with a positive sum")
    parts = [minor * weight // total for weight in weights]
    by_fraction = sorted(range(len(weights)), key=lambda i: (-(minor * weights[i] % total), i))
    for i in by_fraction[: minor - sum(parts)]:
        parts[i] += 1
    return parts

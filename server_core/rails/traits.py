"""What each rail can do, as data: whoever asks reads it here rather than trying."""

from dataclasses import dataclass
from typing import Final

_DAY_MS: Final = 24 * 60 * 60 * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class RailTraits:
    """What one rail carries.

    `captures_later`: money can be set aside first, and is let go by the rail after `holds_ms`.
    `redirects`: the payer acts on a page of the bank before anything moves.
    """

    currencies: frozenset[str]
    captures_later: bool = False
    holds_ms: int | None = None
    redirects: bool = False
    refunds: bool = True


TRAITS: Final[dict[str, RailTraits]] = {
    "upi": RailTraits(currencies=frozenset({"INR"})),
    "card": RailTraits(
        currencies=frozenset({"INR", "USD", "EUR", "GBP", "AED", "SGD"}),
        captures_later=True,
        holds_ms=7 * _DAY_MS,
    ),
    "netbanking": RailTraits(currencies=frozenset({"INR"}), redirects=True),
}
"""UPI: `cu` of the linking specification is INR alone. Card: an authorization is good for 7 days,
as gateways publish it for domestic credit cards; the currencies are those that books are kept in
with two decimals. Netbanking is domestic."""

"""What each rail can do, as data: whoever asks reads it here rather than trying."""

from dataclasses import dataclass
from typing import Final

_DAY_MS: Final = 24 * 60 * 60 * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class RailTraits:
    """What one rail carries.

    `captures_later`: money can be set aside first, and is let go by the rail after `holds_ms`.
    `redirects`: the payer acts on a page of the bank before anything moves. `by_link`: any app of the
    payer's pays it. `carrier`: the method whose rails carry this one too.
    """

    currencies: frozenset[str]
    captures_later: bool = False
    holds_ms: int | None = None
    redirects: bool = False
    by_link: bool = False
    carrier: str | None = None
    refunds: bool = True


TRAITS: Final[dict[str, RailTraits]] = {
    "upi": RailTraits(currencies=frozenset({"INR"})),
    "upi_link": RailTraits(currencies=frozenset({"INR"}), by_link=True, carrier="upi"),
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


def carrier_of(method: str) -> str:
    """The method whose rails carry a payment by `method`."""
    traits = TRAITS.get(method)
    return method if traits is None or traits.carrier is None else traits.carrier


def method_of(rail: str) -> str:
    """The method that a rail carries: `upi.2` is the second one of `upi`."""
    return rail.partition(".")[0]

"""Which rail carries a payment, and why."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from server_core.rails.traits import TRAITS


class Reason(StrEnum):
    """Why the router chose as it did; kept with the attempt, so that it can be explained."""

    ON_US = "on_us"
    NAMED_BY_PAYER = "named_by_payer"
    UNKNOWN_METHOD = "unknown_method"
    NOT_CONNECTED = "not_connected"
    CURRENCY = "currency"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The rail's name, None when the ledger alone suffices; `possible` when it can be taken."""

    method: str
    rail: str | None
    possible: bool
    reason: Reason


def choose(method: str, currency: str, connected: Collection[str]) -> Route:
    """The way for a payment by `method`; never raises: that there is none is a decision too."""
    if method == "book":
        return Route(method=method, rail=None, possible=True, reason=Reason.ON_US)
    if method not in TRAITS:
        return Route(method=method, rail=None, possible=False, reason=Reason.UNKNOWN_METHOD)
    if currency not in TRAITS[method].currencies:
        return Route(method=method, rail=method, possible=False, reason=Reason.CURRENCY)
    if method not in connected:
        return Route(method=method, rail=method, possible=False, reason=Reason.NOT_CONNECTED)
    return Route(method=method, rail=method, possible=True, reason=Reason.NAMED_BY_PAYER)

"""The netbanking rail: the payer acts on the bank's page, and the bank is asked what came of it."""

import ipaddress
from typing import Any, Final
from urllib.parse import urlsplit

from msgspec.structs import replace

from server_core.rails import codes
from server_core.rails.doors import MAX_NOTE, DoorRail
from server_core.rails.model import Outcome, RailAnswer, RailOrder

MAX_URL: Final = 2_048


class NetbankingRail(DoorRail):
    """Rail `netbanking`: `action` with the page's URL until the payer has decided."""

    __slots__ = ()
    rail = "netbanking"
    door = "/bank"
    paying = "initiate"
    reversing = "reverse"
    codes = codes.NETBANKING

    def _order(self, order: RailOrder) -> dict[str, Any]:
        return {"bank": order.instrument, "note": order.note[:MAX_NOTE]}

    def _paid(self, said: dict[str, Any], amount_minor: int | None = None) -> RailAnswer | None:
        """An `action` says where; one that says it wrongly is not believed."""
        answer, url = super()._paid(said, amount_minor), said.get("action_url")
        if answer is None or answer.outcome is not Outcome.ACTION:
            return answer
        return replace(answer, action_url=url) if _is_page(url) else None


def _is_page(url: object) -> bool:
    """A page that a payer may be sent to: over TLS, or on this machine."""
    if not isinstance(url, str) or len(url) > MAX_URL or not (url.isascii() and url.isprintable()):
        return False
    try:
        parts = urlsplit(url)
        if parts.username is not None or " " in url or not parts.hostname or parts.port == 0:
            return False
        return parts.scheme == "https" or (
            parts.scheme == "http" and ipaddress.ip_address(parts.hostname).is_loopback
        )
    except ValueError:
        return False

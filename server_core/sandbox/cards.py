"""The card network's desks: authorizations, and captures of them. Tokens only, never a number."""

import hashlib
import re
from dataclasses import replace
from typing import Any, Final

from server_core.rails.traits import TRAITS
from server_core.sandbox import requests
from server_core.sandbox.desk import DebitDesk, Desk, Tell
from server_core.sandbox.dialects import CARD
from server_core.sandbox.line import Line
from server_core.sandbox.model import Entry, Fate, Order, Refusal
from server_core.sandbox.store import Store

MAX_AMOUNT: Final = 10**11 - 1
"""Eleven digits, so that an amount never looks like a card's number."""

VALID_MS: Final = TRAITS["card"].holds_ms or 0
_TOKEN: Final = re.compile(r"tok_[A-Za-z0-9_]{1,60}")
_NETWORKS: Final = ("visa", "mastercard", "rupay", "amex")


class CardDesk(DebitDesk):
    """Authorizations: taken at once (`capture` true), or set aside for `VALID_MS` to be captured.

    What follows the token's `tok_` steers.
    """

    __slots__ = ()
    door = "card"
    dialect = CARD

    def taken_of(self, entry: Entry) -> int:
        whole = super().taken_of(entry)
        if whole == 0 or _is_sale(entry):
            return whole
        return sum(map(self.moved, self._captures(entry)))

    def check_capture(self, entry: Entry, capture: Order) -> None:
        """Raises a Refusal of a capture that the authorization does not carry."""

        def require(ok: bool, reason: str, message: str) -> None:
            if not ok:
                raise Refusal(409, f"card.{reason}", message, {"capture_id": capture.id})

        require(entry.asks == 0, "not_yet", "the issuer has not decided yet")
        require(entry.debited and entry.later == CARD.ok, "not_authorized", "nothing was set aside")
        require(not _is_sale(entry), "sale", "it was taken at once")
        require(not self._is_over(entry), "expired", "an authorization is good for 7 days")
        require(not self._is_closed(entry), "released", "the rest has been let go")
        open_minor = self._open_minor(entry)
        require(capture.amount_minor <= open_minor, "exceeds", f"{open_minor} is left to capture")

    def _parse(self, key: str, said: dict[str, Any]) -> Order:
        members = requests.Members(said=said, door=self.door, about={self.key: key})
        members.only(
            ["txn_id", "amount_minor", "currency", "token"], ["capture", "payee_name", "mcc"]
        )
        token = members.shaped("token", _TOKEN, "token", "a token such as tok_abc")
        return Order(
            id=key,
            amount_minor=members.amount(MAX_AMOUNT),
            word=token.partition("_")[2].replace("_", "."),
            said={
                "currency": members.currency(TRAITS["card"].currencies),
                "token": token,
                "capture": members.flag("capture", True),
                "payee_name": members.text("payee_name", requests.MAX_NAME),
                "mcc": members.mcc(),
            },
        )

    def _aged(self, entry: Entry) -> Entry:
        """What nobody captured in time goes back to the payer by itself."""
        lapsed = (
            entry.order is not None
            and not _is_sale(entry)
            and entry.debited
            and not entry.given_back
            and self._is_over(entry)
            and not self._captures(entry)
        )
        return replace(entry, given_back=True) if lapsed else entry

    def _more(self, entry: Entry) -> dict[str, Any]:
        if entry.order is None:
            return {}
        return {
            "captured_minor": self.taken_of(entry),
            "open_minor": 0 if _is_sale(entry) else self._open_minor(entry),
            "expires_at_ms": entry.taken_at_ms + VALID_MS,
            "card": card_of(entry.order.said["token"]),
        }

    def _check_reversal(self, entry: Entry) -> None:
        super()._check_reversal(entry)
        if self._captures(entry):
            raise self.refusal(409, "captured", "a part of it has been captured", entry.id)

    def _captures(self, entry: Entry) -> list[Entry]:
        return [one for one in self._store.under("card.capture", entry.id) if self.moved(one)]

    def _open_minor(self, entry: Entry) -> int:
        """What may still be captured."""
        if entry.order is None or not entry.debited or self._is_closed(entry):
            return 0
        return entry.order.amount_minor - sum(map(self.moved, self._captures(entry)))

    def _is_closed(self, entry: Entry) -> bool:
        captures = self._captures(entry)
        return entry.given_back or any(one.order and one.order.said["final"] for one in captures)

    def _is_over(self, entry: Entry) -> bool:
        return self._line.clock.now_ms() >= entry.taken_at_ms + VALID_MS


class CaptureDesk(Desk):
    """Captures: in part, several, the last one `final`, which lets go of the rest."""

    __slots__ = ("_cards",)
    door = "card"
    dialect = CARD
    noun = "capture"

    def __init__(self, cards: CardDesk, line: Line, store: Store, tell: Tell) -> None:
        super().__init__(line, store, tell)
        self._cards = cards

    def _parse(self, key: str, said: dict[str, Any]) -> Order:
        members = requests.Members(said=said, door=self.door, about={self.key: key})
        members.only(["capture_id", "txn_id", "amount_minor"], ["final"])
        return Order(
            id=key,
            amount_minor=members.amount(MAX_AMOUNT),
            about=members.shaped("txn_id", requests.ID, "txn_id", "35 letters and digits"),
            said={"final": members.flag("final", False)},
        )

    def _fate(self, order: Order) -> Fate:
        held = self._cards.buried(order.about)
        if held is None:
            raise Refusal(404, "card.txn_not_found", "no such debit", {self.key: order.id})
        self._cards.check_capture(held, order)
        return Fate(code=CARD.ok, later=CARD.ok)

    def _more(self, entry: Entry) -> dict[str, Any]:
        return {} if entry.order is None else {"txn_id": entry.order.about}


def card_of(token: str) -> dict[str, str]:
    """What the vault says of a token: the network and the last four digits, made from its hash."""
    drawn = hashlib.sha256(token.encode()).digest()
    last4 = int.from_bytes(drawn[1:5], "big") % 10_000
    return {"network": _NETWORKS[drawn[0] % len(_NETWORKS)], "last4": f"{last4:04d}"}


def _is_sale(entry: Entry) -> bool:
    return entry.order is not None and bool(entry.order.said["capture"])

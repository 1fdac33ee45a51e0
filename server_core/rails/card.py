"""The card rail: authorizes and captures over upi-core's card door, by token alone."""

import re
from typing import Any, Final
from uuid import UUID

from msgspec.structs import replace

from server_core.rails import codes
from server_core.rails.calls import Call
from server_core.rails.card_numbers import holds_card_number
from server_core.rails.doors import DoorRail, txn_id
from server_core.rails.model import Outcome, RailAnswer, RailOrder

_TOKEN: Final = re.compile(r"tok_[A-Za-z0-9_]{1,60}")
_FOR_GOOD: Final = dict.fromkeys(
    ("card.not_authorized", "card.expired", "card.released", "card.exceeds"), Outcome.DECLINED
)
"""Why a capture takes nothing now and never will: what is set aside only grows less."""


class CardRail(DoorRail):
    """Rail `card`: taken at once, or set aside for 7 days and captured in parts."""

    __slots__ = ()
    rail = "card"
    door = "/card"
    paying = "authorize"
    reversing = "void"
    codes = codes.CARD

    async def authorize(self, order: RailOrder) -> RailAnswer:
        """`authorized` with `capture` False; what is no token is declined and never leaves."""
        if not _TOKEN.fullmatch(order.instrument) or holds_card_number(order.instrument):
            return RailAnswer(
                outcome=Outcome.DECLINED, code="rails.token", asked_at_ms=self._clock.now_ms()
            )
        return await super().authorize(order)

    async def capture(
        self, attempt: UUID, capture: UUID, amount_minor: int, *, final: bool = False
    ) -> RailAnswer:
        """`declined` of more than is left, of what was let go, and after the 7 days."""
        key, debit = txn_id(capture), txn_id(attempt)
        call = Call(
            method="POST",
            path="/card/capture",
            about=("capture_id", key),
            body={"capture_id": key, "txn_id": debit, "amount_minor": amount_minor, "final": final},
            moves=True,
            refusals=self._never_took("capture") | self._no_debit() | _FOR_GOOD,
        )
        return await self._ask(call, lambda said: self._given(said, debit, amount_minor))

    def _order(self, order: RailOrder) -> dict[str, Any]:
        return {"token": order.instrument, "capture": order.capture}

    def _note(self, note: str) -> str:
        return "" if holds_card_number(note) else super()._note(note)

    def _paid(self, said: dict[str, Any], amount_minor: int | None = None) -> RailAnswer | None:
        """An approval of which nothing was captured yet is `authorized`."""
        answer, captured = super()._paid(said, amount_minor), said.get("captured_minor")
        if answer is None or type(captured) is not int:
            return None
        aside = answer.outcome is Outcome.SUCCEEDED and captured == 0
        return replace(answer, outcome=Outcome.AUTHORIZED) if aside else answer

"""The UPI rail: speaks to upi-core over HTTP and says what is known after each call."""

import re
from typing import Any, Final

from server_core.rails import codes
from server_core.rails.calls import Call
from server_core.rails.doors import MAX_NOTE, DoorRail
from server_core.rails.model import LinkPayment, Outcome, RailAnswer, RailOrder

MAX_LINK_PAYMENTS: Final = 50
_REFERENCE: Final = re.compile(r"[A-Za-z0-9]{4,35}")


class UpiRail(DoorRail):
    """Rail `upi`: a push by the payer's VPA, or by the payer's own app from a link."""

    __slots__ = ()
    rail = "upi"
    door = "/upi"
    paying = "pay"
    reversing = "reverse"
    codes = codes.UPI

    def _order(self, order: RailOrder) -> dict[str, Any]:
        return {
            "payer_vpa": order.instrument,
            "payee_vpa": order.payee_vpa,
            "note": order.note[:MAX_NOTE],
        }

    async def paid_by_link(self, reference: str) -> list[LinkPayment] | None:
        if not _REFERENCE.fullmatch(reference):
            return []
        found: list[LinkPayment] = []

        def read(said: dict[str, Any]) -> RailAnswer | None:
            listed = said.get("transactions")
            if not isinstance(listed, list) or len(listed) > MAX_LINK_PAYMENTS:
                return None
            read_all = [self._link_payment(one) for one in listed]
            found.extend(one for one in read_all if one is not None)
            whole = len(found) == len(read_all)
            return RailAnswer(outcome=Outcome.SUCCEEDED) if whole else None

        call = Call(method="GET", path=f"/upi/ref/{reference}", about=("reference", reference))
        heard = await self._ask(call, read)
        return found if heard.outcome is Outcome.SUCCEEDED else None

    def _link_payment(self, said: object) -> LinkPayment | None:
        if not isinstance(said, dict) or not isinstance(key := said.get("txn_id"), str):
            return None
        answer = self._paid(said)
        if answer is None:
            return None
        return LinkPayment(txn_id=key, amount_minor=said["amount_minor"], answer=answer)

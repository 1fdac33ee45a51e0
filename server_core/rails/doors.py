"""What upi-core's doors say alike of a movement, read strictly, and the verbs that need no more."""

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Final
from uuid import UUID

from server_core.rails.calls import Call, HttpRail
from server_core.rails.codes import Codes
from server_core.rails.model import LinkPayment, Outcome, RailAnswer, RailOrder, RailRefund
from server_core.rails.traits import TRAITS

PSP_PREFIX: Final = "HUN"
MAX_NAME: Final = 99
MAX_NOTE: Final = 50
_RRN: Final = re.compile(r"[0-9]{12}")


def txn_id(attempt: UUID) -> str:
    """The rail's id of an attempt, a capture or a refund.

    35 letters and digits with the PSP's three first, as UPI wants them since 1 February 2025.
    """
    return PSP_PREFIX + attempt.hex.upper()


def attempt_of(txn: str) -> UUID | None:
    """The attempt, capture or refund that `txn_id` names so; None when the id is not ours."""
    hexed = txn.removeprefix(PSP_PREFIX)
    if len(hexed) != 32 or txn == hexed or not re.fullmatch(r"[0-9A-F]{32}", hexed):
        return None
    return UUID(hexed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """`amount_minor` as the rail booked it; `given_back` when the whole of it was reversed."""

    code: str
    reference: str | None
    amount_minor: int
    given_back: bool


def told(said: dict[str, Any], code: re.Pattern[str]) -> Told | None:
    """The four members that every answer has, or None when one is not what it must be."""
    verbatim, rrn = said.get("code"), said.get("rrn")
    amount, given_back = said.get("amount_minor"), said.get("reversed")
    if (
        not isinstance(verbatim, str)
        or not code.fullmatch(verbatim)
        or not (rrn is None or (isinstance(rrn, str) and _RRN.fullmatch(rrn)))
        or type(amount) is not int
        or type(given_back) is not bool
    ):
        return None
    return Told(code=verbatim, reference=rrn, amount_minor=amount, given_back=given_back)


class DoorRail(HttpRail, ABC):
    """A rail behind one of upi-core's doors; a subclass names the door and reads what is its own."""

    __slots__ = ()
    rail: ClassVar[str]
    door: ClassVar[str]
    paying: ClassVar[str]
    reversing: ClassVar[str]
    codes: ClassVar[Codes]

    @property
    def name(self) -> str:
        return self.rail

    @abstractmethod
    def _order(self, order: RailOrder) -> dict[str, Any]:
        """The parts of an order that this door names in its own way."""

    async def authorize(self, order: RailOrder) -> RailAnswer:
        """Debit the payer, in the rail's own way."""
        if not order.capture and not TRAITS[self.rail].captures_later:
            return RailAnswer(
                outcome=Outcome.DECLINED,
                code="rails.captures_at_once",
                asked_at_ms=self._clock.now_ms(),
            )
        key = txn_id(order.attempt)
        call = Call(
            method="POST",
            path=f"{self.door}/{self.paying}",
            about=("txn_id", key),
            body={
                "txn_id": key,
                "amount_minor": order.amount_minor,
                "currency": order.currency,
                "payee_name": order.payee_name[:MAX_NAME],
                "mcc": order.mcc,
            }
            | self._order(order),
            moves=True,
            refusals=self._never_took("txn"),
            deadline_s=self._settings.authorize_s,
        )
        return await self._ask(call, lambda said: self._paid(said, order.amount_minor))

    async def capture(
        self,
        attempt: UUID,
        capture: UUID,  # noqa: ARG002 - most rails have one step
        amount_minor: int,  # noqa: ARG002 - the same
        *,
        final: bool = False,  # noqa: ARG002 - the same
    ) -> RailAnswer:
        """A rail that debits in one step says what became of that."""
        return await self.status(attempt)

    async def status(self, attempt: UUID, amount_minor: int | None = None) -> RailAnswer:
        key = txn_id(attempt)
        call = Call(
            method="GET",
            path=f"{self.door}/txn/{key}",
            about=("txn_id", key),
            refusals=self._never_took("txn"),
        )
        return await self._ask(call, lambda said: self._paid(said, amount_minor))

    async def reverse(self, attempt: UUID) -> RailAnswer:
        """A debit that stands was not reversed, whatever its code: asked again, never taken as paid."""
        key = txn_id(attempt)
        call = Call(
            method="POST",
            path=f"{self.door}/{self.reversing}",
            about=("txn_id", key),
            body={"txn_id": key},
            refusals=self._never_took("txn") | self._stands(),
        )
        return await self._ask(call, lambda said: _not_standing(self._paid(said)))

    async def refund(self, refund: RailRefund) -> RailAnswer:
        """`declined` when that much was never taken, or is given back already."""
        key, debit = txn_id(refund.refund), refund.debit or txn_id(refund.attempt)
        call = Call(
            method="POST",
            path=f"{self.door}/refund",
            about=("refund_id", key),
            body={
                "refund_id": key,
                "txn_id": debit,
                "amount_minor": refund.amount_minor,
                "currency": refund.currency,
                "note": self._note(refund.note),
            },
            moves=True,
            refusals=self._never_took("refund") | self._no_debit(),
        )
        return await self._ask(call, lambda said: self._given(said, debit, refund.amount_minor))

    async def refund_status(self, refund: RailRefund) -> RailAnswer:
        key, debit = txn_id(refund.refund), refund.debit or txn_id(refund.attempt)
        call = Call(
            method="GET",
            path=f"{self.door}/refund/{key}",
            about=("refund_id", key),
            refusals=self._never_took("refund"),
        )
        return await self._ask(call, lambda said: self._given(said, debit, refund.amount_minor))

    async def paid_by_link(self, reference: str) -> list[LinkPayment] | None:  # noqa: ARG002 - a door of its own
        """No app pays over this rail by a link."""
        return []

    def _note(self, note: str) -> str:
        return note[:MAX_NOTE]

    def _paid(self, said: dict[str, Any], amount_minor: int | None = None) -> RailAnswer | None:
        """What became of a debit; of another amount than was asked for, nothing is known."""
        one = told(said, self.codes.form)
        return None if one is None else self._answer(one, amount_minor)

    def _given(self, said: dict[str, Any], debit: str, amount_minor: int) -> RailAnswer | None:
        one = told(said, self.codes.form)
        if one is None or said.get("txn_id") != debit:
            return None
        return self._answer(one, amount_minor)

    def _answer(self, one: Told, amount_minor: int | None) -> RailAnswer:
        outcome = Outcome.REVERSED if one.given_back else self.codes.meaning(one.code)
        wrong = amount_minor is not None and one.amount_minor != amount_minor
        bare = outcome is Outcome.SUCCEEDED and one.reference is None
        if bare or (wrong and outcome in {Outcome.SUCCEEDED, Outcome.ACTION}):
            outcome = Outcome.UNKNOWN
        return RailAnswer(outcome=outcome, code=one.code, rail_reference=one.reference)

    def _never_took(self, what: str) -> dict[str, Outcome]:
        prefix = f"{self.door.strip('/')}.{what}_"
        return dict.fromkeys((f"{prefix}not_found", f"{prefix}tombstoned"), Outcome.NOT_FOUND)

    def _stands(self) -> dict[str, Outcome]:
        """Of what was captured in part, nothing is reversed: it stands, and will."""
        return {f"{self.door.strip('/')}.txn_captured": Outcome.SUCCEEDED}

    def _no_debit(self) -> dict[str, Outcome]:
        """A debit that the rail never took, and never will, can never be given back."""
        return dict.fromkeys(self._never_took("txn"), Outcome.DECLINED)


def _not_standing(answer: RailAnswer | None) -> RailAnswer | None:
    if answer is None or answer.outcome in {Outcome.DECLINED, Outcome.REVERSED}:
        return answer
    return RailAnswer(
        outcome=Outcome.UNKNOWN, code=answer.code, rail_reference=answer.rail_reference
    )

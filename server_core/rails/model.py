"""The port of a payment rail: what may be asked of it, and the eight answers that there are."""

from enum import StrEnum
from typing import Protocol
from uuid import UUID

from msgspec import Struct


class Outcome(StrEnum):
    """What is known after a call.

    `succeeded`: the payer was debited and the payee credited (of a refund: it was given back).
    `authorized`: the money is set aside and not taken; only a rail that captures later says it.
    `action`: nothing moves until the payer acts at `action_url`. `declined`: refused, nothing moves.
    `reversed`: it was debited and has been given back. `not_sent`: the request provably did not
    leave, so that another rail may be tried at once; only what moves money (`authorize`, `capture`,
    `refund`) answers it.
    `not_found`: the rail never took the attempt AND from now on refuses it, so that nothing was
    and nothing can be debited. An adapter may answer it only for a rail that promises both (our
    sandbox does, by a tombstone); of any other rail it would be `unknown` until that rail's own
    window has passed. `unknown`: everything else, which is asked again and never sent again.
    """

    SUCCEEDED = "succeeded"
    AUTHORIZED = "authorized"
    ACTION = "action"
    DECLINED = "declined"
    REVERSED = "reversed"
    NOT_SENT = "not_sent"
    NOT_FOUND = "not_found"
    UNKNOWN = "unknown"


class RailOrder(Struct, frozen=True, kw_only=True):
    """One debit to ask for. `attempt` is the rail's idempotency key: one attempt, one debit.

    `instrument` is what the payer pays with: the VPA over UPI, the card's token, the bank's code.
    `payee_vpa` says where the money goes; `mcc` is the payee's ISO 18245 category, "0000" for a
    person. `capture` False only sets the money aside, on a rail whose traits say that it can.
    """

    attempt: UUID
    amount_minor: int
    currency: str
    instrument: str
    payee_vpa: str
    payee_name: str = ""
    mcc: str = "0000"
    note: str = ""
    capture: bool = True


class RailRefund(Struct, frozen=True, kw_only=True):
    """Money to give back of a debit. `refund` is the rail's idempotency key: one id, one refund.

    `debit` is the rail's own id of the debit where that is not the attempt's: when the payer's own
    app made it from a link.
    """

    refund: UUID
    attempt: UUID
    amount_minor: int
    currency: str
    note: str = ""
    debit: str | None = None


class RailAnswer(Struct, frozen=True, kw_only=True):
    """What came of one call.

    `code` is the rail's own, verbatim, or None when nothing readable came back; `rail_reference`
    is its reference of the debit (over UPI the RRN, 12 digits). `action_url` is where the payer
    must act, with `action` alone. `debit` is the rail's own id of the debit where that is not the
    attempt's: of one that the payer's own app made from a link. `asked_at_ms` is Unix ms.
    """

    outcome: Outcome
    code: str | None = None
    rail_reference: str | None = None
    action_url: str | None = None
    debit: str | None = None
    asked_at_ms: int = 0
    latency_ms: int = 0


class LinkPayment(Struct, frozen=True, kw_only=True):
    """What somebody's app made of a link: its own transaction id, and what became of the debit."""

    txn_id: str
    amount_minor: int
    answer: RailAnswer


class Rail(Protocol):
    """A rail. A refusal or a failure is an answer, never an exception; only cancellation escapes.

    Every call may be repeated with the same id: an attempt names one debit for ever, a capture and
    a refund one movement each. `status`, `reverse` and `refund_status` never answer `not_sent`:
    that they did not leave says nothing about the money.
    """

    @property
    def name(self) -> str: ...

    async def authorize(self, order: RailOrder) -> RailAnswer:
        """Debit the payer, or set the money aside (`capture` False), or say where the payer acts."""
        ...

    async def capture(
        self, attempt: UUID, capture: UUID, amount_minor: int, *, final: bool = False
    ) -> RailAnswer:
        """Take of what was set aside; `final` lets go of the rest.

        A rail of one step says what became of the debit.
        """
        ...

    async def reverse(self, attempt: UUID) -> RailAnswer:
        """Give all back, debited or set aside: `reversed`, or why there is nothing to give back."""
        ...

    async def status(self, attempt: UUID, amount_minor: int | None = None) -> RailAnswer:
        """What became of the attempt; of a debit of another amount, when one is said, nothing is known."""
        ...

    async def paid_by_link(self, reference: str) -> list[LinkPayment] | None:
        """Every debit under a link's reference (`tr`), the first first; None when not heard.

        A link may be paid twice, and by several payers. A rail without links has none.
        """
        ...

    async def refund(self, refund: RailRefund) -> RailAnswer:
        """Give back, in whole or in part, what was debited."""
        ...

    async def refund_status(self, refund: RailRefund) -> RailAnswer:
        """What became of a refund; of another amount, or another debit's, nothing is known."""
        ...

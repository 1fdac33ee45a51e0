"""The port of a payment rail: what may be asked of it, and the six answers that there are."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol
from uuid import UUID


class Outcome(StrEnum):
    """What is known after a call.

    `succeeded`: the payer was debited and the payee credited. `declined`: refused, nothing moves.
    `reversed`: it was debited and has been given back. `not_sent`: the request provably did not
    leave, so that another rail may be tried at once; only `authorize` and `capture` answer it.
    `not_found`: the rail never took the attempt AND from now on refuses it, so that nothing was
    and nothing can be debited. An adapter may answer it only for a rail that promises both (our
    sandbox does, by a tombstone); of any other rail it would be `unknown` until that rail's own
    window has passed. `unknown`: everything else, which is asked again and never sent again.
    """

    SUCCEEDED = "succeeded"
    DECLINED = "declined"
    REVERSED = "reversed"
    NOT_SENT = "not_sent"
    NOT_FOUND = "not_found"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class RailOrder:
    """One debit to ask for. `attempt` is the rail's idempotency key: one attempt, one debit.

    `payer_vpa` names the payer's instrument, `payee_vpa` where the money goes; `mcc` is the
    payee's ISO 18245 category, "0000" for a person.
    """

    attempt: UUID
    amount_minor: int
    currency: str
    payer_vpa: str
    payee_vpa: str
    payee_name: str = ""
    mcc: str = "0000"
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RailAnswer:
    """What came of one call.

    `code` is the rail's own, verbatim, or None when nothing readable came back; `rail_reference`
    is its reference of the debit (over UPI the RRN, 12 digits). `asked_at_ms` is Unix ms.
    """

    outcome: Outcome
    code: str | None = None
    rail_reference: str | None = None
    asked_at_ms: int = 0
    latency_ms: int = 0


class Rail(Protocol):
    """A rail. A refusal or a failure is an answer, never an exception; only cancellation escapes.

    Every call may be repeated with the same attempt: it names one debit for ever. `status` and
    `reverse` never answer `not_sent`: that they did not leave says nothing about the debit.
    """

    @property
    def name(self) -> str: ...

    async def authorize(self, order: RailOrder) -> RailAnswer:
        """Debit the payer, or on a two-step rail set the money aside."""
        ...

    async def capture(self, attempt: UUID, amount_minor: int) -> RailAnswer:
        """Take what was set aside; on a rail of one step, say what became of the debit."""
        ...

    async def reverse(self, attempt: UUID) -> RailAnswer:
        """Give a debit back: `reversed`, or why there is nothing to give back."""
        ...

    async def status(self, attempt: UUID) -> RailAnswer:
        """What became of the attempt."""
        ...

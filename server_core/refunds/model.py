"""A refund, its states, and the command that makes one."""

from enum import StrEnum
from typing import Final
from uuid import UUID

from msgspec import Struct

from server_core.actor import Actor
from server_core.payments.model import Method

MAX_NOTE: Final = 140


class State(StrEnum):
    """`pending` while its rail has not said; what is `failed` gave the money back to the payee.

    A rail that made it all the same, and says so later, has it succeed.
    """

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


TRANSITIONS: Final[dict[State, frozenset[State]]] = {
    State.PENDING: frozenset({State.SUCCEEDED, State.FAILED}),
    State.SUCCEEDED: frozenset(),
    State.FAILED: frozenset({State.SUCCEEDED}),
}


class Reason(StrEnum):
    """Why money goes back (names as in the field's refund APIs)."""

    REQUESTED_BY_CUSTOMER = "requested_by_customer"
    DUPLICATE = "duplicate"
    FRAUDULENT = "fraudulent"


class Refund(Struct, frozen=True, kw_only=True):
    """`amount` minor units of `intent` that go back over the rail of `attempt`, which paid them.

    `rail` is None when they go back into the wallet; `debit` is the rail's own id of what the
    payer's app had paid.

    `code` and `rail_reference` are the rail's own; `scope`, `key` and `body` the claim that made it.
    """

    id: UUID
    intent: UUID
    attempt: UUID
    method: Method
    rail: str | None
    debit: str | None
    payee: UUID
    payer: UUID | None
    amount: int
    currency: str
    state: State
    reason: Reason
    note: str
    code: str | None
    rail_reference: str | None
    asked: int
    next_check_at: int | None
    scope: str
    key: str
    body: bytes
    created_at: int
    ended_at: int | None


class Ask(Struct, frozen=True, kw_only=True):
    """Give `amount` of a payment back, None for all that is left of it."""

    actor: Actor
    key: str
    intent: UUID
    amount: int | None = None
    reason: Reason = Reason.REQUESTED_BY_CUSTOMER
    note: str = ""

"""Intents, attempts, their states, and the transitions that there are."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID

from server_core.actor import Actor
from server_core.rails.model import Rail

LIFE_MS: Final = 30 * 60 * 1000
"""An intent that nobody confirms is over after half an hour, unless it says otherwise."""

MAX_LIFE_MS: Final = 7 * 24 * 3600 * 1000
MAX_ATTEMPTS: Final = 10
"""How often a payer may try to pay one intent."""

MAX_OPERATIONS: Final = 60
"""How many attempts of every kind one intent has; each list of them fits on a page."""

HOLD_MS: Final = 7 * 24 * 3600 * 1000
"""Money that was authorized and not captured after seven days is its payer's again."""

MAX_DESCRIPTION: Final = 140


class Purpose(StrEnum):
    """What the money is for: a payment to somebody, or one's own wallet being filled."""

    PAYMENT = "payment"
    TOP_UP = "top_up"


class State(StrEnum):
    """Where an intent stands (names as in the field's intent APIs)."""

    REQUIRES_CONFIRMATION = "requires_confirmation"
    PROCESSING = "processing"
    REQUIRES_CAPTURE = "requires_capture"
    SUCCEEDED = "succeeded"
    REQUIRES_PAYMENT_METHOD = "requires_payment_method"
    CANCELED = "canceled"
    EXPIRED = "expired"


class CaptureMethod(StrEnum):
    """When the money is taken: at once, by one capture later, or by several."""

    AUTOMATIC = "automatic"
    MANUAL = "manual"
    MANUAL_MULTIPLE = "manual_multiple"


CONFIRMABLE: Final = frozenset({State.REQUIRES_CONFIRMATION, State.REQUIRES_PAYMENT_METHOD})

TRANSITIONS: Final[dict[State, frozenset[State]]] = {
    **dict.fromkeys(
        CONFIRMABLE,
        frozenset(
            {
                State.PROCESSING,
                State.REQUIRES_CAPTURE,
                State.SUCCEEDED,
                State.REQUIRES_PAYMENT_METHOD,
                State.CANCELED,
                State.EXPIRED,
            }
        ),
    ),
    State.PROCESSING: frozenset(
        {State.SUCCEEDED, State.REQUIRES_CAPTURE, State.REQUIRES_PAYMENT_METHOD}
    ),
    State.REQUIRES_CAPTURE: frozenset(
        {State.REQUIRES_CAPTURE, State.SUCCEEDED, State.CANCELED, State.EXPIRED}
    ),
    State.SUCCEEDED: frozenset(),
    State.CANCELED: frozenset(),
    State.EXPIRED: frozenset(),
}


class Method(StrEnum):
    """How the payer pays: from the wallet, or by a bank account over UPI."""

    BOOK = "book"
    UPI = "upi"
    OFFLINE = "offline"


CAPTURES_LATER: Final = frozenset({Method.BOOK})
"""What can set money aside and take it afterwards. A UPI payment is one step."""


class Operation(StrEnum):
    """What an attempt does with the payer's money: take it or set it aside; take what was set aside."""

    PAY = "pay"
    CAPTURE = "capture"


class AttemptState(StrEnum):
    """What is known of one try. `sent` may still be under way; `unknown` is asked about again."""

    SENT = "sent"
    UNKNOWN = "unknown"
    SUCCEEDED = "succeeded"
    DECLINED = "declined"
    NOT_SENT = "not_sent"
    REVERSED = "reversed"


OPEN: Final = frozenset({AttemptState.SENT, AttemptState.UNKNOWN})


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """What is to be paid, by whom, to whom. `payer` is None until somebody confirms.

    `origin` names the command and the key that made it, after the key's answer is forgotten too.
    Of `amount`, `captured` is the payee's, `capturable` is set aside by attempt `authorized` until
    `capture_before`, and `refunded` of what was captured went back or is on its way back.
    """

    id: UUID
    purpose: Purpose
    state: State
    payer: UUID | None
    payee: UUID
    amount: int
    currency: str
    description: str
    attempts: int
    created_at: int
    expires_at: int
    updated_at: int
    origin: UUID | None = None
    capture_method: CaptureMethod = CaptureMethod.AUTOMATIC
    captured: int = 0
    capturable: int = 0
    refunded: int = 0
    authorized: int | None = None
    capture_before: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One operation over one rail, of `amount` minor units; `code` is the rail's own, verbatim."""

    id: UUID
    intent: UUID
    number: int
    operation: Operation = Operation.PAY
    amount: int
    method: Method
    state: AttemptState
    payer_vpa: str | None
    code: str | None
    rail_reference: str | None
    asked: int
    next_check_at: int | None
    scope: str
    key: str
    started_at: int
    ended_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """Ask for money (as payee), offer it (as payer), or fill one's own wallet (top-up)."""

    actor: Actor
    key: str
    payee: UUID
    amount: int
    currency: str
    purpose: Purpose = Purpose.PAYMENT
    description: str = ""
    life_ms: int = LIFE_MS
    capture_method: CaptureMethod = CaptureMethod.AUTOMATIC


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirm:
    """Pay the intent as `actor`; `payer_vpa` names the bank account when the method is UPI."""

    actor: Actor
    key: str
    intent: UUID
    method: Method
    payer_vpa: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pay:
    """Create and confirm in one: `offer` is what is paid, and its actor and key are the payment's."""

    offer: Create
    method: Method
    payer_vpa: str | None = None

    @property
    def actor(self) -> Actor:
        return self.offer.actor

    @property
    def key(self) -> str:
        return self.offer.key


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """Take `amount` of what an intent set aside, None for all that is left.

    `final` gives the rest back to the payer.
    """

    actor: Actor
    key: str
    intent: UUID
    amount: int | None = None
    final: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """End an intent that nobody has paid, or give back what it set aside.

    A repeat changes nothing: without a key it is not remembered.
    """

    actor: Actor
    intent: UUID
    key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rails:
    """The connected rails; `pace` below 1 asks a sandbox sooner than a real switch allows."""

    by_method: Mapping[Method, Rail]
    pace: float = 1.0

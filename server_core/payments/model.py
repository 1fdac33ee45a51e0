"""Intents, attempts, their states, and the transitions that there are."""

from enum import StrEnum
from typing import Final
from uuid import UUID

from msgspec import Struct

from server_core.actor import Actor

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
    REQUIRES_ACTION = "requires_action"
    PROCESSING = "processing"
    REQUIRES_CAPTURE = "requires_capture"
    SUCCEEDED = "succeeded"
    REQUIRES_PAYMENT_METHOD = "requires_payment_method"
    CANCELED = "canceled"
    EXPIRED = "expired"
    CONFLICTED = "conflicted"


class ActionType(StrEnum):
    """What a payer must do before anything moves (names as in the field's intent APIs)."""

    REDIRECT = "redirect"
    DISPLAY_QR = "display_qr"


class CaptureMethod(StrEnum):
    """When the money is taken: at once, by one capture later, or by several."""

    AUTOMATIC = "automatic"
    MANUAL = "manual"
    MANUAL_MULTIPLE = "manual_multiple"


OVER: Final = frozenset({State.SUCCEEDED, State.CANCELED, State.EXPIRED})
"""Nothing more is awaited of such a payment; only a rail that contradicts itself changes it."""

CONFIRMABLE: Final = frozenset({State.REQUIRES_CONFIRMATION, State.REQUIRES_PAYMENT_METHOD})

TRANSITIONS: Final[dict[State, frozenset[State]]] = {
    **dict.fromkeys(
        CONFIRMABLE,
        frozenset(
            {
                State.PROCESSING,
                State.REQUIRES_ACTION,
                State.REQUIRES_CAPTURE,
                State.SUCCEEDED,
                State.REQUIRES_PAYMENT_METHOD,
                State.CANCELED,
                State.EXPIRED,
            }
        ),
    ),
    **dict.fromkeys(
        (State.PROCESSING, State.REQUIRES_ACTION),
        frozenset(
            {
                State.REQUIRES_ACTION,
                State.PROCESSING,
                State.SUCCEEDED,
                State.REQUIRES_CAPTURE,
                State.REQUIRES_PAYMENT_METHOD,
            }
        ),
    ),
    State.REQUIRES_CAPTURE: frozenset(
        {State.REQUIRES_CAPTURE, State.SUCCEEDED, State.CANCELED, State.EXPIRED}
    ),
    State.SUCCEEDED: frozenset({State.CONFLICTED}),
    State.CONFLICTED: frozenset({State.SUCCEEDED, State.CANCELED}),
    State.CANCELED: frozenset(),
    State.EXPIRED: frozenset(),
}


class Method(StrEnum):
    """How the payer pays: from the wallet, by a VPA, by a link in any UPI app, by card, at a bank."""

    BOOK = "book"
    UPI = "upi"
    UPI_LINK = "upi_link"
    CARD = "card"
    NETBANKING = "netbanking"
    OFFLINE = "offline"


FROM_BANKS: Final = frozenset({Method.UPI, Method.CARD, Method.NETBANKING})
"""What fills a wallet."""


class Operation(StrEnum):
    """What an attempt does with the payer's money.

    PAY takes it or sets it aside; CAPTURE takes of what was set aside; VOID tells the rail that no
    more of it is taken.
    """

    PAY = "pay"
    CAPTURE = "capture"
    VOID = "void"


class AttemptState(StrEnum):
    """What is known of one try.

    `sent` may still be under way; `requires_action` waits for the payer, outside Hundi; `unknown`
    is asked about again. One that is `reversing` was taken back: it is never paid any more.
    """

    SENT = "sent"
    REQUIRES_ACTION = "requires_action"
    UNKNOWN = "unknown"
    REVERSING = "reversing"
    SUCCEEDED = "succeeded"
    DECLINED = "declined"
    NOT_SENT = "not_sent"
    REVERSED = "reversed"


OPEN: Final = frozenset(
    {
        AttemptState.SENT, AttemptState.REQUIRES_ACTION, AttemptState.UNKNOWN,
        AttemptState.REVERSING,
    }
)  # fmt: skip


class Decision(StrEnum):
    """How an operator ends a conflict, and so who bears it.

    TAKEN: the rail owes the money after all (its settlement file says so), nothing moves.
    WRITTEN_OFF: the rail never took it; the payee keeps it, the house pays.
    TAKEN_BACK: the rail never took it; the payee gives it back, and the payment is canceled.
    """

    TAKEN = "taken"
    WRITTEN_OFF = "written_off"
    TAKEN_BACK = "taken_back"


class Intent(Struct, frozen=True, kw_only=True):
    """What is to be paid, by whom, to whom. `payer` is None until somebody confirms.

    `origin` names the command and the key that made it, after the key's answer is forgotten too.
    Of `amount`, `captured` is the payee's, `capturable` is set aside by attempt `authorized` until
    `capture_before`, and `refunded` of what was captured went back or is on its way back. While it
    is `requires_action`, `action` is the URL where the payer acts.
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
    action: str | None = None


class Attempt(Struct, frozen=True, kw_only=True):
    """One operation over one rail, of `amount` minor units; `code` is the rail's own, verbatim.

    A capture that is `final` gives the rest back. `rail` is None where the ledger alone sufficed, and `route` why it was this one (a record of
    `rails/router`). What the payer pays with is kept as `hint` only, which names it to its owner.
    `debit` is the rail's id of a debit that the payer's own app made; `verb` and `body` are of the
    request that began it, the body as a hash.
    """

    id: UUID
    intent: UUID
    number: int
    operation: Operation = Operation.PAY
    amount: int
    final: bool = True
    method: Method
    rail: str | None = None
    route: str | None = None
    hint: str | None = None
    state: AttemptState
    debit: str | None = None
    code: str | None
    rail_reference: str | None
    asked: int
    next_check_at: int | None
    scope: str
    key: str
    verb: str
    body: bytes
    started_at: int
    ended_at: int | None


class Create(Struct, frozen=True, kw_only=True):
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


class Confirm(Struct, frozen=True, kw_only=True):
    """Pay the intent as `actor`.

    `instrument` is what pays: a VPA (`upi`), a card's token (`card`), a bank's code (`netbanking`).
    """

    actor: Actor
    key: str
    intent: UUID
    method: Method
    instrument: str | None = None


class Pay(Struct, frozen=True, kw_only=True):
    """Create and confirm in one: `offer` is what is paid, and its actor and key are the payment's."""

    offer: Create
    method: Method
    instrument: str | None = None

    @property
    def actor(self) -> Actor:
        return self.offer.actor

    @property
    def key(self) -> str:
        return self.offer.key


class Capture(Struct, frozen=True, kw_only=True):
    """Take `amount` of what an intent set aside, None for all that is left.

    `final` gives the rest back to the payer.
    """

    actor: Actor
    key: str
    intent: UUID
    amount: int | None = None
    final: bool = True


class Cancel(Struct, frozen=True, kw_only=True):
    """End an intent that nobody has paid, or give back what it set aside.

    A repeat changes nothing: without a key it is not remembered.
    """

    actor: Actor
    intent: UUID
    key: str | None = None

"""What the ledger is made of: accounts with four running totals, immutable transfers, outcomes."""

from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple
from uuid import UUID

from msgspec import Struct, field

from server_core.ids import derived

MAX_TOTAL: Final = 2**63 - 1
"""No running total may pass this: it is a bigint's end, refused before it happens."""


class Side(StrEnum):
    """The side on which an account's balance grows."""

    DEBIT = "debit"
    CREDIT = "credit"


class Code(StrEnum):
    """The chart of accounts."""

    WALLET = "wallet"
    PAYABLE = "payable"
    OFFLINE = "offline"
    ESCROW = "escrow"
    UNCLAIMED = "unclaimed"
    CLEARING = "clearing"
    NOSTRO = "nostro"
    POSITION = "position"
    FEES = "fees"
    FX_SPREAD = "fx_spread"
    COMPENSATION = "compensation"
    SUSPENSE = "suspense"


NORMAL_SIDE: Final[dict[Code, Side]] = {
    Code.WALLET: Side.CREDIT,
    Code.PAYABLE: Side.CREDIT,
    Code.OFFLINE: Side.CREDIT,
    Code.ESCROW: Side.CREDIT,
    Code.UNCLAIMED: Side.CREDIT,
    Code.CLEARING: Side.DEBIT,
    Code.NOSTRO: Side.DEBIT,
    Code.POSITION: Side.CREDIT,
    Code.FEES: Side.CREDIT,
    Code.FX_SPREAD: Side.CREDIT,
    Code.COMPENSATION: Side.DEBIT,
    Code.SUSPENSE: Side.CREDIT,
}

NO_FLOOR: Final = frozenset(
    {Code.CLEARING, Code.NOSTRO, Code.POSITION, Code.SUSPENSE, Code.COMPENSATION}
)
"""Accounts that may stand on either side of zero."""


class Account(Struct, frozen=True, kw_only=True):
    """One account; totals in minor units of `ledger` (a currency), `moved_at` its last entry's time."""

    id: UUID
    ledger: str
    code: Code
    owner: str
    side: Side
    floor: int | None = 0
    cap: int | None = None
    closed: bool = False
    version: int = 0
    debits_pending: int = 0
    debits_posted: int = 0
    credits_pending: int = 0
    credits_posted: int = 0
    moved_at: int = 0

    @property
    def balance(self) -> int:
        """What is posted, on the normal side."""
        net = self.credits_posted - self.debits_posted
        return net if self.side is Side.CREDIT else -net

    @property
    def available(self) -> int:
        """What may still leave: the balance less what pending transfers take."""
        taken = self.debits_pending if self.side is Side.CREDIT else self.credits_pending
        return self.balance - taken


@lru_cache(maxsize=8192)  # a batch asks for its shop's a hundred times
def account_id(code: Code, owner: object, currency: str) -> UUID:
    """An account's id is what it is for: `wallet`, a party and a currency name one account."""
    return derived("account", code, owner, currency)


class Mode(StrEnum):
    """The five kinds of transfer."""

    SINGLE = "single"
    PENDING = "pending"
    POST = "post"
    VOID = "void"
    EXPIRE = "expire"


class Transfer(Struct, frozen=True, kw_only=True):
    """One immutable movement from one account to another.

    `id` comes from the caller and is the idempotency key, for ever: derive it from purpose, owner,
    attempt and leg. POST, VOID and EXPIRE name `pending_id`; accounts and ledger are the
    pending transfer's, whatever they say; VOID and EXPIRE take the rest, so their amount is 0. `final` on a POST
    gives the rest back. `linked` chains it to the next one: all of a chain or nothing.
    `effective_at` (Unix ms) is the effective time, None for the recorded one; the recorded time
    is the Work's, or that of either account's last entry when that is later, so that it never
    runs backwards in an account.
    """

    id: UUID
    mode: Mode = Mode.SINGLE
    debit: UUID | None = None
    credit: UUID | None = None
    amount: int = 0
    ledger: str = "INR"
    code: str = ""
    reference: str = ""
    pending_id: UUID | None = None
    final: bool = True
    expires_at: int | None = None
    linked: bool = False
    effective_at: int | None = None


class Result(StrEnum):
    """What became of a transfer. Order is precedence: the first that holds is the answer."""

    CREATED = "created"
    EXISTS = "exists"
    EXISTS_WITH_DIFFERENT_FIELDS = "exists_with_different_fields"
    ID_ALREADY_FAILED = "id_already_failed"
    LINKED_EVENT_FAILED = "linked_event_failed"
    LINKED_CHAIN_OPEN = "linked_event_chain_open"
    AMOUNT_MUST_BE_POSITIVE = "amount_must_be_positive"
    ACCOUNTS_MUST_BE_DIFFERENT = "accounts_must_be_different"
    PENDING_TRANSFER_NOT_FOUND = "pending_transfer_not_found"
    PENDING_TRANSFER_NOT_PENDING = "pending_transfer_not_pending"
    PENDING_TRANSFER_ALREADY_POSTED = "pending_transfer_already_posted"
    PENDING_TRANSFER_ALREADY_VOIDED = "pending_transfer_already_voided"
    PENDING_TRANSFER_EXPIRED = "pending_transfer_expired"
    PENDING_TRANSFER_NOT_EXPIRED = "pending_transfer_not_expired"
    EXCEEDS_PENDING_TRANSFER_AMOUNT = "exceeds_pending_transfer_amount"
    ACCOUNT_NOT_FOUND = "account_not_found"
    ACCOUNTS_MUST_HAVE_THE_SAME_LEDGER = "accounts_must_have_the_same_ledger"
    ACCOUNT_CLOSED = "account_closed"
    OVERFLOWS = "overflows"
    EXCEEDS_FUNDS = "exceeds_funds"
    EXCEEDS_CAP = "exceeds_cap"


FINE: Final = frozenset({Result.CREATED, Result.EXISTS})


class Outcome(NamedTuple):
    """`result`; for a repeated failed id also what it failed with first."""

    id: UUID
    result: Result
    first_failure: Result | None = None
    available: int | None = None

    @property
    def ok(self) -> bool:
        return self.result in FINE


class Hold(Struct, frozen=True, kw_only=True):
    """A pending transfer as it stands: `remaining` until `resolved_by` a final post, void, expiry."""

    transfer: Transfer
    remaining: int
    resolved_by: Mode | None = None


class Standing(Struct):
    """An account while a batch is decided: what it allows, and its running totals.

    `line` is the place of its newest entry in the decision, -1 while it has none there.
    """

    id: UUID
    ledger: str
    credit: bool
    floor: int | None
    cap: int | None
    closed: bool
    version: int
    debits_pending: int
    debits_posted: int
    credits_pending: int
    credits_posted: int
    moved_at: int
    line: int = -1

    @property
    def balance(self) -> int:
        net = self.credits_posted - self.debits_posted
        return net if self.credit else -net

    @property
    def available(self) -> int:
        return self.balance - (self.debits_pending if self.credit else self.credits_pending)

    @property
    def potential(self) -> int:
        """What the balance comes to when all that is on its way in arrives."""
        return self.balance + (self.credits_pending if self.credit else self.debits_pending)


class Known(Struct):
    """What the ledger knows of the ids in a batch, read under the accounts' locks."""

    accounts: dict[UUID, Standing]
    transfers: dict[UUID, tuple[Transfer, Result]] = field(default_factory=dict)
    holds: dict[UUID, Hold] = field(default_factory=dict)


class Line(NamedTuple):
    """An entry to be written: the account's totals right after the transfer."""

    account: UUID
    version: int
    transfer: UUID
    debits_pending: int
    debits_posted: int
    credits_pending: int
    credits_posted: int
    recorded_at: int


class Made(NamedTuple):
    """A transfer to be written with its result; a created one names its two entries' versions."""

    transfer: Transfer
    result: Result
    debit_version: int | None
    credit_version: int | None
    recorded_at: int


class Decision(Struct):
    """What a batch writes. `last` marks the lines after which an account has no other one."""

    outcomes: list[Outcome] = field(default_factory=list)
    transfers: list[Made] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    last: list[bool] = field(default_factory=list)


class Finding(Struct, frozen=True, kw_only=True):
    """`law` that a row breaks, and the row; `fatal` is False for what an operator must look at."""

    law: str
    row: str
    fatal: bool = True

"""Allowances and what becomes of the vouchers under them."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID

from offline.verify import Link
from offline.wire import SignedVoucher

STEP_UP_MS: Final = 5 * 60 * 1000
"""Taking an allowance asks for a second factor younger than this."""

MARGIN_S: Final = 3600
"""How long after settle_until a voucher still settles before the allowance closes."""


class State(StrEnum):
    """ISSUED may be spent; DRAINING only settles; CLOSED is final. Frozen is a flag beside it."""

    ISSUED = "issued"
    DRAINING = "draining"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """A as it was issued, its hold, and where the hold has gone. Times in whole Unix seconds.

    settled + claimed + unclaimed + returned ≤ hold at every instant, = hold when CLOSED.
    """

    aid: bytes
    party: UUID
    device: UUID
    currency: str
    kid: bytes
    raw: bytes
    sig: bytes
    digest: bytes
    hold: int
    spend_until: int
    settle_until: int
    state: State
    frozen: bool
    settled: int
    claimed: int
    unclaimed: int
    returned: int

    @property
    def rest(self) -> int:
        return self.hold - self.settled - self.claimed - self.unclaimed - self.returned


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A voucher that reached us, by h; `verdict` is what became of it first."""

    aid: bytes
    link: Link
    payee: bytes
    terminal: bytes
    nonce: bytes
    wire: bytes
    verdict: str
    seen_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """The one voucher that took (aid, counter)."""

    aid: bytes
    counter: int
    h: bytes
    terminal: bytes
    nonce: bytes
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Two validly signed vouchers that no honest device makes; stored once, lower h first."""

    aid: bytes
    h: bytes
    other: bytes
    verdict: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldVoid:
    """A terminal's signed void of h; `applied_at` is set when the refund is posted."""

    h: bytes
    aid: bytes
    counter: int
    terminal: bytes
    payee: bytes
    wire: bytes
    tries: int = 0
    applied_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """What the server knows of a terminal's journal.

    `claimed_head` and `claimed_applied` are the highest that a signed header claimed: an APPLY that
    arrives later than claimed is a fork. `told` is the revocation epoch of the last answer.
    """

    terminal: bytes
    epoch: bytes | None = None
    acked_seq: int = 0
    acked_head: bytes = bytes(32)
    applied: int = 0
    claimed_head: int = 0
    claimed_applied: int = 0
    told: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One voucher as an operator sees it."""

    h: bytes
    aid: bytes
    payer: UUID
    counter: int
    terminal: bytes
    amount: int
    verdict: str
    settled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """An ACCEPT row ready to be judged: `content` is the verdict of its stateless checks."""

    signed: SignedVoucher
    content: str
    applied: int = 0

"""Allowances and what becomes of the vouchers under them."""

from enum import StrEnum
from typing import Final
from uuid import UUID

from msgspec import Struct

from offline.journal import Row
from offline.verdicts import Verdict
from offline.verify import Link
from offline.wire import SignedVoucher

STEP_UP_MS: Final = 5 * 60 * 1000
"""Taking an allowance asks for a second factor younger than this."""

PROFILE: Final = "offline"
"""The limits of allowances and terminals, as `limit_profile` rows; the migrations say their sources."""


class State(StrEnum):
    """ISSUED may be spent; DRAINING only settles; CLOSED is final. Frozen is a flag beside it."""

    ISSUED = "issued"
    DRAINING = "draining"
    CLOSED = "closed"


class Allowance(Struct, frozen=True, kw_only=True):
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


class Seen(Struct, frozen=True, kw_only=True):
    """A voucher that reached us, by h; `verdict` is what became of it first.

    `place` counts receipts within the allowance (under its lock, so it is the commit order).
    `claimable`: it lost as DOUBLE_SPEND, unrevoked and in its window: a frozen rest pays it at close.
    """

    aid: bytes
    link: Link
    payee: bytes
    terminal: bytes
    nonce: bytes
    wire: bytes
    verdict: str
    seen_at: int
    place: int = 0
    claimable: bool = False


class Settled(Struct, frozen=True, kw_only=True):
    """The one voucher that took (aid, counter)."""

    aid: bytes
    counter: int
    h: bytes
    terminal: bytes
    nonce: bytes
    amount: int


class Evidence(Struct, frozen=True, kw_only=True):
    """Two validly signed vouchers that no honest device makes; stored once, lower h first."""

    aid: bytes
    h: bytes
    other: bytes
    verdict: str


class HeldVoid(Struct, frozen=True, kw_only=True):
    """A terminal's signed void of h; `applied_at` is set when the refund is posted.

    Kept by (h, terminal): a stranger's void of somebody's voucher stands in nobody's way. `tries`
    numbers the ledger's attempts: a refused transfer's id is used up. `approved`: an operator lets it
    through although its terminal may not give that much back, or is revoked.
    """

    h: bytes
    terminal: bytes
    aid: bytes
    counter: int
    payee: bytes
    reason: str
    wire: bytes
    tries: int = 0
    applied_at: int | None = None
    approved: bool = False


class Unclaimed(Struct, frozen=True, kw_only=True):
    """Witnessed value that no terminal brought in time: the merchant's by claim until `until` (s)."""

    h: bytes
    aid: bytes
    terminal: bytes
    amount: int
    until: int
    paid_to: str | None = None


class Bearer(StrEnum):
    """Who bears a late voucher: its payer, the house, or the shop that sent it too late."""

    PAYER = "payer"
    HOUSE = "house"
    SHOP = "shop"


class LateClaim(Struct, frozen=True, kw_only=True):
    """A shop's claim of a voucher that came after the close and that no unclaimed money covers."""

    h: bytes
    aid: bytes
    terminal: bytes
    nonce: bytes
    amount: int
    currency: str
    asked_at: int
    decision: Bearer | None = None
    decided_at: int | None = None


class ClaimState(StrEnum):
    """What a shop's claim came to."""

    PAID = "paid"
    WAITING = "waiting"
    REFUSED = "refused"


class Claim(Struct, frozen=True, kw_only=True):
    """A shop's claim of one voucher that settlement did not pay."""

    h: bytes
    amount: int
    currency: str
    state: ClaimState


class Journal(Struct, frozen=True, kw_only=True):
    """What the server knows of a terminal's journal.

    `applied` is the highest APPLY acknowledged, over all epochs; `told` the revocation epoch of the
    last answer given.
    """

    terminal: bytes
    epoch: bytes | None = None
    acked_seq: int = 0
    acked_head: bytes = bytes(32)
    applied: int = 0
    told: int = 0


class Claimed(Struct, frozen=True, kw_only=True):
    """Signed headers said: from head `first` to head `last`, the highest APPLY so far is `applied`."""

    applied: int
    first: int
    last: int


class Report(Struct, frozen=True, kw_only=True):
    """One voucher as an operator sees it."""

    h: bytes
    aid: bytes
    payer: UUID
    counter: int
    terminal: bytes
    amount: int
    verdict: str
    settled: bool


class Read(Struct, frozen=True, kw_only=True):
    """A journal row as it was read and checked outside the transaction."""

    seq: int
    raw: bytes
    row: Row | Verdict
    content: Verdict


class Item(Struct, frozen=True, kw_only=True):
    """An ACCEPT row ready to be judged: `content` is the verdict of its stateless checks.

    `applied` is the revocation epoch in force at that row, `accepted_at` the terminal's time (s).
    """

    signed: SignedVoucher
    content: str
    accepted_at: int
    applied: int = 0


class Ended(Struct, frozen=True, kw_only=True):
    """A request that its terminal closed without a voucher."""

    nonce: bytes
    reason: str


Step = Item | Ended
"""What a journal row means to settlement, in the order of the journal."""

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
_RBI: Final = "RBI offline framework: Jan 2022, raised Aug 2023 and Dec 2024"
LIMIT_ROWS: Final[tuple[tuple[str, int, str, str], ...]] = (
    ("cap_each", 50_000, "minor", f"{_RBI}: INR 500 a payment"),
    ("cap_total", 200_000, "minor", f"{_RBI}: INR 2,000 an instrument"),
    ("max_count", 100, "vouchers", "OV1: vouchers under one allowance"),
    ("holds_per_payer", 400_000, "minor", "OV1: set aside at once: two devices in full"),
    ("spend_window_s", 86_400, "s", "OV1: spend within 24 hours"),
    ("settle_window_s", 345_600, "s", "OV1: settle within 4 days"),
    ("margin_s", 3_600, "s", "OV1: an hour after settle_until before an allowance closes"),
    (
        "void_each",
        50_000,
        "minor",
        "OV1: what a terminal may give back; more waits for an operator",
    ),
    ("exposure_soft", 500_000, "minor", "OV1: unsettled at a terminal: go online if you can"),
    ("exposure_hard", 1_000_000, "minor", "OV1: the floor limit: unsettled at a terminal at most"),
    ("exposure_allowance", 200_000, "minor", "OV1: unsettled of one allowance at one terminal"),
    ("unclaimed_keep_s", 15_552_000, "s", "OV1: 180 days for the merchant, then to the payer"),
)
"""Profile `offline`: (name, value, unit, source). The migration stores them; rows decide, not this."""


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
    numbers the ledger's attempts: a refused transfer's id is used up.
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


class Unclaimed(Struct, frozen=True, kw_only=True):
    """Witnessed value that no terminal brought in time: the merchant's by claim until `until` (s)."""

    h: bytes
    aid: bytes
    terminal: bytes
    amount: int
    until: int
    paid_to: str | None = None


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

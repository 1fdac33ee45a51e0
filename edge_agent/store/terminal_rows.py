"""What a terminal's tables hold, as values."""

from dataclasses import dataclass

from edge_agent.clock_floor import FloorMark


@dataclass(frozen=True, slots=True, kw_only=True)
class TerminalSelf:
    """Who this terminal is, as the server enrolled it."""

    terminal: bytes
    payee: bytes
    kid: bytes
    cert: bytes
    sig_cert: bytes
    root_kid: bytes
    root_key: bytes
    server: str
    enrolled_at_s: int


@dataclass(slots=True, kw_only=True)
class SyncState:
    """The one row that every commit moves."""

    epoch: bytes
    head_seq: int
    head: bytes
    acked_seq: int
    applied: int
    must_sync: bool
    quarantined: bool
    last_sync_s: int | None
    screen_nonce: bytes | None
    floor: FloorMark


@dataclass(frozen=True, slots=True, kw_only=True)
class ChallengeRow:
    """What a payer by phone was asked to answer, and how often the answer was tried."""

    day: int
    challenge: str
    nonce: bytes
    amount: int
    tries: int
    paid: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRow:
    """A request that this terminal showed."""

    nonce: bytes
    amount: int
    ccy: str
    text: str
    asked_at_s: int
    boot: str
    deadline_ms: int
    state: str
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RedeemedRow:
    """A voucher that was taken here."""

    aid: bytes
    counter: int
    h: bytes
    nonce: bytes
    amount: int
    ccy: str
    cum: int
    prev: bytes
    wire: bytes
    receipt: str
    epoch: bytes
    seq: int
    accepted_at_s: int
    returned: bool
    result: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VoidedRow:
    """A voucher that this terminal gave back."""

    h: bytes
    aid: bytes
    counter: int
    amount: int
    ccy: str
    cum: int
    prev: bytes
    nonce: bytes
    reason: str
    wire: bytes
    text: str
    epoch: bytes
    seq: int
    voided_at_s: int
    result: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalRow:
    """One link of the chain."""

    epoch: bytes
    seq: int
    row: bytes
    chain: bytes
    written_at_s: int
    result: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VoucherFacts:
    """What the store says about one voucher, before it is judged."""

    voided: bool
    redeemed: bool
    revoked: bool
    exposure: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """What stands unsettled here, and what open requests may add."""

    unsettled: int
    unsettled_count: int
    open_amount: int
    open_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Takings:
    """What was taken since a moment and not given back; `refused` of it the server does not settle."""

    count: int
    amount: int
    refused_count: int
    refused: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Sales whose settlement is not known here; when the oldest was taken, None if there are none."""

    count: int
    amount: int
    oldest_at_s: int | None

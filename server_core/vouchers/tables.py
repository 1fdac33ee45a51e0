"""The tables of allowances, settlement and journals; the unique keys here are the promise."""

from typing import Final
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, PrimaryKeyConstraint
from sqlalchemy import text as sql
from sqlmodel import SQLModel

from server_core.db import columns as col

APPEND_ONLY: Final = (
    "voucher_seen", "voucher_settled", "voucher_claim", "voucher_evidence", "voucher_witness",
    "closed_request", "revocation", "journal_row",
)  # fmt: skip


class AllowanceRow(SQLModel, table=True):
    """One allowance and where its hold has gone."""

    __tablename__ = "allowance"
    __table_args__ = (
        CheckConstraint(
            "settled >= 0 AND claimed >= 0 AND unclaimed >= 0 AND returned >= 0"
            " AND settled + claimed + unclaimed + returned <= hold",
            name="allowance_hold",
        ),
        Index("allowance_open", "device", unique=True, postgresql_where=sql("state = 'issued'")),
        # An aid's first 8 bytes name it in short places, so they are nobody else's either.
        Index("allowance_head", "head", unique=True),
        Index("allowance_party", "party"),
        Index("allowance_spent", "spend_until", postgresql_where=sql("state = 'issued'")),
        Index("allowance_due", "settle_until", postgresql_where=sql("state <> 'closed'")),
    )
    aid: bytes = col.blob(primary=True)
    party: UUID = col.uuid()
    device: UUID = col.uuid()
    currency: str = col.string()
    kid: bytes = col.blob()
    raw: bytes = col.blob()
    sig: bytes = col.blob()
    digest: bytes = col.blob()
    hold: int = col.big()
    spend_until: int = col.big()
    settle_until: int = col.big()
    state: str = col.string()
    frozen: bool = col.flag()
    settled: int = col.big()
    claimed: int = col.big()
    unclaimed: int = col.big()
    returned: int = col.big()
    head: bytes = col.blob()


class SeenRow(SQLModel, table=True):
    """Append-only: every validly signed voucher that a terminal sent, with its first verdict."""

    __tablename__ = "voucher_seen"
    __table_args__ = (
        PrimaryKeyConstraint("aid", "h", name="voucher_seen_pkey"),
        Index("voucher_seen_h", "h", unique=True),
        Index("voucher_seen_place", "aid", "place", unique=True),
        Index("voucher_seen_terminal", "terminal", "seen_at"),
        CheckConstraint("octet_length(h) = 32 AND amount > 0", name="voucher_seen_sizes"),
    )
    aid: bytes = col.blob()
    h: bytes = col.blob()
    counter: int = col.big()
    amount: int = col.big()
    cum: int = col.big()
    prev: bytes = col.blob()
    payee: bytes = col.blob()
    terminal: bytes = col.blob()
    nonce: bytes = col.blob()
    wire: bytes = col.blob()
    verdict: str = col.string()
    seen_at: int = col.big()
    place: int = col.big()
    claimable: bool = col.flag()


class SettledRow(SQLModel, table=True):
    """Append-only: (allowance, counter) settles once, and a terminal's challenge pays once."""

    __tablename__ = "voucher_settled"
    __table_args__ = (
        PrimaryKeyConstraint("aid", "counter", name="voucher_settled_pkey"),
        Index("voucher_settled_h", "h", unique=True),
        Index("voucher_settled_challenge", "terminal", "nonce", unique=True),
        CheckConstraint("amount > 0", name="voucher_settled_amount"),
    )
    aid: bytes = col.blob()
    counter: int = col.big()
    h: bytes = col.blob()
    terminal: bytes = col.blob()
    nonce: bytes = col.blob()
    amount: int = col.big()
    settled_at: int = col.big()


class ClaimRow(SQLModel, table=True):
    """Append-only: a lost voucher that the rest of a frozen hold paid at close."""

    __tablename__ = "voucher_claim"
    __table_args__ = (PrimaryKeyConstraint("aid", "h", name="voucher_claim_pkey"),)
    aid: bytes = col.blob()
    h: bytes = col.blob()
    amount: int = col.big()


class EvidenceRow(SQLModel, table=True):
    """Append-only: two signed payloads that no honest device makes."""

    __tablename__ = "voucher_evidence"
    __table_args__ = (PrimaryKeyConstraint("aid", "h", "other", name="voucher_evidence_pkey"),)
    aid: bytes = col.blob()
    h: bytes = col.blob()
    other: bytes = col.blob()
    verdict: str = col.string()


class WitnessRow(SQLModel, table=True):
    """Append-only: what a payer showed of its own vouchers."""

    __tablename__ = "voucher_witness"
    __table_args__ = (
        PrimaryKeyConstraint("aid", "h", name="voucher_witness_pkey"),
        Index("voucher_witness_terminal", "terminal"),
    )
    aid: bytes = col.blob()
    h: bytes = col.blob()
    counter: int = col.big()
    amount: int = col.big()
    cum: int = col.big()
    prev: bytes = col.blob()
    payee: bytes = col.blob()
    terminal: bytes = col.blob()
    nonce: bytes = col.blob()
    wire: bytes = col.blob()
    seen_at: int = col.big()


class UnclaimedRow(SQLModel, table=True):
    """Witnessed value set aside at close, and to whom it went in the end."""

    __tablename__ = "voucher_unclaimed"
    __table_args__ = (
        CheckConstraint("amount > 0", name="voucher_unclaimed_amount"),
        Index("voucher_unclaimed_due", "until", postgresql_where=sql("paid_to IS NULL")),
        Index("voucher_unclaimed_terminal", "terminal"),
    )
    h: bytes = col.blob(primary=True)
    aid: bytes = col.blob()
    terminal: bytes = col.blob()
    amount: int = col.big()
    until: int = col.big()
    paid_to: str | None = col.string(null=True)


class VoidRow(SQLModel, table=True):
    """A signed void of h by one terminal, and whether its refund is posted."""

    __tablename__ = "voucher_void"
    __table_args__ = (
        PrimaryKeyConstraint("h", "terminal", name="voucher_void_pkey"),
        Index("voucher_void_aid", "aid"),
        Index("voucher_void_waiting", "h", postgresql_where=sql("applied_at IS NULL")),
    )
    h: bytes = col.blob()
    terminal: bytes = col.blob()
    aid: bytes = col.blob()
    counter: int = col.big()
    payee: bytes = col.blob()
    reason: str = col.string()
    wire: bytes = col.blob()
    tries: int = col.big()
    applied_at: int | None = col.big(null=True)
    approved: bool = col.flag(server_default=sql("false"))


class LateRow(SQLModel, table=True):
    """A shop's claim of a voucher that came after the close, and who bears it in the end."""

    __tablename__ = "voucher_late"
    __table_args__ = (
        CheckConstraint("amount > 0", name="voucher_late_amount"),
        Index("voucher_late_waiting", "asked_at", postgresql_where=sql("decision IS NULL")),
        # A sale is paid once, whoever bears it.
        Index(
            "voucher_late_challenge",
            "terminal",
            "nonce",
            unique=True,
            postgresql_where=sql("decision IN ('payer', 'house')"),
        ),
    )
    h: bytes = col.blob(primary=True)
    aid: bytes = col.blob()
    terminal: bytes = col.blob()
    nonce: bytes = col.blob()
    amount: int = col.big()
    currency: str = col.string()
    asked_at: int = col.big()
    decision: str | None = col.string(null=True)
    decided_at: int | None = col.big(null=True)


class ClosedRequestRow(SQLModel, table=True):
    """Append-only: a challenge that its terminal closed unpaid."""

    __tablename__ = "closed_request"
    __table_args__ = (PrimaryKeyConstraint("terminal", "nonce", name="closed_request_pkey"),)
    terminal: bytes = col.blob()
    nonce: bytes = col.blob()
    reason: str = col.string()


class RevocationRow(SQLModel, table=True):
    """Append-only: one allowance stopped an epoch, epochs dense."""

    __tablename__ = "revocation"
    __table_args__ = (Index("revocation_aid", "aid", unique=True),)
    epoch: int = col.big(primary=True)
    aid: bytes = col.blob()


class JournalRow(SQLModel, table=True):
    """What the server knows of one terminal's journal."""

    __tablename__ = "journal"
    terminal: bytes = col.blob(primary=True)
    epoch: bytes | None = col.blob(null=True)
    acked_seq: int = col.big()
    acked_head: bytes = col.blob()
    applied: int = col.big()
    told: int = col.big()


class JournalClaimRow(SQLModel, table=True):
    """From which head to which a terminal's signed headers claimed one revocation epoch."""

    __tablename__ = "journal_claim"
    __table_args__ = (
        PrimaryKeyConstraint("terminal", "epoch", "applied", name="journal_claim_pkey"),
    )
    terminal: bytes = col.blob()
    epoch: bytes = col.blob()
    applied: int = col.big()
    first_head: int = col.big()
    last_head: int = col.big()


class JournalRowRow(SQLModel, table=True):
    """Append-only: each acknowledged journal row's chain hash and its result."""

    __tablename__ = "journal_row"
    __table_args__ = (PrimaryKeyConstraint("terminal", "epoch", "seq", name="journal_row_pkey"),)
    terminal: bytes = col.blob()
    epoch: bytes = col.blob()
    seq: int = col.big()
    chain: bytes = col.blob()
    result: str = col.string()

"""Rows and SQL of allowances, settlement and journals; the unique keys here are the promise."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import astuple
from typing import Any, Final
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, PrimaryKeyConstraint
from sqlalchemy import text as sql
from sqlmodel import SQLModel

from offline.verify import Link
from server_core.db import columns as col
from server_core.db.work import Reader, Row, Work
from server_core.db.work import columns as unnested
from server_core.vouchers.model import (
    Allowance,
    Evidence,
    HeldVoid,
    Journal,
    Report,
    Seen,
    Settled,
    State,
)

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
        Index("allowance_party", "party"),
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


class SeenRow(SQLModel, table=True):
    """Append-only: every validly signed voucher that a terminal sent, with its first verdict."""

    __tablename__ = "voucher_seen"
    __table_args__ = (
        PrimaryKeyConstraint("aid", "h", name="voucher_seen_pkey"),
        Index("voucher_seen_h", "h", unique=True),
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


class SettledRow(SQLModel, table=True):
    """Append-only: (allowance, counter) settles once, and a terminal's challenge pays once."""

    __tablename__ = "voucher_settled"
    __table_args__ = (
        PrimaryKeyConstraint("aid", "counter", name="voucher_settled_pkey"),
        Index("voucher_settled_h", "h", unique=True),
        Index("voucher_settled_challenge", "terminal", "nonce", unique=True),
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
    __table_args__ = (PrimaryKeyConstraint("aid", "h", name="voucher_witness_pkey"),)
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


class VoidRow(SQLModel, table=True):
    """A signed void of h and whether its refund is posted."""

    __tablename__ = "voucher_void"
    __table_args__ = (
        Index("voucher_void_aid", "aid"),
        Index("voucher_void_waiting", "h", postgresql_where=sql("applied_at IS NULL")),
    )
    h: bytes = col.blob(primary=True)
    aid: bytes = col.blob()
    counter: int = col.big()
    terminal: bytes = col.blob()
    payee: bytes = col.blob()
    wire: bytes = col.blob()
    tries: int = col.big()
    applied_at: int | None = col.big(null=True)


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
    claimed_head: int = col.big()
    claimed_applied: int = col.big()
    told: int = col.big()


class JournalRowRow(SQLModel, table=True):
    """Append-only: each acknowledged journal row's chain hash and its result."""

    __tablename__ = "journal_row"
    __table_args__ = (PrimaryKeyConstraint("terminal", "epoch", "seq", name="journal_row_pkey"),)
    terminal: bytes = col.blob()
    epoch: bytes = col.blob()
    seq: int = col.big()
    chain: bytes = col.blob()
    result: str = col.string()


_ALLOWANCE: Final = (
    "aid, party, device, currency, kid, raw, sig, digest, hold, spend_until, settle_until, state,"
    " frozen, settled, claimed, unclaimed, returned"
)
_SEEN: Final = "aid, h, counter, amount, cum, prev, payee, terminal, nonce, wire"


def _allowance(row: Row) -> Allowance:
    return Allowance(**dict(row) | {"state": State(row["state"])})


def _seen(row: Row, verdict: str = "") -> Seen:
    return Seen(
        aid=row["aid"],
        link=Link(
            counter=row["counter"],
            amount=row["amount"],
            cum=row["cum"],
            prev=row["prev"],
            h=row["h"],
        ),
        payee=row["payee"],
        terminal=row["terminal"],
        nonce=row["nonce"],
        wire=row["wire"],
        verdict=verdict,
        seen_at=row["seen_at"],
    )


def _columns(one: Seen) -> tuple[object, ...]:
    link = one.link
    return (
        one.aid, link.h, link.counter, link.amount, link.cum, link.prev, one.payee, one.terminal,
        one.nonce, one.wire,
    )  # fmt: skip


async def insert_allowance(work: Work, a: Allowance) -> None:
    places = ", ".join(f"${i}" for i in range(1, 18))
    await work.execute(f"INSERT INTO allowance ({_ALLOWANCE}) VALUES ({places})", *astuple(a))


async def lock(work: Work, aids: Collection[bytes]) -> dict[bytes, Allowance]:
    found = await work.rows(
        f"SELECT {_ALLOWANCE} FROM allowance WHERE aid = ANY($1::bytea[]) ORDER BY aid FOR UPDATE",
        list(aids),
    )
    return {row["aid"]: _allowance(row) for row in found}


async def allowance(reader: Reader, aid: bytes) -> Allowance | None:
    row = await reader.row(f"SELECT {_ALLOWANCE} FROM allowance WHERE aid = $1", aid)
    return _allowance(row) if row else None


async def lock_party(work: Work, party: UUID) -> list[Allowance]:
    """A payer's allowances that are not closed: at most a few, one a device is open."""
    found = await work.rows(
        f"SELECT {_ALLOWANCE} FROM allowance WHERE party = $1 AND state <> 'closed'"
        " ORDER BY aid FOR UPDATE",
        party,
    )
    return [_allowance(row) for row in found]


async def save(work: Work, allowances: Sequence[Allowance]) -> None:
    rows = [
        (a.aid, a.state, a.frozen, a.settled, a.claimed, a.unclaimed, a.returned)
        for a in allowances
    ]
    await work.execute(
        "UPDATE allowance a SET state = u.state, frozen = u.frozen, settled = u.settled,"
        " claimed = u.claimed, unclaimed = u.unclaimed, returned = u.returned"
        " FROM unnest($1::bytea[], $2::text[], $3::bool[], $4::bigint[], $5::bigint[],"
        " $6::bigint[], $7::bigint[]) AS u(aid, state, frozen, settled, claimed, unclaimed,"
        " returned) WHERE a.aid = u.aid",
        *unnested(rows, 7),
    )


async def due(reader: Reader, margin_s: int, limit: int) -> list[bytes]:
    """Allowances whose settlement is over by the database's own clock."""
    found = await reader.rows(
        "SELECT aid FROM allowance WHERE state <> 'closed'"
        " AND settle_until + $1 < extract(epoch FROM clock_timestamp()) ORDER BY aid LIMIT $2",
        margin_s,
        limit,
    )
    return [row["aid"] for row in found]


async def drain_overdue(work: Work) -> int:
    return await work.execute(
        "UPDATE allowance SET state = 'draining' WHERE state = 'issued' AND spend_until < $1",
        work.now_ms // 1000,
    )


async def seen(reader: Reader, aids: Collection[bytes]) -> dict[bytes, list[Seen]]:
    found = await reader.rows(
        f"SELECT {_SEEN}, verdict, seen_at FROM voucher_seen WHERE aid = ANY($1::bytea[])"
        " ORDER BY seen_at, h",
        list(aids),
    )
    grouped: dict[bytes, list[Seen]] = {}
    for row in found:
        grouped.setdefault(row["aid"], []).append(_seen(row, row["verdict"]))
    return grouped


async def insert_seen(work: Work, rows: Sequence[Seen]) -> None:
    await work.execute(
        f"INSERT INTO voucher_seen ({_SEEN}, verdict, seen_at) SELECT * FROM unnest($1::bytea[],"
        " $2::bytea[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bytea[], $7::bytea[],"
        " $8::bytea[], $9::bytea[], $10::bytea[], $11::text[], $12::bigint[])",
        *unnested([(*_columns(one), one.verdict, one.seen_at) for one in rows], 12),
    )


async def settled(reader: Reader, aids: Collection[bytes]) -> dict[tuple[bytes, int], Settled]:
    found = await reader.rows(
        "SELECT aid, counter, h, terminal, nonce, amount FROM voucher_settled"
        " WHERE aid = ANY($1::bytea[])",
        list(aids),
    )
    return {(row["aid"], row["counter"]): Settled(**dict(row)) for row in found}


async def insert_settled(work: Work, rows: Sequence[Settled]) -> None:
    await work.execute(
        "INSERT INTO voucher_settled (aid, counter, h, terminal, nonce, amount, settled_at)"
        " SELECT *, $7::bigint FROM unnest($1::bytea[], $2::bigint[], $3::bytea[], $4::bytea[],"
        " $5::bytea[], $6::bigint[])",
        *unnested([astuple(one) for one in rows], 6),
        work.now_ms,
    )


async def used_challenges(
    reader: Reader, terminal: bytes, nonces: Collection[bytes]
) -> set[tuple[bytes, bytes]]:
    """Challenges of the terminal that were paid, or closed without being paid by a voucher."""
    found = await reader.rows(
        "SELECT terminal, nonce FROM voucher_settled WHERE terminal = $1 AND nonce = ANY($2::bytea[])"
        " UNION SELECT terminal, nonce FROM closed_request"
        " WHERE terminal = $1 AND nonce = ANY($2::bytea[])",
        terminal,
        list(nonces),
    )
    return {(row["terminal"], row["nonce"]) for row in found}


async def insert_closed(work: Work, rows: Sequence[tuple[bytes, bytes, str]]) -> None:
    await work.execute(
        "INSERT INTO closed_request (terminal, nonce, reason) SELECT * FROM unnest($1::bytea[],"
        " $2::bytea[], $3::text[]) ON CONFLICT DO NOTHING",
        *unnested(rows, 3),
    )


async def closed_reasons(
    reader: Reader, challenges: Iterable[tuple[bytes, bytes]]
) -> dict[tuple[bytes, bytes], str]:
    found = await reader.rows(
        "SELECT c.terminal, c.nonce, c.reason FROM closed_request c JOIN unnest($1::bytea[],"
        " $2::bytea[]) AS u(terminal, nonce) ON u.terminal = c.terminal AND u.nonce = c.nonce",
        *unnested(list(challenges), 2),
    )
    return {(row["terminal"], row["nonce"]): row["reason"] for row in found}


async def insert_evidence(work: Work, rows: Sequence[Evidence]) -> None:
    await work.execute(
        "INSERT INTO voucher_evidence (aid, h, other, verdict) SELECT * FROM unnest($1::bytea[],"
        " $2::bytea[], $3::bytea[], $4::text[]) ON CONFLICT DO NOTHING",
        *unnested([astuple(one) for one in rows], 4),
    )


async def evidence(reader: Reader, limit: int = 1000) -> list[Evidence]:
    found = await reader.rows(
        "SELECT aid, h, other, verdict FROM voucher_evidence ORDER BY aid, h LIMIT $1", limit
    )
    return [Evidence(**dict(row)) for row in found]


async def revoke(work: Work, aids: Iterable[bytes]) -> None:
    """One dense epoch an allowance; the lock keeps two Works from taking the same number."""
    await work.execute("SELECT pg_advisory_xact_lock(hashtextextended('vouchers.revocation', 0))")
    await work.execute(
        "INSERT INTO revocation (epoch, aid) SELECT (SELECT coalesce(max(epoch), 0) FROM revocation)"
        " + row_number() OVER (ORDER BY u.aid), u.aid FROM unnest($1::bytea[]) AS u(aid)"
        " WHERE NOT EXISTS (SELECT 1 FROM revocation r WHERE r.aid = u.aid)",
        sorted(aids),
    )


async def revocations(reader: Reader, aids: Collection[bytes]) -> dict[bytes, int]:
    found = await reader.rows(
        "SELECT aid, epoch FROM revocation WHERE aid = ANY($1::bytea[])", list(aids)
    )
    return {row["aid"]: row["epoch"] for row in found}


async def revoked_after(reader: Reader, epoch: int, limit: int) -> list[tuple[int, bytes]]:
    found = await reader.rows(
        "SELECT epoch, aid FROM revocation WHERE epoch > $1 ORDER BY epoch LIMIT $2", epoch, limit
    )
    return [(row["epoch"], row["aid"]) for row in found]


async def insert_witness(work: Work, rows: Sequence[Seen]) -> int:
    return await work.execute(
        f"INSERT INTO voucher_witness ({_SEEN}, seen_at) SELECT * FROM unnest($1::bytea[],"
        " $2::bytea[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bytea[], $7::bytea[],"
        " $8::bytea[], $9::bytea[], $10::bytea[], $11::bigint[]) ON CONFLICT DO NOTHING",
        *unnested([(*_columns(one), one.seen_at) for one in rows], 11),
    )


async def witnessed(reader: Reader, aid: bytes) -> list[Seen]:
    found = await reader.rows(
        f"SELECT {_SEEN}, seen_at FROM voucher_witness WHERE aid = $1 ORDER BY counter, h", aid
    )
    return [_seen(row) for row in found]


async def insert_claims(work: Work, aid: bytes, rows: Sequence[tuple[bytes, int]]) -> None:
    await work.execute(
        "INSERT INTO voucher_claim (aid, h, amount) SELECT $1, * FROM unnest($2::bytea[], $3::bigint[])",
        aid,
        *unnested(rows, 2),
    )


_VOID: Final = "h, aid, counter, terminal, payee, wire, tries, applied_at"


async def insert_voids(work: Work, rows: Sequence[HeldVoid]) -> None:
    await work.execute(
        f"INSERT INTO voucher_void ({_VOID}) SELECT * FROM unnest($1::bytea[], $2::bytea[],"
        " $3::bigint[], $4::bytea[], $5::bytea[], $6::bytea[], $7::bigint[], $8::bigint[])"
        " ON CONFLICT DO NOTHING",
        *unnested([astuple(one) for one in rows], 8),
    )


async def lock_voids(work: Work, hs: Collection[bytes]) -> list[HeldVoid]:
    """Voids of these vouchers whose refund is not posted yet."""
    found = await work.rows(
        f"SELECT {_VOID} FROM voucher_void WHERE h = ANY($1::bytea[]) AND applied_at IS NULL"
        " ORDER BY h FOR UPDATE",
        list(hs),
    )
    return [HeldVoid(**dict(row)) for row in found]


async def waiting_voids(reader: Reader, limit: int) -> list[bytes]:
    """Voids of settled vouchers whose refund is not posted yet."""
    found = await reader.rows(
        "SELECT v.h FROM voucher_void v JOIN voucher_settled s ON s.h = v.h"
        " WHERE v.applied_at IS NULL ORDER BY v.h LIMIT $1",
        limit,
    )
    return [row["h"] for row in found]


async def voided(reader: Reader, hs: Collection[bytes]) -> set[bytes]:
    found = await reader.rows("SELECT h FROM voucher_void WHERE h = ANY($1::bytea[])", list(hs))
    return {row["h"] for row in found}


async def save_void(work: Work, void: HeldVoid) -> None:
    await work.execute(
        "UPDATE voucher_void SET tries = $2, applied_at = $3 WHERE h = $1",
        void.h, void.tries, void.applied_at,
    )  # fmt: skip


async def settled_by_h(reader: Reader, h: bytes) -> Settled | None:
    row = await reader.row(
        "SELECT aid, counter, h, terminal, nonce, amount FROM voucher_settled WHERE h = $1", h
    )
    return Settled(**dict(row)) if row else None


async def lock_journal(work: Work, terminal: bytes) -> Journal:
    await work.execute(
        "INSERT INTO journal (terminal, acked_seq, acked_head, applied, claimed_head,"
        " claimed_applied, told) VALUES ($1, 0, $2, 0, 0, 0, 0) ON CONFLICT DO NOTHING",
        terminal,
        bytes(32),
    )
    row = await work.row(
        "SELECT terminal, epoch, acked_seq, acked_head, applied, claimed_head, claimed_applied, told"
        " FROM journal WHERE terminal = $1 FOR UPDATE",
        terminal,
    )
    return Journal(**dict(row or {}))


async def save_journal(work: Work, j: Journal) -> None:
    await work.execute(
        "UPDATE journal SET epoch = $2, acked_seq = $3, acked_head = $4, applied = $5,"
        " claimed_head = $6, claimed_applied = $7, told = $8 WHERE terminal = $1",
        *astuple(j),
    )


async def journal_rows(
    reader: Reader, terminal: bytes, epoch: bytes, first: int, last: int
) -> dict[int, tuple[bytes, str]]:
    found = await reader.rows(
        "SELECT seq, chain, result FROM journal_row"
        " WHERE terminal = $1 AND epoch = $2 AND seq BETWEEN $3 AND $4",
        terminal, epoch, first, last,
    )  # fmt: skip
    return {row["seq"]: (row["chain"], row["result"]) for row in found}


async def insert_journal_rows(
    work: Work, terminal: bytes, epoch: bytes, rows: Sequence[tuple[int, bytes, str]]
) -> None:
    await work.execute(
        "INSERT INTO journal_row (terminal, epoch, seq, chain, result) SELECT $1, $2, *"
        " FROM unnest($3::bigint[], $4::bytea[], $5::text[])",
        terminal,
        epoch,
        *unnested(rows, 3),
    )


async def knows_epoch(reader: Reader, terminal: bytes, epoch: bytes) -> bool:
    return bool(
        await reader.value(
            "SELECT EXISTS (SELECT 1 FROM journal_row WHERE terminal = $1 AND epoch = $2)",
            terminal,
            epoch,
        )
    )


async def report(reader: Reader, limit: int = 1000) -> list[Report]:
    found = await reader.rows(
        "SELECT s.h, s.aid, a.party AS payer, s.counter, s.terminal, s.amount, s.verdict,"
        " t.h IS NOT NULL AS settled FROM voucher_seen s JOIN allowance a ON a.aid = s.aid"
        " LEFT JOIN voucher_settled t ON t.h = s.h ORDER BY s.seen_at, s.h LIMIT $1",
        limit,
    )
    return [Report(**dict(row)) for row in found]


async def frozen_payers(reader: Reader) -> set[UUID]:
    found = await reader.rows("SELECT DISTINCT party FROM allowance WHERE frozen LIMIT 10000")
    return {row["party"] for row in found}


async def allowances_of(reader: Reader, party: UUID) -> list[Any]:
    found = await reader.rows(
        f"SELECT {_ALLOWANCE} FROM allowance WHERE party = $1 ORDER BY spend_until DESC LIMIT 100",
        party,
    )
    return [_allowance(row) for row in found]

"""All SQL of allowances, settlement and journals, set-based; the rows are declared in tables.py."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import astuple
from typing import Any, Final
from uuid import UUID

from offline.verify import Link
from server_core.db.work import Reader, Row, Work
from server_core.db.work import columns as unnested
from server_core.vouchers import tables as _tables  # noqa: F401 - declared with the slice
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


async def is_frozen(reader: Reader, party: UUID, device: UUID) -> bool:
    """Whether the payer has a frozen allowance that is not closed, or the device ever had one."""
    return bool(
        await reader.value(
            "SELECT EXISTS (SELECT 1 FROM allowance WHERE party = $1 AND frozen"
            " AND (state <> 'closed' OR device = $2))",
            party,
            device,
        )
    )


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

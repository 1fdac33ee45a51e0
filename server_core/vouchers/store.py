"""SQL of allowances and settlement: read under the allowances' locks, written by unnest."""

from collections.abc import Collection, Sequence
from typing import Final
from uuid import UUID

from msgspec.structs import astuple

from offline.verify import Link
from server_core.db.work import Reader, Row, Work
from server_core.db.work import columns as unnested
from server_core.vouchers.model import Allowance, Evidence, Report, Seen, Settled, State
from server_core.vouchers.tables import APPEND_ONLY as APPEND_ONLY  # noqa: PLC0414 - told here

_ALLOWANCE: Final = (
    "aid, party, device, currency, kid, raw, sig, digest, hold, spend_until, settle_until, state,"
    " frozen, settled, claimed, unclaimed, returned"
)
_SEEN: Final = "aid, h, counter, amount, cum, prev, payee, terminal, nonce, wire"


def _allowance(row: Row) -> Allowance:
    return Allowance(**dict(row) | {"state": State(row["state"])})


def _seen(row: Row) -> Seen:
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
        verdict=row["verdict"],
        seen_at=row["seen_at"],
        place=row["place"],
        claimable=row["claimable"],
    )


def _columns(one: Seen) -> tuple[object, ...]:
    link = one.link
    return (
        one.aid, link.h, link.counter, link.amount, link.cum, link.prev, one.payee, one.terminal,
        one.nonce, one.wire,
    )  # fmt: skip


async def insert_allowance(work: Work, a: Allowance) -> None:
    places = ", ".join(f"${i}" for i in range(1, 19))
    await work.execute(
        f"INSERT INTO allowance ({_ALLOWANCE}, head) VALUES ({places})", *astuple(a), a.aid[:8]
    )


async def lock(work: Work, aids: Collection[bytes]) -> dict[bytes, Allowance]:
    found = await work.rows(
        f"SELECT {_ALLOWANCE} FROM allowance WHERE aid = ANY($1::bytea[]) ORDER BY aid FOR UPDATE",
        list(aids),
    )
    return {row["aid"]: _allowance(row) for row in found}


async def allowance(reader: Reader, aid: bytes) -> Allowance | None:
    row = await reader.row(f"SELECT {_ALLOWANCE} FROM allowance WHERE aid = $1", aid)
    return _allowance(row) if row else None


async def lock_open(work: Work, party: UUID) -> list[Allowance]:
    """A payer's allowances that are not closed: a few, for a device has one open."""
    found = await work.rows(
        f"SELECT {_ALLOWANCE} FROM allowance WHERE party = $1 AND state <> 'closed'"
        " ORDER BY aid FOR UPDATE",
        party,
    )
    return [_allowance(row) for row in found]


async def is_frozen(reader: Reader, party: UUID, device: UUID) -> bool:
    """Whether there is evidence against an open allowance of the payer, or ever against the device.

    One that was frozen only because its device was lost stops nobody.
    """
    return bool(
        await reader.value(
            "SELECT EXISTS (SELECT 1 FROM allowance a WHERE party = $1 AND frozen"
            " AND (state <> 'closed' OR device = $2)"
            " AND EXISTS (SELECT 1 FROM voucher_evidence e WHERE e.aid = a.aid))",
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


async def drain_overdue(work: Work, limit: int = 1000) -> int:
    """Those that another Work holds are taken the next time."""
    return await work.execute(
        "UPDATE allowance SET state = 'draining' WHERE aid IN (SELECT aid FROM allowance"
        " WHERE state = 'issued' AND spend_until < $1 ORDER BY aid LIMIT $2"
        " FOR UPDATE SKIP LOCKED)",
        work.now_ms // 1000,
        limit,
    )


async def seen(reader: Reader, aids: Collection[bytes]) -> dict[bytes, dict[bytes, Seen]]:
    """By allowance and h, in order of receipt."""
    found = await reader.rows(
        f"SELECT {_SEEN}, verdict, seen_at, place, claimable FROM voucher_seen"
        " WHERE aid = ANY($1::bytea[]) ORDER BY aid, place",
        list(aids),
    )
    grouped: dict[bytes, dict[bytes, Seen]] = {}
    for row in found:
        grouped.setdefault(row["aid"], {})[row["h"]] = _seen(row)
    return grouped


async def insert_seen(work: Work, rows: Sequence[Seen]) -> None:
    await work.execute(
        f"INSERT INTO voucher_seen ({_SEEN}, verdict, seen_at, place, claimable) SELECT * FROM"
        " unnest($1::bytea[], $2::bytea[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bytea[],"
        " $7::bytea[], $8::bytea[], $9::bytea[], $10::bytea[], $11::text[], $12::bigint[],"
        " $13::bigint[], $14::bool[])",
        *unnested(
            [(*_columns(one), one.verdict, one.seen_at, one.place, one.claimable) for one in rows],
            14,
        ),
    )


async def insert_witness(work: Work, rows: Sequence[Seen]) -> int:
    """How many were new."""
    return await work.execute(
        f"INSERT INTO voucher_witness ({_SEEN}, seen_at) SELECT * FROM unnest($1::bytea[],"
        " $2::bytea[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bytea[], $7::bytea[],"
        " $8::bytea[], $9::bytea[], $10::bytea[], $11::bigint[]) ON CONFLICT DO NOTHING",
        *unnested([(*_columns(one), one.seen_at) for one in rows], 11),
    )


async def witnessed(reader: Reader, aid: bytes) -> list[Seen]:
    found = await reader.rows(
        f"SELECT {_SEEN}, seen_at, '' AS verdict, 0 AS place, false AS claimable"
        " FROM voucher_witness WHERE aid = $1 ORDER BY counter, seen_at, h",
        aid,
    )
    return [_seen(row) for row in found]


async def witness_counts(reader: Reader, aids: Collection[bytes]) -> dict[bytes, int]:
    found = await reader.rows(
        "SELECT aid, count(*) AS n FROM voucher_witness WHERE aid = ANY($1::bytea[]) GROUP BY aid",
        list(aids),
    )
    return {row["aid"]: row["n"] for row in found}


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
    """Challenges of the terminal that were paid, or closed without a voucher."""
    found = await reader.rows(
        "SELECT nonce FROM voucher_settled WHERE terminal = $1 AND nonce = ANY($2::bytea[])"
        " UNION SELECT nonce FROM closed_request WHERE terminal = $1 AND nonce = ANY($2::bytea[])",
        terminal,
        list(nonces),
    )
    return {(terminal, row["nonce"]) for row in found}


async def settled_challenges(
    reader: Reader, challenges: Collection[tuple[bytes, bytes]]
) -> dict[tuple[bytes, bytes], bytes]:
    """By challenge the h that it settled."""
    found = await reader.rows(
        "SELECT s.terminal, s.nonce, s.h FROM voucher_settled s JOIN unnest($1::bytea[],"
        " $2::bytea[]) AS u(terminal, nonce) ON u.terminal = s.terminal AND u.nonce = s.nonce",
        *unnested(list(challenges), 2),
    )
    return {(row["terminal"], row["nonce"]): row["h"] for row in found}


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


async def paid_by_h(reader: Reader, hs: Collection[bytes]) -> dict[bytes, Settled]:
    """What a shop was paid for these vouchers: settled, by claim at close, or of unclaimed money."""
    found = await reader.rows(
        "SELECT aid, counter, h, terminal, nonce, amount FROM voucher_settled"
        " WHERE h = ANY($1::bytea[])"
        " UNION ALL SELECT c.aid, s.counter, c.h, s.terminal, s.nonce, c.amount"
        " FROM voucher_claim c JOIN voucher_seen s ON s.aid = c.aid AND s.h = c.h"
        " WHERE c.h = ANY($1::bytea[])"
        " UNION ALL SELECT u.aid, s.counter, u.h, s.terminal, s.nonce, u.amount"
        " FROM voucher_unclaimed u JOIN voucher_seen s ON s.aid = u.aid AND s.h = u.h"
        " WHERE u.h = ANY($1::bytea[]) AND u.paid_to = 'merchant'",
        list(hs),
    )
    return {row["h"]: Settled(**dict(row)) for row in found}


async def report(reader: Reader, limit: int = 1000) -> list[Report]:
    found = await reader.rows(
        f"SELECT {_REPORT} ORDER BY s.seen_at, s.aid, s.place LIMIT $1", limit
    )
    return [Report(**dict(row)) for row in found]


_REPORT: Final = (
    "s.h, s.aid, a.party AS payer, s.counter, s.terminal, s.amount, s.verdict,"
    " t.h IS NOT NULL AS settled FROM voucher_seen s JOIN allowance a ON a.aid = s.aid"
    " LEFT JOIN voucher_settled t ON t.h = s.h"
)


async def of_terminals(reader: Reader, terminals: Collection[bytes], limit: int) -> list[Report]:
    """Newest first."""
    found = await reader.rows(
        f"SELECT {_REPORT} WHERE s.terminal = ANY($1::bytea[])"
        " ORDER BY s.seen_at DESC, s.h LIMIT $2",
        list(terminals),
        limit,
    )
    return [Report(**dict(row)) for row in found]


async def frozen_payers(reader: Reader) -> set[UUID]:
    found = await reader.rows("SELECT DISTINCT party FROM allowance WHERE frozen LIMIT 10000")
    return {row["party"] for row in found}


async def allowances_of(reader: Reader, party: UUID) -> list[Allowance]:
    found = await reader.rows(
        f"SELECT {_ALLOWANCE} FROM allowance WHERE party = $1 ORDER BY spend_until DESC LIMIT 100",
        party,
    )
    return [_allowance(row) for row in found]

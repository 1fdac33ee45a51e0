"""SQL of what undoes or makes good: closed requests, voids, claims, unclaimed money."""

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from msgspec.structs import astuple

from server_core.db.work import Reader, Row, Work
from server_core.db.work import columns as unnested
from server_core.vouchers.model import Bearer, HeldVoid, LateClaim, Unclaimed
from server_core.vouchers.store import PAID


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


async def insert_claims(work: Work, aid: bytes, rows: Sequence[tuple[bytes, int]]) -> None:
    await work.execute(
        "INSERT INTO voucher_claim (aid, h, amount) SELECT $1, * FROM unnest($2::bytea[], $3::bigint[])",
        aid,
        *unnested(rows, 2),
    )


async def insert_unclaimed(work: Work, rows: Sequence[Unclaimed]) -> None:
    await work.execute(
        "INSERT INTO voucher_unclaimed (h, aid, terminal, amount, until, paid_to) SELECT * FROM"
        " unnest($1::bytea[], $2::bytea[], $3::bytea[], $4::bigint[], $5::bigint[], $6::text[])",
        *unnested([astuple(one) for one in rows], 6),
    )


async def lock_unclaimed(work: Work, h: bytes) -> Unclaimed | None:
    row = await work.row(
        "SELECT h, aid, terminal, amount, until, paid_to FROM voucher_unclaimed WHERE h = $1"
        " FOR UPDATE",
        h,
    )
    return Unclaimed(**dict(row)) if row else None


async def overdue_unclaimed(reader: Reader, limit: int) -> list[bytes]:
    """What nobody claimed in its time, by the database's own clock."""
    found = await reader.rows(
        "SELECT h FROM voucher_unclaimed WHERE paid_to IS NULL"
        " AND until < extract(epoch FROM clock_timestamp()) ORDER BY until, h LIMIT $1",
        limit,
    )
    return [row["h"] for row in found]


async def unclaimed_of(reader: Reader, terminals: Collection[bytes]) -> list[Unclaimed]:
    found = await reader.rows(
        "SELECT h, aid, terminal, amount, until, paid_to FROM voucher_unclaimed"
        " WHERE terminal = ANY($1::bytea[]) ORDER BY until, h LIMIT 1000",
        list(terminals),
    )
    return [Unclaimed(**dict(row)) for row in found]


async def pay_unclaimed(work: Work, h: bytes, paid_to: str) -> None:
    await work.execute("UPDATE voucher_unclaimed SET paid_to = $2 WHERE h = $1", h, paid_to)


async def insert_voids(work: Work, rows: Sequence[HeldVoid]) -> None:
    await work.execute(
        "INSERT INTO voucher_void (h, terminal, aid, counter, payee, reason, wire, tries, applied_at, approved)"
        " SELECT * FROM unnest($1::bytea[], $2::bytea[],"
        " $3::bytea[], $4::bigint[], $5::bytea[], $6::text[], $7::bytea[], $8::bigint[],"
        " $9::bigint[], $10::bool[]) ON CONFLICT DO NOTHING",
        *unnested([astuple(one) for one in rows], 10),
    )


async def lock_voids(work: Work, hs: Collection[bytes]) -> list[HeldVoid]:
    """Voids of these vouchers whose refund is not posted yet."""
    found = await work.rows(
        "SELECT h, terminal, aid, counter, payee, reason, wire, tries, applied_at, approved"
        " FROM voucher_void WHERE h = ANY($1::bytea[]) AND applied_at IS NULL"
        " ORDER BY h, terminal FOR UPDATE",
        list(hs),
    )
    return [HeldVoid(**dict(row)) for row in found]


async def void_applied(reader: Reader, h: bytes, terminal: bytes) -> bool:
    return bool(
        await reader.value(
            "SELECT applied_at IS NOT NULL FROM voucher_void WHERE h = $1 AND terminal = $2",
            h,
            terminal,
        )
    )


async def waiting_voids(reader: Reader, after: bytes, limit: int) -> list[tuple[bytes, bytes]]:
    """(h, aid) of paid vouchers whose own terminal's void waits, from `after` on."""
    found = await reader.rows(
        "SELECT v.h, s.aid FROM voucher_void v JOIN voucher_seen s ON s.h = v.h"
        " AND s.terminal = v.terminal WHERE v.applied_at IS NULL AND v.h > $1"
        f" AND EXISTS (SELECT 1 FROM {PAID} p WHERE p.h = v.h) ORDER BY v.h LIMIT $2",
        after,
        limit,
    )
    return [(row["h"], row["aid"]) for row in found]


async def unapproved_voids(
    reader: Reader, after: tuple[bytes, bytes], limit: int
) -> list[tuple[HeldVoid, int]]:
    """Voids by its own terminal of a paid voucher, unapplied and not approved, with what was paid."""
    found = await reader.rows(
        "SELECT v.h, v.terminal, v.aid, v.counter, v.payee, v.reason, v.wire, v.tries, v.applied_at,"
        f" v.approved, p.amount FROM voucher_void v JOIN {PAID} p ON p.h = v.h"
        " AND p.terminal = v.terminal WHERE v.applied_at IS NULL AND NOT v.approved"
        " AND (v.h, v.terminal) > ($1, $2) ORDER BY v.h, v.terminal LIMIT $3",
        *after,
        limit,
    )
    rows = [dict(row) for row in found]
    return [(HeldVoid(**row), amount) for row in rows for amount in [row.pop("amount")]]


async def voided(reader: Reader, hs: Collection[bytes]) -> set[tuple[bytes, bytes, bytes]]:
    """(h, terminal, payee) of every void held of these vouchers, applied or not."""
    found = await reader.rows(
        "SELECT h, terminal, payee FROM voucher_void WHERE h = ANY($1::bytea[])", list(hs)
    )
    return {(row["h"], row["terminal"], row["payee"]) for row in found}


async def save_voids(work: Work, voids: Sequence[HeldVoid]) -> None:
    await work.execute(
        "UPDATE voucher_void v SET tries = u.tries, applied_at = u.applied_at FROM"
        " unnest($1::bytea[], $2::bytea[], $3::bigint[], $4::bigint[])"
        " AS u(h, terminal, tries, applied_at) WHERE v.h = u.h AND v.terminal = u.terminal",
        *unnested([(one.h, one.terminal, one.tries, one.applied_at) for one in voids], 4),
    )


async def approve_void(work: Work, h: bytes, terminal: bytes) -> bool:
    return bool(
        await work.execute(
            "UPDATE voucher_void SET approved = true WHERE h = $1 AND terminal = $2", h, terminal
        )
    )


_LATE: Final = "h, aid, terminal, nonce, amount, currency, asked_at, decision, decided_at"


def _late(row: Row) -> LateClaim:
    decision = row["decision"]
    return LateClaim(**dict(row) | {"decision": Bearer(decision) if decision else None})


async def insert_late(work: Work, one: LateClaim) -> bool:
    """Whether it is new."""
    return bool(
        await work.execute(
            f"INSERT INTO voucher_late ({_LATE}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
            " ON CONFLICT (h) DO NOTHING",
            *astuple(one),
        )
    )


async def late(reader: Reader, h: bytes) -> LateClaim | None:
    row = await reader.row(f"SELECT {_LATE} FROM voucher_late WHERE h = $1", h)
    return _late(row) if row else None


async def lock_late(work: Work, h: bytes) -> LateClaim | None:
    row = await work.row(f"SELECT {_LATE} FROM voucher_late WHERE h = $1 FOR UPDATE", h)
    return _late(row) if row else None


async def decide_late(work: Work, one: LateClaim) -> None:
    await work.execute(
        "UPDATE voucher_late SET decision = $2, decided_at = $3 WHERE h = $1",
        one.h, one.decision, one.decided_at,
    )  # fmt: skip


async def late_paid(reader: Reader, terminal: bytes, nonce: bytes) -> bool:
    return bool(
        await reader.value(
            "SELECT EXISTS (SELECT 1 FROM voucher_late WHERE terminal = $1 AND nonce = $2"
            " AND decision IN ('payer', 'house'))",
            terminal,
            nonce,
        )
    )


async def late_waiting(reader: Reader, limit: int) -> list[LateClaim]:
    found = await reader.rows(
        f"SELECT {_LATE} FROM voucher_late WHERE decision IS NULL ORDER BY asked_at, h LIMIT $1",
        limit,
    )
    return [_late(row) for row in found]

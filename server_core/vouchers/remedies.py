"""SQL of what undoes or makes good: closed requests, voids, claims, unclaimed money."""

from collections.abc import Collection, Iterable, Sequence

from msgspec.structs import astuple

from server_core.db.work import Reader, Work
from server_core.db.work import columns as unnested
from server_core.vouchers.model import HeldVoid, Unclaimed


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
        "INSERT INTO voucher_void (h, terminal, aid, counter, payee, reason, wire, tries, applied_at)"
        " SELECT * FROM unnest($1::bytea[], $2::bytea[],"
        " $3::bytea[], $4::bigint[], $5::bytea[], $6::text[], $7::bytea[], $8::bigint[],"
        " $9::bigint[]) ON CONFLICT DO NOTHING",
        *unnested([astuple(one) for one in rows], 9),
    )


async def lock_voids(work: Work, hs: Collection[bytes]) -> list[HeldVoid]:
    """Voids of these vouchers whose refund is not posted yet."""
    found = await work.rows(
        "SELECT h, terminal, aid, counter, payee, reason, wire, tries, applied_at"
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
        " AND (EXISTS (SELECT 1 FROM voucher_settled p WHERE p.h = v.h)"
        "  OR EXISTS (SELECT 1 FROM voucher_claim c WHERE c.aid = s.aid AND c.h = v.h)"
        "  OR EXISTS (SELECT 1 FROM voucher_unclaimed u WHERE u.h = v.h AND u.paid_to = 'merchant'))"
        " ORDER BY v.h LIMIT $2",
        after,
        limit,
    )
    return [(row["h"], row["aid"]) for row in found]


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

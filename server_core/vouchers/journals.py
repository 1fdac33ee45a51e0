"""SQL of terminals' journals, of what their headers claimed, and of the revocation list."""

from collections.abc import Collection, Iterable, Sequence

from msgspec.structs import astuple

from server_core.db.work import Reader, Work
from server_core.db.work import columns as unnested
from server_core.vouchers.model import Claimed, Journal


async def lock_journal(work: Work, terminal: bytes) -> Journal:
    await work.execute(
        "INSERT INTO journal (terminal, acked_seq, acked_head, applied, told)"
        " VALUES ($1, 0, $2, 0, 0) ON CONFLICT DO NOTHING",
        terminal,
        bytes(32),
    )
    row = await work.row(
        "SELECT terminal, epoch, acked_seq, acked_head, applied, told"
        " FROM journal WHERE terminal = $1 FOR UPDATE",
        terminal,
    )
    return Journal(**dict(row or {}))


async def journal(reader: Reader, terminal: bytes) -> Journal | None:
    row = await reader.row(
        "SELECT terminal, epoch, acked_seq, acked_head, applied, told"
        " FROM journal WHERE terminal = $1",
        terminal,
    )
    return Journal(**dict(row)) if row else None


async def save_journal(work: Work, j: Journal) -> None:
    await work.execute(
        "UPDATE journal SET epoch = $2, acked_seq = $3, acked_head = $4, applied = $5,"
        " told = $6 WHERE terminal = $1",
        *astuple(j),
    )


async def claim_head(work: Work, terminal: bytes, epoch: bytes, applied: int, head: int) -> None:
    """Keep what a signed header said of its head."""
    await work.execute(
        "INSERT INTO journal_claim (terminal, epoch, applied, first_head, last_head)"
        " VALUES ($1, $2, $3, $4, $4) ON CONFLICT (terminal, epoch, applied) DO UPDATE"
        " SET last_head = greatest(journal_claim.last_head, $4),"
        " first_head = least(journal_claim.first_head, $4)",
        terminal, epoch, applied, head,
    )  # fmt: skip


async def claims(reader: Reader, terminal: bytes, epoch: bytes, acked: int) -> list[Claimed]:
    """What headers said of rows that are not acknowledged yet."""
    found = await reader.rows(
        "SELECT applied, first_head AS first, last_head AS last FROM journal_claim"
        " WHERE terminal = $1 AND epoch = $2 AND last_head >= $3",
        terminal, epoch, acked,
    )  # fmt: skip
    return [Claimed(**dict(row)) for row in found]


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


async def known_epochs(reader: Reader, terminal: bytes, epochs: Collection[bytes]) -> set[bytes]:
    """Those that a header of this terminal named before."""
    found = await reader.rows(
        "SELECT DISTINCT epoch FROM journal_claim WHERE terminal = $1 AND epoch = ANY($2::bytea[])",
        terminal,
        list(epochs),
    )
    return {row["epoch"] for row in found}


async def revoke(work: Work, aids: Iterable[bytes]) -> None:
    """One dense epoch an allowance; the lock keeps two Works from taking the same number."""
    await work.lock("vouchers.revocation")
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


async def standings(reader: Reader, terminals: Collection[bytes]) -> dict[bytes, tuple[int, int]]:
    """By terminal: rows it has told of and not sent, and stops that it has not applied."""
    found = await reader.rows(
        "SELECT j.terminal, coalesce((SELECT max(c.last_head) FROM journal_claim c"
        "  WHERE c.terminal = j.terminal AND c.epoch = j.epoch), 0) - j.acked_seq AS behind,"
        " (SELECT count(*) FROM revocation r WHERE r.epoch > j.applied) AS unapplied"
        " FROM journal j WHERE j.terminal = ANY($1::bytea[])",
        list(terminals),
    )
    return {row["terminal"]: (max(row["behind"], 0), row["unapplied"]) for row in found}


async def revoked(reader: Reader) -> int:
    """How many allowances are stopped."""
    return int(await reader.value("SELECT count(*) FROM revocation"))

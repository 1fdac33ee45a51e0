"""What group commit is measured against: a transaction a transfer, written three other ways.

Each does the same work as one transfer of ours: lock both accounts in id order, check the floor,
write the transfer, two entries, the event under the head row, and the balances.
"""

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

import asyncpg
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from devices.clock import SystemClock
from devices.entropy import SeededEntropy
from server_core.events.store import EventHeadRow, EventRow
from server_core.ids import Ids
from server_core.ledger.model import Transfer
from server_core.ledger.store import AccountRow, EntryRow, TransferRow

CONNECTIONS = 12


async def drive(
    moves: list[Transfer], callers: int, one: Callable[[Transfer], Awaitable[None]]
) -> float:
    """Transfers a second, `callers` at once."""
    todo = iter(moves)

    async def caller() -> None:
        for move in todo:
            await one(move)

    began = perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return len(moves) / (perf_counter() - began)


async def orm_transfer(engine: AsyncEngine, move: Transfer, ids: Ids) -> None:
    """The ordinary way: lock two rows through the ORM, check, write, commit."""
    async with AsyncSession(engine) as session, session.begin():
        pair = sorted([move.debit, move.credit], key=str)
        rows = await session.scalars(
            select(AccountRow)
            .where(AccountRow.id.in_(pair))
            .order_by(AccountRow.id)
            .with_for_update()
        )
        found = {row.id: row for row in rows}
        debit, credit = found[move.debit], found[move.credit]
        if debit.credits_posted - debit.debits_posted - debit.debits_pending < move.amount:
            raise RuntimeError("exceeds_funds")
        session.add(
            TransferRow(
                id=move.id, mode="single", result="created", debit=debit.id, credit=credit.id,
                amount=move.amount, ledger="INR", code="", reference="", final=True, linked=False,
                debit_version=debit.version + 1, credit_version=credit.version + 1, recorded_at=0,
            )
        )  # fmt: skip
        debit.debits_posted += move.amount
        credit.credits_posted += move.amount
        for row in (debit, credit):
            row.version += 1
            session.add(
                EntryRow(
                    account=row.id, version=row.version, transfer=move.id,
                    debits_pending=row.debits_pending, debits_posted=row.debits_posted,
                    credits_pending=row.credits_pending, credits_posted=row.credits_posted,
                    recorded_at=0,
                )
            )  # fmt: skip
        await session.flush()
        head = await session.scalar(select(EventHeadRow).with_for_update())
        head.seq += 1
        session.add(
            EventRow(
                seq=head.seq, id=ids.new(), aggregate_type="transfer", aggregate_id=move.id,
                sequence=1, type="transfer.posted", version=1,
                payload={"amount": str(move.amount)}, actor={}, recorded_at=0,
            )
        )  # fmt: skip


async def orm(url: str, moves: list[Transfer], callers: int) -> float:
    engine = create_async_engine(
        url.replace("postgresql://", "postgresql+asyncpg://", 1),
        pool_size=CONNECTIONS,
        max_overflow=0,
        pool_timeout=120,
        connect_args={"server_settings": {"search_path": "cell0"}},
    )
    ids = Ids(SystemClock(), SeededEntropy(3))
    try:
        return await drive(moves, callers, lambda move: orm_transfer(engine, move, ids))
    finally:
        await engine.dispose()


async def by_hand(url: str, moves: list[Transfer], callers: int) -> float:
    """A hand-written asyncpg transaction a transfer: seven statements, each prepared once."""
    ids = Ids(SystemClock(), SeededEntropy(4))

    async def one(connection: Any, move: Transfer) -> None:
        async with connection.transaction():
            rows = await connection.fetch(
                "SELECT id, version, debits_pending, debits_posted, credits_pending,"
                " credits_posted FROM account WHERE id = ANY($1::uuid[]) ORDER BY id FOR UPDATE",
                [move.debit, move.credit],
            )
            found = {row["id"]: dict(row) for row in rows}
            debit, credit = found[move.debit], found[move.credit]
            if debit["credits_posted"] - debit["debits_posted"] < move.amount:
                raise RuntimeError("exceeds_funds")
            debit["debits_posted"] += move.amount
            credit["credits_posted"] += move.amount
            for row in (debit, credit):
                row["version"] += 1
            await connection.execute(
                "INSERT INTO transfer (id, mode, result, debit, credit, amount, ledger, code,"
                " reference, final, linked, recorded_at, debit_version, credit_version) VALUES"
                " ($1, 'single', 'created', $2, $3, $4, 'INR', '', '', true, false, 0, $5, $6)",
                move.id, move.debit, move.credit, move.amount, debit["version"],
                credit["version"],
            )  # fmt: skip
            sides = [
                (
                    row["id"], row["version"], move.id, row["debits_pending"],
                    row["debits_posted"], row["credits_pending"], row["credits_posted"],
                )
                for row in (debit, credit)
            ]  # fmt: skip
            await connection.executemany(
                "INSERT INTO entry (account, version, transfer, debits_pending, debits_posted,"
                " credits_pending, credits_posted, recorded_at)"
                " VALUES ($1, $2, $3, $4, $5, $6, $7, 0)",
                sides,
            )
            await connection.executemany(
                "UPDATE account SET version = $2, debits_posted = $3, credits_posted = $4"
                " WHERE id = $1",
                [(r["id"], r["version"], r["debits_posted"], r["credits_posted"])
                 for r in (debit, credit)],
            )  # fmt: skip
            await connection.execute(_EVENT, ids.new(), move.id, str(move.amount))

    return await pooled(url, moves, callers, one)


async def stored_function(url: str, moves: list[Transfer], callers: int) -> float:
    """One call of a function a transfer: one round trip, one commit."""
    ids = Ids(SystemClock(), SeededEntropy(5))
    owner = await asyncpg.connect(url, server_settings={"search_path": "cell0"})
    try:
        await owner.execute(_FUNCTION)
    finally:
        await owner.close()

    async def one(connection: Any, move: Transfer) -> None:
        await connection.execute(
            "SELECT pay($1, $2, $3, $4, $5)",
            move.id, move.debit, move.credit, move.amount, ids.new(),
        )  # fmt: skip

    return await pooled(url, moves, callers, one)


async def pooled(
    url: str,
    moves: list[Transfer],
    callers: int,
    one: Callable[[Any, Transfer], Awaitable[None]],
) -> float:
    pool = await asyncpg.create_pool(
        url,
        min_size=CONNECTIONS,
        max_size=CONNECTIONS,
        server_settings={"search_path": "cell0"},
    )

    async def acquired(move: Transfer) -> None:
        async with pool.acquire() as connection:
            await one(connection, move)

    try:
        return await drive(moves, callers, acquired)
    finally:
        await pool.close()


_EVENT = """
WITH head AS (UPDATE event_head SET seq = seq + 1 WHERE id = 0 RETURNING seq)
INSERT INTO event (seq, id, aggregate_type, aggregate_id, sequence, type, version, payload, actor,
  recorded_at)
SELECT seq, $1, 'transfer', $2, 1, 'transfer.posted', 1, jsonb_build_object('amount', $3::text),
  '{}', 0 FROM head
"""

_FUNCTION = """
CREATE OR REPLACE FUNCTION pay(id_ uuid, debit_ uuid, credit_ uuid, amount_ bigint, event_ uuid)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  d account; c account;
BEGIN
  PERFORM 1 FROM account WHERE id IN (debit_, credit_) ORDER BY id FOR UPDATE;
  UPDATE account SET version = version + 1, debits_posted = debits_posted + amount_
    WHERE id = debit_ RETURNING * INTO d;
  IF d.floor IS NOT NULL AND d.credits_posted - d.debits_posted - d.debits_pending < d.floor THEN
    RAISE EXCEPTION 'exceeds_funds';
  END IF;
  UPDATE account SET version = version + 1, credits_posted = credits_posted + amount_
    WHERE id = credit_ RETURNING * INTO c;
  INSERT INTO transfer (id, mode, result, debit, credit, amount, ledger, code, reference, final,
    linked, recorded_at, debit_version, credit_version)
  VALUES (id_, 'single', 'created', debit_, credit_, amount_, 'INR', '', '', true, false, 0,
    d.version, c.version);
  INSERT INTO entry (account, version, transfer, debits_pending, debits_posted, credits_pending,
    credits_posted, recorded_at)
  VALUES
    (d.id, d.version, id_, d.debits_pending, d.debits_posted, d.credits_pending,
      d.credits_posted, 0),
    (c.id, c.version, id_, c.debits_pending, c.debits_posted, c.credits_pending,
      c.credits_posted, 0);
  WITH head AS (UPDATE event_head SET seq = seq + 1 WHERE id = 0 RETURNING seq)
  INSERT INTO event (seq, id, aggregate_type, aggregate_id, sequence, type, version, payload,
    actor, recorded_at)
  SELECT seq, event_, 'transfer', id_, 1, 'transfer.posted', 1,
    jsonb_build_object('amount', amount_::text), '{}', 0 FROM head;
END $$
"""

"""Transfers a second by group commit: the load, and the short form of the figures."""

import asyncio
from collections.abc import Sequence
from time import perf_counter
from uuid import UUID

import asyncpg
import uvloop

from bench import ledger_baselines as baselines
from bench.cluster import cluster, database
from bench.figures import Figure, percentile, report
from devices.clock import SystemClock
from devices.entropy import SeededEntropy
from server_core.db.batch import Batch
from server_core.db.work import Database, Emitted, Work
from server_core.ids import Ids
from server_core.ledger import service
from server_core.ledger.model import Code, Outcome, Transfer, account_id

ACCOUNTS = 10_000
FUND = 10**9


async def open_accounts(db: Database) -> list[UUID]:
    house = service.account(Code.CLEARING, "upi", "INR")
    wallets = [service.account(Code.WALLET, i, "INR") for i in range(ACCOUNTS)]
    ids = Ids(SystemClock(), SeededEntropy(1))
    for start in range(0, ACCOUNTS, 2000):
        part = wallets[start : start + 2000]
        async with db.work() as work:
            await service.open_accounts(work, [house, *part])
            await service.post(
                work,
                [
                    Transfer(id=ids.new(), debit=house.id, credit=one.id, amount=FUND)
                    for one in part
                ],
            )
    return [one.id for one in wallets]


async def post_many(work: Work, transfers: Sequence[Transfer]) -> list[Outcome]:
    """What a real verb does: post, and tell it in the log."""
    outcomes = await service.post(work, transfers)
    work.emit(
        *(
            Emitted(
                aggregate_type="transfer",
                aggregate_id=one.id,
                type="transfer.posted",
                payload={"amount": str(one.amount)},
            )
            for one in transfers
        )
    )
    return outcomes


def rows_of(move: Transfer) -> tuple[UUID | None, ...]:
    return move.debit, move.credit


async def group_commit(
    db: Database, moves: list[Transfer], callers: int, *, clean: bool = True
) -> tuple[float, list[float]]:
    """Transfers a second, and each caller's waits in ms; `clean` moves must all succeed."""
    queue = Batch(db, post_many, keys=rows_of)
    waits: list[float] = []
    todo = iter(moves)

    async def caller() -> None:
        for move in todo:
            began = perf_counter()
            outcome = await queue.submit(move)
            waits.append((perf_counter() - began) * 1000)
            if clean and not outcome.ok:
                raise RuntimeError(outcome.result)

    began = perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    rate = len(moves) / (perf_counter() - began)
    await queue.close()
    return rate, waits


def moves(wallets: list[UUID], n: int, seed: int, *, hot: bool = False) -> list[Transfer]:
    chance = SeededEntropy(seed)
    ids = Ids(SystemClock(), chance)
    made = []
    for _ in range(n):
        debit = wallets[chance.below(len(wallets))]
        credit = wallets[0] if hot else wallets[chance.below(len(wallets))]
        if debit == credit:
            credit = account_id(Code.CLEARING, "upi", "INR")
        made.append(Transfer(id=ids.new(), debit=debit, credit=credit, amount=1 + chance.below(99)))
    return made


async def measure(url: str) -> list[Figure]:
    """The figures that `make bench` shows; `make bench-ledger` has them all."""
    figures = []
    async with database(url) as db:
        wallets = await open_accounts(db)
        await group_commit(db, moves(wallets, 5_000, 7), 1_000)  # warm
        for callers, n, n_orm in ((100, 40_000, 600), (1_000, 60_000, 1_000)):
            baseline = await baselines.orm(url, moves(wallets, n_orm, callers), callers)
            rate, waits = await group_commit(db, moves(wallets, n, callers + 1), callers)
            figures += [
                Figure(
                    name=f"group commit, {callers:,} callers, {ACCOUNTS:,} accounts",
                    value=rate, unit="transfers/s", baseline=baseline, ratio=rate / baseline, n=n,
                    goal="≥ 30 × ORM row locks", holds=rate >= 30 * baseline,
                ),
                Figure(
                    name=f"  wait of one caller, p95, {callers:,} callers",
                    value=percentile(waits, 0.95), unit="ms", n=n,
                ),
            ]  # fmt: skip
        rate, _ = await group_commit(db, moves(wallets, 40_000, 99, hot=True), 1_000)
        figures.append(
            Figure(name="group commit, one hot account", value=rate, unit="transfers/s", n=40_000)
        )
    return figures


async def main() -> bool:
    async with cluster() as url:
        return report("ledger", [*await measure(url), await version(url)])


async def version(url: str) -> Figure:
    connection = await asyncpg.connect(url)
    try:
        found = float((await connection.fetchval("SHOW server_version")).split()[0])
    finally:
        await connection.close()
    return Figure(name="PostgreSQL", value=found, unit="")


if __name__ == "__main__":
    uvloop.run(main())

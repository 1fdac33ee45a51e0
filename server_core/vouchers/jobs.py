"""Drains what may no longer be spent, closes what may no longer settle, pays what waited."""

from typing import Final

from server_core.db.work import Database, Work
from server_core.vouchers import closing, remedies, store, unclaiming, voiding

PAGE: Final = 50


async def tick(db: Database) -> int:
    """How much was done; every step may run twice at once."""
    async with db.work() as work:
        if not await work.try_lock(f"vouchers.close:{db.cell}"):
            return 0
        await store.drain_overdue(work)
    return await closing.close_due(db) + await unclaiming.give_back_overdue(db)


async def retry_voids(db: Database) -> int:
    """Walk all waiting refunds once and post what the shops cover by now."""
    done, after = 0, b""
    while True:

        async def do(work: Work, after: bytes = after) -> tuple[int, bytes | None]:
            if not await work.try_lock(f"vouchers.voids:{db.cell}"):
                return 0, None
            waiting = await remedies.waiting_voids(work, after, PAGE)
            paid = await voiding.retry(work, waiting) if waiting else 0
            return paid, waiting[-1][0] if len(waiting) == PAGE else None

        paid, last = await db.transact(do)
        done += paid
        if last is None:
            return done
        after = last

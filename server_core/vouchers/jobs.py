"""Drains what may no longer be spent, closes what may no longer settle, retries waiting refunds."""

from server_core.db.work import Database, Work
from server_core.vouchers import closing, store, voiding

PAGE = 50


async def tick(db: Database) -> int:
    """How much was done; every step may run twice at once."""
    async with db.work() as work:
        if not await work.try_lock(f"vouchers.close:{db.cell}"):
            return 0
        await store.drain_overdue(work)
    return await closing.close_due(db)


async def retry_voids(db: Database) -> int:
    """Try again to refund voids of shops that could not cover them."""

    async def do(work: Work) -> int:
        if not await work.try_lock(f"vouchers.voids:{db.cell}"):
            return 0
        return await voiding.apply(work, await store.waiting_voids(work, PAGE))

    return await db.transact(do)

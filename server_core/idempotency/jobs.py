"""Forgets answers whose time is over; the effects' own state still stops a second one."""

from typing import Final

from server_core.db.work import Database
from server_core.idempotency import store

PAGE: Final = 5000


async def tick(db: Database) -> int:
    async with db.work() as work:
        if not await work.try_lock(f"idempotency.reaper:{db.cell}"):
            return 0
        return await store.reap(work, PAGE)

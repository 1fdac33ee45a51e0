"""Forgets challenges that nobody answered in time."""

from server_core.db.work import Database
from server_core.passkeys import store


async def tick(db: Database) -> int:
    async with db.work() as work:
        if not await work.try_lock(f"passkeys.reaper:{db.cell}"):
            return 0
        return await store.reap(work, 5000)

"""Forgets secrets and keys that sign no more."""

from server_core.db.work import Database
from server_core.webhooks import store
from server_core.webhooks.fanning import fan_out

__all__ = ["fan_out", "reap"]


async def reap(db: Database) -> int:
    async with db.work() as work:
        if not await work.try_lock(f"webhooks.reap:{db.cell}"):
            return 0
        return await store.forget_expired(work)

"""Gives back what expired holds keep; the rule is exact without it, balances are prompt with it."""

from server_core.db.work import Database
from server_core.ledger import service


async def tick(db: Database) -> int:
    async with db.work() as work:
        if not await work.try_lock(f"ledger.expiry:{db.cell}"):
            return 0
        return await service.expire_due(work)

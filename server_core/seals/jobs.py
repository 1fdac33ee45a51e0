"""Seals what was committed, a page at a time, under one signed head each."""

from server_core.db.work import Database
from server_core.seals import service
from server_core.seals.keys import JournalKey


async def tick(db: Database, key: JournalKey) -> int:
    async with db.work() as work:
        return await service.seal(work, key, db.cell)

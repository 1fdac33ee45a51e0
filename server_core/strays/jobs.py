"""Gives strays back, one by one."""

from typing import Final

import structlog

from server_core.db.work import Database
from server_core.rails.connected import Rails
from server_core.strays import service, store
from server_core.strays.model import RETRY_MS

PAGE: Final = 50
_log = structlog.get_logger("hundi.strays")


async def tick(db: Database, rails: Rails) -> int:
    """What is due, given back; asking a rail twice is harmless: it knows each by its id."""
    async with db.reader() as reader:
        due = await store.due(reader, PAGE)
    for stray in due:
        try:
            await service.give_back(db, rails, stray)
        except Exception as error:  # noqa: BLE001 - one stray's failure is no other's
            _log.error(
                "strays.not_given_back",
                stray=str(stray.id),
                correlation=str(stray.intent),
                error=repr(error),
            )
            async with db.work() as work:
                await store.postpone(work, stray.id, work.now_ms + RETRY_MS)
    return len(due)

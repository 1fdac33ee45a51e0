"""Asks rails about attempts with no clear answer, and says so of intents whose time is over."""

import asyncio
from typing import Final
from uuid import UUID

import structlog
from structlog.contextvars import bound_contextvars

from server_core.db.work import Database
from server_core.errors import DomainError
from server_core.payments import asking, service, store
from server_core.rails.connected import Rails

PAGE: Final = 50
RETRY_MS: Final = 5 * 60 * 1000
AT_ONCE: Final = 4
"""Questions to one rail at once."""
_log = structlog.get_logger("hundi.payments")


async def reconcile(db: Database, rails: Rails) -> int:
    """Ask about what is due, of each rail a few at once: a mute one holds up no other.

    Asking twice is harmless: landing is decided under the intent's lock.
    """
    async with db.work() as work:
        due = await store.take_due(work, PAGE, work.now_ms + RETRY_MS)
    turns = {rail: asyncio.Semaphore(AT_ONCE) for _, _, rail in due}

    async def ask(attempt: UUID, intent: UUID, rail: str) -> None:
        async with turns[rail]:
            with bound_contextvars(correlation=str(intent)):
                try:
                    await asking.ask(db, rails, attempt)
                except DomainError as refused:
                    _log.info("payments.landed", attempt=str(attempt), code=refused.code)
                except Exception as error:  # noqa: BLE001 - due again later; one failure is no other's
                    _log.error("payments.not_landed", attempt=str(attempt), error=repr(error))

    await asyncio.gather(*(ask(*one) for one in due))
    return len(due)


async def expire(db: Database) -> int:
    async with db.work() as work:
        if not await work.try_lock(f"payments.expiry:{db.cell}"):
            return 0
        return await service.expire(work) + await service.release(work)

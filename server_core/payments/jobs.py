"""Asks rails about attempts with no clear answer, and says so of intents whose time is over."""

from typing import Final

import structlog
from structlog.contextvars import bound_contextvars

from server_core.db.work import Database
from server_core.errors import DomainError
from server_core.payments import asking, service, store
from server_core.rails.connected import Rails

PAGE: Final = 50
RETRY_MS: Final = 5 * 60 * 1000
_log = structlog.get_logger("hundi.payments")


async def reconcile(db: Database, rails: Rails) -> int:
    """Ask about what is due. Asking twice is harmless: landing is decided under the intent's lock."""
    async with db.work() as work:
        due = await store.take_due(work, PAGE, work.now_ms + RETRY_MS)
    for attempt, intent in due:
        with bound_contextvars(correlation=str(intent)):
            try:
                await asking.ask(db, rails, attempt)
            except DomainError as refused:
                _log.info("payments.landed", attempt=str(attempt), code=refused.code)
            except Exception as error:  # noqa: BLE001 - due again later; one failure is no other's
                _log.error("payments.not_landed", attempt=str(attempt), error=repr(error))
    return len(due)


async def expire(db: Database) -> int:
    async with db.work() as work:
        if not await work.try_lock(f"payments.expiry:{db.cell}"):
            return 0
        return await service.expire(work) + await service.release(work)

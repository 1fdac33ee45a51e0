"""Asks rails about refunds with no clear answer."""

from typing import Final

import structlog

from server_core.db.work import Database
from server_core.errors import DomainError
from server_core.rails.connected import Rails
from server_core.refunds import landing, store

PAGE: Final = 50
RETRY_MS: Final = 5 * 60 * 1000
_log = structlog.get_logger("hundi.refunds")


async def reconcile(db: Database, rails: Rails) -> int:
    """Ask about what is due. Asking twice is harmless: landing is decided under the refund's lock."""
    async with db.reader() as reader:
        due = await store.due(reader, PAGE)
    for refund in due:
        try:
            await landing.ask(db, rails, refund.id)
        except DomainError as refused:
            _log.info(
                "refunds.landed",
                refund=str(refund.id),
                correlation=str(refund.intent),
                code=refused.code,
            )
        except Exception as error:  # noqa: BLE001 - one refund's failure is no other's
            _log.error(
                "refunds.not_landed",
                refund=str(refund.id),
                correlation=str(refund.intent),
                error=repr(error),
            )
            async with db.work() as work:
                await store.postpone(work, refund.id, work.now_ms + RETRY_MS)
    return len(due)

"""How an operator ends a `conflicted` payment: only once no refund of it is on its way."""

from uuid import UUID

from server_core.actor import SYSTEM, Actor
from server_core.db.work import Work
from server_core.errors import conflict
from server_core.payments import conflicts
from server_core.payments import service as payments
from server_core.payments.model import Decision, Intent
from server_core.refunds import store


async def decide(work: Work, actor: Actor, intent: UUID, decision: Decision) -> Intent:
    """As `payments.conflicts.decide`; raises refunds.pending besides.

    What a refund set aside counts as given back, until its rail has said: it may still come back.
    """
    conflicts.check_decides(actor)
    await payments.lock(work, SYSTEM, intent)
    if decision is not Decision.TAKEN and await store.is_pending(work, intent):
        raise conflict("refunds.pending", "a refund of it is on its way: decide when it has ended")
    return await conflicts.decide(work, actor, intent, decision)

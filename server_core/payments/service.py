"""Create, confirm, cancel and read payments."""

from collections.abc import Collection
from contextlib import suppress
from uuid import UUID

from msgspec.structs import replace

from server_core.actor import SYSTEM, Actor
from server_core.db.work import Database, Reader, Work
from server_core.errors import DomainError
from server_core.ledger import service as ledger
from server_core.ledger.model import Code
from server_core.payments import answers, capturing, commands, rules, store
from server_core.payments import attempts as attempts_
from server_core.payments.model import (
    Attempt,
    Cancel,
    Capture,
    Confirm,
    Create,
    Intent,
    Pay,
    State,
)
from server_core.payments.queues import Confirmations
from server_core.rails.connected import Rails


async def create(db: Database, command: Create) -> Intent:
    """`commands.create`, for who need not know whether it is told again."""
    return (await commands.create(db, command)).value


async def confirm(
    db: Database, queue: Confirmations, rails: Rails, command: Confirm | Pay
) -> Intent:
    """`commands.confirm`, for who need not know whether it is told again."""
    return (await commands.confirm(db, queue, rails, command)).value


async def capture(db: Database, rails: Rails, command: Capture) -> Intent:
    """`commands.capture`, for who need not know whether it is told again."""
    return (await commands.capture(db, rails, command)).value


async def cancel(db: Database, rails: Rails, actor: Actor, intent: UUID) -> Intent:
    """`commands.cancel` without a key: it moves no money, and a repeat answers the same."""
    return (await commands.cancel(db, rails, Cancel(actor=actor, intent=intent))).value


async def expire(work: Work, limit: int = 500) -> int:
    """Say so of intents whose time is over; `check_open` refuses them even before."""
    over = await store.expired(work, limit)
    done = [rules.moved(intent, State.EXPIRED, work.now_ms) for intent in over]
    if done:
        await store.save(work, done)
        work.emit(*(answers.event("payment.expired", intent, SYSTEM) for intent in done))
    return len(done)


async def release(work: Work, limit: int = 100) -> int:
    """Give back what was set aside and not captured in time; `check_capture` refuses it even before."""
    over = await store.unreleased(work, limit)
    for intent in over:
        await capturing.release(work, intent, State.EXPIRED)
    return len(over)


async def get(reader: Reader, actor: Actor, intent: UUID) -> Intent:
    return rules.visible(await store.get(reader, intent), actor)


async def lock(work: Work, actor: Actor, intent: UUID) -> Intent:
    """The intent under lock, if the actor may know of it."""
    return rules.visible((await store.lock(work, [intent])).get(intent), actor)


async def paid_by(reader: Reader, intent: UUID) -> Attempt:
    """The attempt that moved a paid intent's money, or set it aside."""
    return await store.paid_by(reader, intent)


async def refunded(work: Work, intent: Intent, amount: int) -> None:
    """So much more of a locked intent's captured money goes back; less when `amount` is below 0."""
    await store.save(work, [replace(intent, refunded=intent.refunded + amount)])


async def attempts(reader: Reader, actor: Actor, intent: UUID) -> list[Attempt]:
    await get(reader, actor, intent)
    return await store.attempts(reader, intent)


async def attempts_of(
    reader: Reader, actor: Actor, intents: Collection[UUID]
) -> dict[UUID, list[Attempt]]:
    """The attempts of those of the intents that the actor may know of, by two statements."""
    found = await store.get_many(reader, intents)
    known: dict[UUID, list[Attempt]] = {}
    for intent in found.values():
        with suppress(DomainError):
            known[rules.visible(intent, actor).id] = []
    for attempt in await store.attempts_of(reader, known):
        known[attempt.intent].append(attempt)
    return known


async def mine(reader: Reader, actor: Actor, *, before: UUID | None, limit: int) -> list[Intent]:
    """The actor's own payments, sent and received, newest first."""
    if actor.party is None:
        return []
    return await store.of_party(reader, actor.party, before=before, limit=limit)


async def hasten(work: Work, attempt: UUID) -> bool:
    """Have the job ask about an attempt now, whether it has ended or not."""
    return await store.hasten(work, attempt)


async def open_rail_account(work: Work, rail: str, currency: str) -> None:
    """The accounts of what a rail owes us, and of what we owe for its lateness; once, at start."""
    await ledger.open_accounts(
        work,
        [
            ledger.account(Code.CLEARING, rail, currency),
            ledger.account(Code.COMPENSATION, attempts_.HOUSE, currency),
        ],
    )
